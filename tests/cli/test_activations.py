"""`rnn activations` for every task with states, as a new user runs it."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from support.pages import data_of

from rnncli.cli.activations import with_marks
from rnncli.tasks import TASKS

SMALL = {"parity": "--epochs 1 --validate-every 0", "poetry-classify": "--hidden 4 --epochs 1 --folds 0 --ensemble 1"}
TASKS_WITH_UNITS = [task.name for task in TASKS.values() if "activations" in task.uses]
FAST = ("parity", "poetry-lm")


@pytest.mark.parametrize(
    "task", [each if each in FAST else pytest.param(each, marks=pytest.mark.slow) for each in TASKS_WITH_UNITS]
)
def test_every_task_shows_its_units(task: str, rnn, trained) -> None:
    assert trained(f"train {task} --name mine --seed 1 {SMALL.get(task, '--hidden 4 --epochs 1')}").code == 0
    printed = json.loads(rnn("activations mine --max-tokens 90 --json").out)
    assert (printed["task"], printed["tokens"], len(printed["text"])) == (task, 90, 90)
    assert [len(values) for values in printed["values"].values()] == [90]
    assert abs(printed["best"][0]["r"]) == max(abs(each["r"]) for each in printed["features"].values())
    text = "0110\n1101001" if task == "parity" else "the gate stood open"
    shown = rnn(
        f"activations --from mine --text '{text}' --unit h1:2"
        if task not in ("tag", "poetry-classify")
        else f"activations mine --text '{text}' --unit h1b:2"
    )
    assert shown.code == 0
    assert text.split()[0] in shown.out


def test_page_and_table_agree(rnn, trained, tmp_path: Path) -> None:
    assert trained("train parity --seed 1 --name mine").code == 0
    printed = json.loads(rnn(f"activations mine --text 0110 --html {tmp_path}/page.html --json").out)
    assert printed["files"] == [f"{tmp_path}/page.html"]
    (panel,) = data_of(tmp_path / "page.html")["panels"]
    assert panel["kind"] == "units"
    assert panel["pieces"] == printed["text"]
    assert [unit["name"] for unit in panel["units"]] == [unit["name"] for unit in printed["best"]]
    for unit in panel["units"]:
        shown = json.loads(rnn(f"activations mine --text 0110 --unit {unit['name']} --json").out)
        values = np.frombuffer(base64.b64decode(unit["values"]), np.int8) / 127 * unit["most"]
        np.testing.assert_allclose(values, shown["values"][unit["name"]], atol=unit["most"] / 253)


def test_texts_come_from_files_and_errors_are_one_line(rnn, trained, tmp_path: Path) -> None:
    assert trained("train parity --seed 1 --name mine").code == 0
    (tmp_path / "bits.txt").write_text("0101\n11\n")
    printed = json.loads(rnn(f"activations mine --text {tmp_path}/bits.txt --json").out)
    assert "".join(printed["text"]) == "0101\n11\n"
    few = rnn("activations mine --text 0110").out  # for a correlation that is not accidental
    assert "unit h1:0; " in few
    assert "kept track of" not in few
    for words, complaint in (
        ("mine --text absent.txt", "absent.txt does not exist"),
        ("mine --text 012", "parity reads strings of 0 and 1, one per line: '2' is neither"),
        ("mine --text 1", "fewer than two tokens"),
        ("mine --text ' '", "--text is blank"),
        ("mine --unit q:1", "there is no unit 'q:1': they are named h1:0 to h1:3"),
        ("mine --max-tokens 1", "--max-tokens must be at least 2, not 1"),
        ("mine --html page.pdf", "--html page.pdf: end its name in .html"),
        ("mine --states a.csv", "end its name in .npz, or in .h5 for LSTMVis"),
        ("mine --from mine", "RUN and --from both name the model: give one of them"),
        ("mine --label frost", "is a model of parity, whose activations takes no --label: leave it out"),
        ("nothing", "there is no run 'nothing'"),
    ):
        ran = rnn(f"activations {words}")
        assert (ran.code in (1, 2), ran.out, ran.err.count("\n")) == (True, "", 1)
        assert complaint in ran.err


@pytest.mark.no_backend
def test_marks_stand_below_their_tokens_whatever_the_width_of_a_character() -> None:
    """A Chinese character takes two cells of a terminal, a combining mark none."""
    assert with_marks(["реки", "\u0301", " да"], [1.0, -1.0, -1.0]) == "реки\u0301 да\n#### =="
    assert with_marks([*"日本", " x"], [1.0, -1.0, 0.4]) == "日本 x\n##== +"
