"""Generated code on disk: other processes find it, write it at the same time, and do without a writable folder."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from rnncli.cells import make_cell
from rnncli.kernels.fused import code_of, fused_form, trouble

pytestmark = pytest.mark.skipif(bool(trouble()), reason="waits for numba")

PROGRAM = """
import sys
from pathlib import Path
from unittest.mock import patch
import numpy as np
from rnncli.kernels.compiling import COMPILATION
from rnncli.kernels.engine import cache
text = "import numpy as np\\n\\nfrom rnncli.kernels.engine.functions import *\\n\\n\\n" + sys.argv[2]
with patch.object(cache, "_folders", lambda: [Path(each) for each in sys.argv[1].split(",")]):
    begun = COMPILATION.seconds
    print(cache.load_compiled(text).twice(np.ones(3))[0], COMPILATION.seconds > begun)
"""

TWICE = "@compiled\ndef twice(a):\n    return a + a\n"


def run(folders: str, text: str = TWICE) -> str:
    """What a process prints: a result, and whether it compiled anything."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM, folders, text], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.slow
def test_second_process_compiles_nothing(tmp_path: Path) -> None:
    assert run(str(tmp_path)) == "2.0 True"
    assert run(str(tmp_path)) == "2.0 False"
    (file,) = tmp_path.glob("*.py")
    file.write_text("raise SystemExit('damaged')", encoding="utf-8")
    assert run(str(tmp_path)).startswith("2.0")
    assert file.read_text(encoding="utf-8").endswith(TWICE)


@pytest.mark.slow
def test_unwritable_folders_compile_for_this_process_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    assert run(str(tmp_path / "file")) == "2.0 True"
    assert run(f"{tmp_path / 'file'},{tmp_path / 'other'}") == "2.0 True"
    assert [each.suffix for each in (tmp_path / "other").iterdir() if each.is_file()] == [".py"]


@pytest.mark.slow
def test_processes_may_write_at_the_same_time(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        assert [each[:3] for each in pool.map(run, [str(tmp_path)] * 2)] == ["2.0", "2.0"]
    assert len([each for each in tmp_path.iterdir() if each.is_file()]) == 1


def test_other_helpers_or_another_processor_have_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from rnncli.kernels.engine import cache

    names = set()
    for name in ("_machine", "_helpers"):
        for value in ("one", "other"):
            monkeypatch.setattr(cache, name, lambda value=value: value)
            names.add(cache.name_of("text"))
    assert len(names) == 4


def test_nets_of_all_sizes_share_their_code(plain_loops: None) -> None:
    assert len({code_of(make_cell("lstm", D, M)) for D, M in [(3, 5), (4, 7), (64, 32), (8, 8)]}) == 1


def test_checked_graph_is_not_checked_again(plain_loops: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from rnncli.kernels.engine import build, cache, check

    checked: list[str] = []
    compare = check.compare
    monkeypatch.setattr(cache, "_folders", lambda: [tmp_path])
    monkeypatch.setattr(check, "compare", lambda *given: (checked.append("once"), compare(*given)))
    for _ in range(2):
        build._KNOWN.clear()
        assert not isinstance(fused_form(make_cell("elman", 3, 4)), str)
    assert checked == ["once"]


def test_missing_dispatch_mode_of_torch_is_a_reason(plain_loops: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch.utils._python_dispatch as dispatch  # type: ignore[import-untyped,unused-ignore]

    monkeypatch.delattr(dispatch, "TorchDispatchMode")
    cell: Any = make_cell("elman", 3, 4)
    assert fused_form(cell) == "this torch cannot show the operations of a step"
    assert isinstance(cell.step(torch.zeros(2, 4), cell.initial_state(2)), tuple)
