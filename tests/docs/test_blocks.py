"""Python blocks of the pages run: those of a page in order, in one namespace, in a folder and a home of their own.

The folder has `mine.py`, the cell of docs/cells.md, and `mine.txt`, a text. Comments on a page say more about the block
below them:

    <!-- before: rnn train parity --name mine -->   run this command first
    <!-- varies: the weights are trained -->        the output below differs elsewhere: only count its lines
    <!-- slow: it trains a net -->                  run the page only with the slow tests
    <!-- not run: it needs a card -->               leave the block out

An output below a block is compared: numbers to 1e-4 of their size, all else exactly; `…` stands for any text.
"""

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.markdown import PAGES, ROOT, Block, blocks, name_of

NOTES = {"before", "varies", "slow", "not run"}
ELSEWHERE = {
    "CONTRIBUTING.md": "tests/test_outside.py",
    "docs/basics.md": "tests/docs/test_basics.py",
    "docs/from-scratch.md": "tests/docs/test_from_scratch.py",
    "docs/hub.md": "tests/test_hub.py",
    "docs/scripts.md": "tests/docs/test_scripts.py",
}
"""Pages whose blocks run in tests of their own, with more to check."""

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
"""A number in an output."""


def python_of(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python"]


def pages() -> Iterator[Any]:
    for page in PAGES:
        found = python_of(page)
        in_book = page.parent.name == "book"  # tests/test_companion.py runs every page there
        if found and not in_book and name_of(page) not in ELSEWHERE:
            slow = any(name == "slow" for block in found for name, _ in block.notes)
            yield pytest.param(page, id=name_of(page), marks=[pytest.mark.slow] if slow else [])


@pytest.fixture
def folder(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder of a page's blocks; modules that it imports from there are forgotten afterwards."""
    place = tmp_path / "page"
    place.mkdir()
    (cell,) = (block.text for block in python_of(ROOT / "docs/cells.md") if "class MGU" in block.text)
    (place / "mine.py").write_text(cell, "utf-8")
    verse = (ROOT / "rnncli/data/samples/hillside.txt").read_text("utf-8")
    (place / "mine.txt").write_text(f"KING:\n{verse}", "utf-8")
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)
    known = set(sys.modules)
    yield place
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(place)):
            del sys.modules[name]


@pytest.mark.parametrize("page", list(pages()))
def test_python_blocks_of_a_page_run(page: Path, folder: Path, rnn: Callable[[str], Any]) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in python_of(page):
        place = f"{name_of(page)}:{block.line}"
        said = dict(block.notes)
        for command in (text for name, text in block.notes if name == "before"):
            ran = rnn(command.removeprefix("rnn "))
            assert ran.code == 0, (place, command, ran.err)
        if "not run" in said:
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
        if block.below is not None and block.below.language in ("", "text") and not block.below.text.startswith("$ "):
            check_output(printed.getvalue(), block.below.text, varies="varies" in said, place=place)
    if page.name == "nn.md":
        assert names["accuracy"] > 0.95, "the training loop learns"


def check_output(printed: str, shown: str, *, varies: bool, place: str) -> None:
    """Compare what a block printed with the block below it."""
    found, wanted = ([line.rstrip() for line in text.rstrip().splitlines()] for text in (printed, shown))
    assert len(found) == len(wanted), (place, printed)
    for ours, theirs in zip(found, wanted, strict=True) if not varies else ():
        pattern = ".*".join(re.escape(part) for part in NUMBER.sub("0", theirs).split("…"))
        assert re.fullmatch(pattern, NUMBER.sub("0", ours)), (place, ours, theirs)
        if "…" not in theirs:
            numbers = [[float(each) for each in NUMBER.findall(line)] for line in (ours, theirs)]
            assert numbers[0] == pytest.approx(numbers[1], rel=1e-4), (place, ours, theirs)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_notes_are_known_and_give_a_reason(page: Path) -> None:
    for block in blocks(page):
        for name, text in block.notes:
            assert name in NOTES, f"{name_of(page)}:{block.line}: {name}"
            assert len(text.split()) > 2, f"{name_of(page)}:{block.line}: give the reason, not {text!r}"
            assert name != "before" or shlex.split(text)[0] == "rnn"


@pytest.mark.parametrize(("page", "test"), ELSEWHERE.items())
def test_pages_left_to_other_tests_are_named_there(page: str, test: str) -> None:
    assert Path(page).name in (ROOT / test).read_text("utf-8")


def test_the_training_loop_of_nn_is_short() -> None:
    (program,) = (block.text for block in python_of(ROOT / "docs/nn.md") if "backward" in block.text)
    assert len([line for line in program.splitlines() if line]) <= 25


@pytest.mark.parametrize(
    ("printed", "shown", "agree"),
    [
        ("loss 0.50001\n", "loss 0.5\n", True),
        ("loss 0.51\n", "loss 0.5\n", False),
        ("cost 0.5\n", "loss 0.5\n", False),
        ("/tmp/x/run.safetensors is here\n", "…/run.safetensors is here\n", True),
        ("one\ntwo\n", "one\n", False),
    ],
)
def test_outputs_are_compared(printed: str, shown: str, agree: bool) -> None:
    if agree:
        check_output(printed, shown, varies=False, place="")
    else:
        with pytest.raises(AssertionError):
            check_output(printed, shown, varies=False, place="")
