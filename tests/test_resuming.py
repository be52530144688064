"""Runs whose texts lie at another place are resumed there, on the same text only."""

from pathlib import Path
from typing import Any

import pytest

from rnncli.api import Training, load
from rnncli.errors import RnnError, UsageError
from rnncli.presets import resolve
from rnncli.tasks import TASKS

VERSE = "".join(f"the wall {number} and the field\n" for number in range(20))
PAIRS = "".join(f"the wall {number}\tdie Wand {number}\n" for number in range(20))
TAGS = "the DET\ncat NOUN\n\n" * 12
TABLE = "text,label\n" + "".join(f"a {n},x\nb {n},y\n" for n in range(9))
RUNS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "poetry-lm": ("verse.txt", VERSE, {"embedding": 4}),
    "char-lm": ("verse.txt", VERSE, {"embedding": 4}),
    "wiki-lm": ("verse.txt", VERSE, {"embedding": 4}),
    "translate": ("pairs.tsv", PAIRS, {"embedding": 4}),
    "tag": ("words.conll", TAGS, {"word_size": 4, "char_size": 4}),
    "poetry-classify": ("t.csv", TABLE, {"folds": 0, "hold_out_count": 2, "word_size": 4}),
}


def begin(task: str, flags: dict[str, Any]) -> Training:
    """A run of one epoch."""
    training = Training.start(task, resolve(TASKS[task], {"hidden": "4", "epochs": 1, **flags}), "mine")
    training.train(lambda _: None, pytest.fail)
    return training


@pytest.mark.parametrize(
    "task", [pytest.param(each, marks=[] if each in ("char-lm", "tag") else pytest.mark.slow) for each in RUNS]
)
def test_a_moved_text_is_given_again_and_another_one_is_refused(
    task: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, text, flags = RUNS[task]
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text, encoding="utf-8")
    run = begin(task, {**flags, "corpus": (name,)}).run
    measured = load("mine").evaluate()
    moved = f"new-{name}"
    Path(name).rename(moved)
    with pytest.raises(UsageError, match=f"a text of run mine is no longer at .*{name}: give --corpus with its new"):
        Training.resume(run, {"epochs": 2})
    Path("other" + Path(name).suffix).write_text(text.replace("the", "thee").replace("a 8", "c 88"), encoding="utf-8")
    with pytest.raises(UsageError, match=r"training text of run mine has changed"):
        Training.resume(run, {"epochs": 2, "corpus": ("other" + Path(name).suffix,)})
    with pytest.raises(UsageError, match="--corpus is not that of run mine: give the same, in the same order"):
        Training.resume(run, {"epochs": 2, "corpus": (moved, moved)})
    gone = rf"learned from .*{name}, where nothing is any more: .*rnn train {task} --resume --name RUN --corpus PLACE"
    with pytest.raises(UsageError, match=gone):
        load("mine").evaluate()
    assert Training.resume(run, {"corpus": (moved,)}).trainer.progress.epoch == 1
    assert load("mine").config.corpus == (str(tmp_path / moved),)  # before any further step
    assert load("mine").evaluate() == measured


def test_a_registered_text_is_not_exchanged_for_a_file(home: Path, tmp_path: Path) -> None:
    run = begin("char-lm", {"embedding": 4, "corpus": ("hillside",), "max_time": 0.1}).run
    with pytest.raises(UsageError, match="--corpus is not that of run mine"):
        Training.resume(run, {"corpus": (str(tmp_path),)})


def test_files_of_pairs_move_too(home: Path, tmp_path: Path) -> None:
    files = {"source": "en.txt", "target": "de.txt"}
    for place, file in enumerate(files.values()):
        lines = [line.split("\t")[place] for line in PAIRS.splitlines()]
        (tmp_path / file).write_text("\n".join(lines), encoding="utf-8")
    run = begin("translate", {"embedding": 4, **{name: str(tmp_path / file) for name, file in files.items()}}).run
    (tmp_path / "de.txt").rename(tmp_path / "deutsch.txt")
    with pytest.raises(
        RnnError, match=r"a text of run mine is no longer at .*de\.txt: give --target with its new place"
    ):
        Training.resume(run, {"epochs": 2})
    Training.resume(run, {"epochs": 2, "target": str(tmp_path / "deutsch.txt")}).train(lambda _: None, pytest.fail)
