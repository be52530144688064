"""benchmarks/cuda.py on a CPU: the whole script on tiny shapes with nltk hidden, and its handling of failures."""

import importlib.util
import os
import re
import select
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from rnncli.data import dates
from rnncli.data.corpora import CORPORA
from rnncli.data.sources import Generated

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "cuda.py"


def script(name: str = "cuda_report") -> Any:
    spec = importlib.util.spec_from_file_location(name, SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The script as a module, with two of the cells."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setitem(sys.modules, "nltk", None)
    if torch.cuda.is_available():  # kernels are compiled there, and cannot be interpreted in the same process
        monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.setitem(CORPORA, "dates", Generated("dates", "some days", lambda: dates.write(lines=400)))
    module = script()
    monkeypatch.setattr(module, "KINDS", ("lstm:none", "gru:reset-before"))
    return module


def tables(text: str) -> dict[str, list[list[str]]]:
    """The rows below the head of each section's table, cell by cell."""
    found = {}
    for section in text.split("\n## ")[1:]:
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in section.split("\n") if line[:1] == "|"
        ]
        found[section.split("\n")[0]] = rows[2:]
    return found


def test_the_whole_script_without_card_and_nltk(cuda: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "reports" / "card.md"
    cuda.main(["--device", "cpu", "--out", str(report)])  # a failure would exit with a status
    text = report.read_text()
    assert text in capsys.readouterr().out
    found = tables(text)
    assert [*found] == [
        *("Checks", "Whole training steps", "The output layer", "Writing", "Cells that torch lacks", "Cells")
    ]
    assert [row[0] for row in found["Checks"]] == list(cuda.KINDS)
    assert all(0 < float(error) <= 0.05 for row in found["Checks"] for error in row[1:])
    steps = found["Whole training steps"]
    assert [row[0] for row in steps] == 2 * ["char-lm", "wiki-lm", "translate"]
    assert {(row[0], row[1]) for row in steps if row[0] != "translate"} == {("char-lm", "4 2"), ("wiki-lm", "4 2")}
    assert all(row[2].startswith("float32, ") for row in steps)
    for *_, ours, plain, ratio, graphs, captured, no_ratio in steps:
        assert float(plain) / float(ours) == pytest.approx(float(ratio), abs=0.02, rel=0.02)
        assert (graphs, captured, no_ratio) == ("skipped", "skipped", "")
    ((shape, precision, *times, ratio),) = found["The output layer"]
    assert (shape, precision) == ("128 4 10000", "float32")
    *mine, blocks = (each.partition(",")[0] for each in times)
    ours, separate = map(float, mine)
    assert blocks == "absent" or float(blocks) > 0  # torch 2.10 lacks them
    assert separate / ours == pytest.approx(float(ratio), abs=0.02, rel=0.05)
    assert [row[:2] for row in found["Writing"]] == [["1, 4", "skipped"], ["4, 4", "skipped"]]
    assert all(float(figure) > 0 for row in found["Writing"] for figure in row[2:4])
    own = found["Cells that torch lacks"]
    assert [(row[0], row[5], row[-1]) for row in own] == [
        ("mgu", "the Python loop", "10"),
        ("CoupledLSTM", "the Python loop", "10"),
        ("mingru", "nn.GRU", "20"),
    ]
    assert all(float(row[7]) / float(row[4]) == pytest.approx(float(row[8]), abs=0.1, rel=0.1) for row in own)
    assert len(found["Cells"]) == 2 * 3
    assert {row[2] for row in found["Cells"]} == {"float32", "float16", "bfloat16"}
    assert all(float(figure) >= 0 for row in found["Cells"] for figure in row[5:])
    assert "failed" not in text


def test_a_failed_section_is_a_line_and_the_rest_is_there(cuda: Any, monkeypatch: Any, tmp_path: Path) -> None:
    """The exit status reports it, too, after the whole report."""

    def fail(device: str, end: float, say: Any) -> bool:
        say("begun")
        raise RuntimeError("out of luck\nat length")

    parts = {"checks": fail, "steps": fail}
    parts |= dict.fromkeys(("output", "writing", "own", "cells"), lambda device, end, say: say("all well") is None)
    monkeypatch.setattr(cuda, "SECTIONS", parts)
    with pytest.raises(SystemExit) as ended:
        cuda.main(["--device", "cpu", "--out", str(tmp_path / "report.md"), "--seconds", "5"])
    assert ended.value.code == "cuda.py: something failed: see the report"
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert lines.count("The section checks failed: RuntimeError: out of luck") == 1
    assert lines.count("begun") == 2
    assert "all well" in lines


@pytest.mark.parametrize(("section", "broken"), [("steps", "timed_plain"), ("cells", "both_ways"), ("checks", "error")])
def test_a_row_that_fails_has_its_reason_and_the_others_are_there(
    cuda: Any, monkeypatch: pytest.MonkeyPatch, section: str, broken: str
) -> None:
    whole, calls = getattr(cuda, broken), []

    def once(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise RuntimeError("out | of luck")
        return whole(*arguments)

    monkeypatch.setattr(cuda, broken, once)
    lines: list[str] = []
    assert not cuda.SECTIONS[section]("cpu", time.monotonic() + 60, lines.append)
    rows = [line for line in "\n".join(lines).splitlines() if line.startswith("| ")]
    assert ["failed: RuntimeError: out / of luck" in row for row in rows].count(True) == 1
    assert len({row.count("|") for row in rows}) == (1 if section != "cells" else 2)  # a reason is one cell of its row


def test_late_rows_are_left_out(cuda: Any) -> None:
    for section in ("steps", "cells", "checks"):
        lines: list[str] = []
        assert cuda.SECTIONS[section]("cpu", time.monotonic() - 1, lines.append)
        text = "\n".join(lines)
        assert "no time" in text or "Left out for lack of time: 6 rows." in text


def test_a_value_that_is_wrong_is_marked(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cuda.LIMITS, "float32", 1e-12)
    lines: list[str] = []
    assert not cuda.check_cells("cpu", time.monotonic() + 60, lines.append)
    assert sum("WRONG" in line for line in lines) == len(cuda.KINDS)


def test_one_section_goes_to_standard_output(
    cuda: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Like the processes that run a section on a card, or compile kernels in advance."""
    cuda.main(["--device", "cpu", "--section", "warm 0"])
    assert capsys.readouterr().out == ""
    cuda.main(["--device", "cpu", *cuda.until("cells", time.time() - 1)])
    printed = capsys.readouterr().out
    assert printed.startswith("## Cells\n")
    assert "Left out for lack of time: 6 rows." in printed
    monkeypatch.setitem(cuda.LIMITS, "float32", 0.0)
    with pytest.raises(SystemExit) as ended:
        cuda.main(["--device", "cpu", *cuda.until("checks", time.time() + 60)])
    assert ended.value.code == cuda.FOUND_WRONG


@pytest.mark.parametrize(
    ("program", "seconds", "last", "right"),
    [
        ("sys.exit('boom')", 20, "The section steps failed: boom", False),
        ("sys.exit(5)", 20, "The section steps failed: exit status 5", False),
        ("sys.exit(3)", 20, "row", False),
        ("time.sleep(60)", 1.5, "The section steps was stopped after 2 s.", False),
        ("", 20, "row", True),
    ],
)
def test_a_section_in_a_process_of_its_own(
    cuda: Any, monkeypatch: Any, tmp_path: Path, program: str, seconds: float, last: str, right: bool
) -> None:
    monkeypatch.setattr(cuda, "SCRIPT", tmp_path / "section.py")
    monkeypatch.setattr(cuda, "GRACE", 0.0)
    cuda.SCRIPT.write_text(f"import sys, time\nprint('row', flush=True)\n{program}\n")
    lines, well = cuda.in_child("steps", seconds)
    assert (lines[0], lines[-1], well) == ("row", last, right)


@pytest.mark.posix("groups of processes")
def test_child_processes_end_with_their_process(cuda: Any) -> None:
    """Otherwise stopped tests would slow down the next measurement."""
    inner = "import time; time.sleep(60)"
    outer = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {inner!r}])"
    read, write = os.pipe()
    assert cuda.run_for(60, [sys.executable, "-c", outer], stdout=write) == 0
    os.close(write)
    assert select.select([read], [], [], 20)[0]  # the end of the pipe, which no process holds open
    assert os.read(read, 1) == b""
    os.close(read)


def test_pytest_output_is_counted(cuda: Any, monkeypatch: Any, tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "import pytest\n"
        "@pytest.mark.cuda\ndef test_right(): pass\n"
        "@pytest.mark.cuda\ndef test_wrong(): assert 1 == 2, 'no'\n"
        "@pytest.mark.cuda\n@pytest.mark.skip\ndef test_later(): pass\n"
        "def test_of_no_card(): raise ValueError\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = cuda\n")
    for name, value in {"ROOT": tmp_path, "TEST_FILES": ("test_mine.py",), "KINDS": ()}.items():
        monkeypatch.setattr(cuda, name, value)
    lines: list[str] = []
    assert not cuda.run_tests(cuda.cuda_tests(), time.monotonic() + 60, lines.append)
    assert "| test_mine | 1 | 1 | 1 |  |" in lines
    assert "- `test_mine.py::test_wrong`" in lines
    lines.clear()
    cuda.run_tests(cuda.cuda_tests(), time.monotonic() - 1, lines.append)
    assert "| test_mine | 0 | 0 | 0 | left out: no time |" in lines
    lines.clear()
    gone = cuda.Job("mine", [sys.executable, "-c", "exit('gone | away')"])
    assert not cuda.run_tests([gone], time.monotonic() + 60, lines.append)
    assert lines[-2:] == ["| mine | 0 | 0 | 0 | exit status 1: gone / away |", ""]


def test_every_file_with_tests_of_a_card_is_run(cuda: Any) -> None:
    root = SCRIPT.parents[1]
    mark = re.compile(r"^@pytest\.mark\.cuda$|marks=pytest\.mark\.cuda", re.MULTILINE)
    marked = [file for file in root.glob("tests/**/test_*.py") if mark.search(file.read_text("utf-8"))]
    assert {file.relative_to(root).as_posix() for file in marked} == {*cuda.TEST_FILES, cuda.TRITON_TESTS}


def test_script_does_not_shadow_the_package_of_its_name() -> None:
    """Torch imports `cuda.bindings` if it exists; from a script in benchmarks/, that name would find this file."""
    with pytest.raises(ImportError, match="is a script"):
        script("cuda")
