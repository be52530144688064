"""Runs older than a change in reading files: evaluation uses the old data, and resuming is refused with a reason."""

from pathlib import Path

import pytest

from rnncli import api
from rnncli.api import Training, load
from rnncli.data.text import READING, read_as
from rnncli.errors import UsageError
from rnncli.presets import resolve
from rnncli.tasks import TASKS
from rnncli.training.runs import Run

VERSE = "".join(f"the wall {number}\rthe field\x0cof snow and stone\n" for number in range(20))
TABLE = 'text\tlabel\n"a b" c\tx\n' + "".join(f"d {n}\tx\ne {n}\ty\n" for n in range(9))
QUICK = {"hidden": "4", "epochs": 1}
FILES = {
    "poetry-lm": ("verse.txt", VERSE, {"embedding": 4}),
    "char-lm": ("verse.txt", VERSE, {"embedding": 4}),
    "tag": ("words.conll", "# x y\nthe DET\ncat NOUN\n\n" * 12, {"word_size": 4, "char_size": 4}),
    "poetry-classify": ("t.tsv", TABLE, {"folds": 0, "hold_out_count": 2}),
}


def train_as_before(task: str, path: Path, monkeypatch: pytest.MonkeyPatch, reading: int = 1, **flags: object) -> Run:
    """A run of an earlier version, by default the first."""
    with read_as(reading), monkeypatch.context() as patched:
        patched.setattr(api, "READING", reading)
        training = Training.start(task, resolve(TASKS[task], {**QUICK, **flags, "corpus": (str(path),)}), "old")
        training.train(lambda _: None, pytest.fail)
    return training.run


@pytest.mark.parametrize("task", FILES)
def test_old_run_is_evaluated_on_its_held_out_data_and_not_resumed(
    task: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, text, flags = FILES[task]
    (tmp_path / name).write_text(text, newline="")
    run = train_as_before(task, tmp_path / name, monkeypatch, **flags)
    metrics = load("old").evaluate()
    history = load("old").header["progress"]["history"]
    assert metrics["loss"] == pytest.approx(history[-1]["loss"], rel=1e-5)
    with pytest.raises(UsageError, match="this version of rnn reads the file of run old differently"):
        Training.resume(run, {"epochs": 2})
    (tmp_path / name).write_text(text.replace("the", "thee").replace(" 8", " 88"), newline="")
    with pytest.raises(UsageError, match=r"training text of run old has changed|is no longer what"):
        Training.resume(run, {"epochs": 2})


def test_old_run_resumes_if_its_file_reads_the_same(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain.conll").write_text("the DET\ncat NOUN\n\n" * 12)
    run = train_as_before("tag", tmp_path / "plain.conll", monkeypatch, word_size=4, char_size=4)
    resumed = Training.resume(run, {"epochs": 2})
    resumed.train(lambda _: None, pytest.fail)
    assert load("old").header["reading"] == READING


def test_old_run_of_words_that_end_at_marks(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lake.txt").write_text("Стари́к ви́дит ло́дку.\n" * 40, encoding="utf-8")
    run = train_as_before("char-lm", tmp_path / "lake.txt", monkeypatch, 2, tokens="word", embedding=4)
    assert {"\u0301", " ло", "дку"} <= set(load("old").payload["vocabulary"])
    history = load("old").header["progress"]["history"]
    assert load("old").evaluate()["loss"] == pytest.approx(history[-1]["loss"], rel=1e-5)
    with pytest.raises(UsageError, match="this version of rnn reads the file of run old differently"):
        Training.resume(run, {"epochs": 2})
