"""`rnn plot` as a user runs it: the picture, its numbers, and the message for bad input."""

import json
from pathlib import Path

import pytest

from rnncli.training.runs import find_run

pytestmark = pytest.mark.no_backend


@pytest.fixture
def two(trained) -> list[list[dict[str, float]]]:
    """Two short runs, and their records."""
    few = "--bits 4 --epochs 8 --validate-every 2 --patience-steps 0"
    for name in ("one", "two"):
        assert trained(f"train parity --name {name} {few}").code == 0
    return [[json.loads(line) for line in find_run(name).metrics.read_text().splitlines()] for name in ("one", "two")]


def test_curves_match_the_records_of_the_runs(two, rnn, tmp_path: Path) -> None:
    out = tmp_path / "both.svg"
    printed = json.loads(rnn(f"plot one two --metric loss --against seconds --out {out} --json").out)
    assert [curve["run"] for curve in printed["curves"]] == ["one", "two"]
    for curve, records in zip(printed["curves"], two, strict=True):
        assert curve["values"] == [record["loss"] for record in records]
        assert curve["at"] == [record["seconds"] for record in records]
    assert "<svg" in out.read_text()
    assert "curves.png" in rnn("plot one").out
    again = f"plot one {find_run('one').folder} parity/one --metric loss --json"
    assert len(json.loads(rnn(again).out)["curves"]) == 1
    assert (find_run("one").folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_without_its_file_the_records_come_from_the_checkpoint(two, rnn) -> None:
    kept = rnn("plot one two --metric loss --json").out
    find_run("two").metrics.unlink()
    assert rnn("plot one two --metric loss --json").out == kept


def test_bad_input_is_one_line(two, rnn) -> None:
    assert "no run 'three'" in rnn("plot one three").err
    none = rnn("plot one --metric bleu")
    assert (none.code, "no metric 'bleu': it has " in none.err and "accuracy" in none.err) == (2, True)
    assert "must be one of steps, seconds, epochs" in rnn("plot one --against days").err
    find_run("two").metrics.write_text("")
    empty = rnn("plot two")
    assert (empty.code, "has no record yet" in empty.err) == (1, True)
    find_run("two").metrics.write_text("{\n")
    assert "line 1: this is not a record of a validation" in rnn("plot two").err
