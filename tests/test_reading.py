"""Runs older than a change in reading files: evaluation and resuming use the old data."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnncli import api
from rnncli.api import Training, load
from rnncli.data.codec import Codec
from rnncli.data.text import PARTS_MARKS, READING, read_as
from rnncli.errors import UsageError
from rnncli.presets import resolve
from rnncli.tasks import TASKS
from rnncli.training import checkpoint
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


def check_best_validation(name: str) -> None:
    """The run's best validation is measured again by the rules that its checkpoint records."""
    progress = load(name).header["progress"]
    (best,) = (each for each in progress["history"] if each["step"] == progress["best_step"])
    assert load(name).evaluate()["loss"] == pytest.approx(best["loss"], rel=1e-5)


@pytest.mark.parametrize("task", FILES)
def test_old_run_is_evaluated_and_resumed_on_its_own_data(
    task: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, text, flags = FILES[task]
    (tmp_path / name).write_text(text, newline="")
    run = train_as_before(task, tmp_path / name, monkeypatch, **flags)
    check_best_validation("old")
    Training.resume(run, {"epochs": 2}).train(lambda _: None, pytest.fail)
    assert load(run.folder / "last.safetensors").header["progress"]["epoch"] == 2
    assert load("old").header["reading"] == 1
    check_best_validation("old")
    (tmp_path / name).write_text(text.replace("the", "thee").replace(" 8", " 88"), newline="")
    with pytest.raises(UsageError, match=r"training text of run old has changed|is no longer what"):
        Training.resume(run, {"epochs": 3})


def test_old_run_resumes_if_its_file_reads_the_same(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain.conll").write_text("the DET\ncat NOUN\n\n" * 12)
    run = train_as_before("tag", tmp_path / "plain.conll", monkeypatch, word_size=4, char_size=4)
    resumed = Training.resume(run, {"epochs": 2})
    resumed.train(lambda _: None, pytest.fail)
    assert load("old").header["reading"] == READING


@pytest.mark.parametrize(
    ("flags", "tokens"),
    [({"tokens": "word"}, {"\u0301", " ло", "дку"}), ({"tokens": "bpe", "vocab_size": 300}, {" ло", "дку"})],
)
def test_old_run_of_tokens_that_end_at_marks(
    flags: dict[str, Any], tokens: set[str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lake.txt").write_text("Стари́к ви́дит ло́дку.\n" * 40, encoding="utf-8")
    run = train_as_before("char-lm", tmp_path / "lake.txt", monkeypatch, 2, embedding=4, **flags)
    before = load("old")
    codec = Codec.of(before.payload)
    assert tokens <= set(map(codec.shown, range(len(codec.vocabulary))))
    check_best_validation("old")
    Training.resume(run, {"epochs": 2}).train(lambda _: None, pytest.fail)
    assert load("old").payload == before.payload
    check_best_validation("old")


def test_marks_only_in_the_held_out_part_are_read_as_before(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lake.txt").write_text("старик видит лодку.\n" * 40 + "Стари́к ви́дит ло́дку.\n" * 3, encoding="utf-8")
    run = train_as_before("char-lm", tmp_path / "lake.txt", monkeypatch, 2, embedding=4, tokens="word")
    training = Training.resume(run, {"epochs": 2})
    assert (training.reading, training.experiment.payload) == (2, load("old").payload)
    training.train(lambda _: None, pytest.fail)
    check_best_validation("old")


def forget_mark_rule(file: Path) -> None:
    """Make a checkpoint's payload what older programs wrote."""
    found = checkpoint.read(file)
    assert found.header["payload"].pop(PARTS_MARKS)
    file.write_bytes(checkpoint.to_bytes(found.header, found.tensors))


@pytest.mark.usefixtures("plain_loops")
def test_words_that_end_at_marks_split_every_text_alike(
    rnn: Callable[[str], Any], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "Стари́к ви́дит ло́дку."
    (tmp_path / "lake.txt").write_text(f"{line}\n" * 40, encoding="utf-8")
    (tmp_path / "kinds.tsv").write_text("text\tlabel\n" + f"{line}\ta\nСтари́к.\tb\n" * 3, encoding="utf-8")
    run = train_as_before("char-lm", tmp_path / "lake.txt", monkeypatch, 2, embedding=4, tokens="word")
    for file in run.folder.glob("*.safetensors"):
        forget_mark_rule(file)
    assert load("old").score(line)[0].unknown == []
    assert json.loads(rnn("generate old --prime 'Стари́к' --length 3 --json").out)["unknown"] == []
    for words in (
        f"char-lm --corpus {tmp_path}/lake.txt --bptt 8 --name further",
        f"poetry-classify --corpus {tmp_path}/kinds.tsv --folds 0 --name kinds",
    ):
        ran = rnn(f"train {words} --init-from old --epochs 1")
        assert "no new ones" in ran.err
        assert "classify" in words or rnn(f"train {words} --resume --epochs 2").code == 0
        codec = Codec.of(load(words.split()[-1]).payload)
        assert codec.split(line) == load("old").codec.split(line)
        assert "\u0301" in codec.split(line)
