"""Fixtures: a home folder per test, the command line in this process, and the real corpora if they exist."""

import base64
import gc
import hashlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import NamedTuple
from weakref import WeakKeyDictionary

import pytest
import torch
from filelock import FileLock

gc.set_threshold(20_000)  # by default, looking for garbage among all these modules takes a tenth of the time
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is imported: its kernels run on the CPU

HIDDEN = os.environ.get("RNN_HIDE", "").split(",")
"""Packages that tests treat as not installed, such as RNN_HIDE=numba."""


class Hiding(MetaPathFinder):
    """Finds no hidden package, and raises the same error as for a missing one."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


sys.meta_path.insert(0, Hiding())

from support.bare import NAME as BARE  # noqa: E402
from support.bare import PLACE  # noqa: E402

from rnncli.__main__ import run  # noqa: E402
from rnncli.analysis import plots  # noqa: E402
from rnncli.cells import CELLS  # noqa: E402
from rnncli.files import write_file  # noqa: E402
from rnncli.kernels.compiling import COMPILATION  # noqa: E402
from rnncli.kernels.fused import trouble  # noqa: E402

COMPILATION.begin()  # no test's output may depend on kernels that this machine compiled earlier
COMPILATION.end()
if torch.cuda.is_available():
    torch.backends.cudnn.rnn.fp32_precision = "ieee"

torch.set_num_threads(1)  # the nets are tiny, and other processes must not slow them down


class Ran(NamedTuple):
    """The result of a command line."""

    code: int
    out: str
    err: str


LONGEST = (
    "test_distributed.py",
    "test_all_cells.py",
    "test_signals.py",
    "test_bench.py",
    "test_prepare.py",
    "test_companion.py",
)
"""Files that take longest. Processes of pytest-xdist begin with them, so that none of them runs last on its own."""


@pytest.fixture
def plain_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the engine's code as plain Python, not compiled: on tiny shapes that takes less time."""
    if not trouble():
        from support.plain import load_plain

        from rnncli.kernels.engine import build

        monkeypatch.setattr(build, "load_compiled", load_plain)
        monkeypatch.setattr(build, "_KNOWN", {})
        monkeypatch.setattr(build, "_LAST", WeakKeyDictionary())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; skip tests marked `cuda` without a CUDA device, those marked `posix` on Windows."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
    for item in items:
        if item.get_closest_marker("cuda") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="waits for a CUDA device"))
        if os.name != "posix" and (posix := item.get_closest_marker("posix")):
            item.add_marker(pytest.mark.skip(reason=f"Windows has no {posix.args[0]}"))


@pytest.fixture(autouse=True)
def bare_cell(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the bare cell for tests with that `kind`."""
    call = getattr(request.node, "callspec", None)
    if call is not None and call.params.get("kind") == BARE:
        monkeypatch.setitem(CELLS, BARE, PLACE)


@pytest.fixture(autouse=True)
def blank_curves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Save a blank picture where a training would draw its curve, which costs a second, unless a test is marked."""
    if not request.node.get_closest_marker("draws"):
        monkeypatch.setattr(plots, "draw_curve", _save_blank)


def _save_blank(history: object, path: Path, **_: object) -> plots.Picture:
    write_file(path, base64.b64decode(BLANK))
    return plots.Picture(path)


BLANK = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mP4DwABAQEAHLCMmQAAAABJRU5ErkJggg=="
"""A PNG of one pixel."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for `data/` and `checkpoints/`."""
    monkeypatch.setenv("RNN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RNN_DEBUG", raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def rnn(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], Ran]:
    """Runs `rnn WORDS` in this process; its files are in `home`."""

    def command(words: str) -> Ran:
        capsys.readouterr()
        code = run(shlex.split(words))
        return Ran(code, *capsys.readouterr())

    return command


@pytest.fixture(scope="session")
def kept_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs that `trained` keeps; all processes of xdist share it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "trained"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def trained(rnn: Callable[[str], Ran], home: Path, kept_runs: Path) -> Callable[[str], Ran]:
    """Trains by a command line with --name, once for all tests; each test with the same words gets a copy."""

    def train(words: str) -> Ran:
        kept = kept_runs / hashlib.sha256(words.encode()).hexdigest()[:16]
        printed = kept / "printed.json"
        with FileLock(f"{kept}.lock"):
            if not printed.exists():
                ran = rnn(words)
                shutil.copytree(home, kept / "home", dirs_exist_ok=True)
                printed.write_text(json.dumps(ran), "utf-8")
                return ran
        shutil.copytree(kept / "home", home, dirs_exist_ok=True)
        return Ran(*json.loads(printed.read_text("utf-8")))

    return train


@pytest.fixture(scope="session")
def real_corpora() -> Path:
    """The folder of real corpora."""
    if "RNN_CORPORA" not in os.environ:
        pytest.skip("waits for RNN_CORPORA, the folder of real corpora")
    return Path(os.environ["RNN_CORPORA"]).absolute()
