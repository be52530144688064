"""The model that a verb takes without a name: the newest that can do the work, or a new one after a question."""

import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.terminals import on_a_terminal

from rnncli.__main__ import run
from rnncli.data.corpora import CORPORA
from rnncli.settings import plain
from rnncli.tasks import TASKS

FIXTURES = Path(__file__).parents[1] / "checkpoints"


@pytest.fixture
def add_run(home: Path) -> Callable[[str, str, int], Path]:
    """Adds the run `fixture` of a task, written at a time in seconds."""

    def add(task: str, fixture: str, when: int) -> Path:
        folder = home / "checkpoints" / task / fixture
        folder.mkdir(parents=True)
        model = folder / "best.safetensors"
        shutil.copyfile(FIXTURES / fixture / "best.safetensors", model)
        os.utime(model, (when, when))
        return model

    return add


def test_the_newest_model_of_any_task_with_the_verb_is_taken_and_printed(rnn, add_run) -> None:
    chars, verse = add_run("char-lm", "chars-voices", 2000), add_run("poetry-lm", "verse-voices", 1000)
    add_run("parity", "parity-solved", 3000)  # has no score
    ran = rnn("score 'the gate' --json")
    assert json.loads(ran.out)["checkpoint"] == str(chars)
    assert ran.err == "model: char-lm/chars-voices (newest for `rnn score`)\n"
    os.utime(verse, (4000, 4000))
    assert json.loads(rnn("score 'the gate' --json").out)["checkpoint"] == str(verse)


def test_the_only_model_is_not_announced(rnn, add_run) -> None:
    add_run("poetry-lm", "verse-voices", 1000)
    add_run("parity", "parity-solved", 3000)
    ran = rnn("score 'the gate' --json")
    assert (ran.code, ran.err) == (0, "")


def test_vectors_come_from_the_newest_model_that_has_the_words(rnn, add_run) -> None:
    prose = add_run("wiki-lm", "prose-vectors", 1000)
    verse = add_run("poetry-lm", "verse-voices", 2000)
    for words, expected in (
        ("analogy King man woman", prose),
        ("embeddings neighbors queen", prose),
        ("embeddings odd-one-out king queen man", prose),
        ("embeddings neighbors the", verse),
    ):
        ran = rnn(f"{words} --json")
        assert json.loads(ran.out)["vectors"] == str(expected), words
    assert rnn("analogy king man woman").err.startswith(
        "model: wiki-lm/prose-vectors (newest that has the words king, man, woman)\n"
    )


def test_models_without_the_words_name_the_training_that_has_them(rnn, home: Path, add_run) -> None:
    add_run("poetry-lm", "verse-voices", 1000)
    ran = rnn("analogy king man woman")
    place = home / "checkpoints"
    message = f"there is no model that has the words king, man, woman in {place} yet: run `rnn train wiki-lm` first"
    assert (ran.code, ran.out, ran.err) == (2, "", f"rnn: error: {message}\n")


def test_a_single_word_is_named_as_one(rnn) -> None:
    assert "no model that has the word king in " in rnn("embeddings neighbors king").err


def test_without_a_model_analogies_name_a_training_whose_corpus_has_them(rnn) -> None:
    assert rnn("evaluate analogies").err.endswith(" yet: run `rnn train wiki-lm` first\n")
    assert rnn("embeddings export vectors.txt").err.endswith(" yet: run `rnn train poetry-lm` first\n")


def test_words_that_no_embedded_corpus_has_get_a_hint_from_the_newest_model(rnn, add_run) -> None:
    add_run("poetry-lm", "verse-voices", 1000)
    ran = rnn("embeddings neighbors thee")
    assert ran.code == 2
    assert "no vector for 'thee': did you mean the" in ran.err


@pytest.mark.parametrize(
    ("words", "missing"), [("evaluate parity", "of parity"), ("activations", "for `rnn activations`")]
)
def test_on_a_terminal_enter_trains_a_model_and_the_verb_continues(words: str, missing: str, home: Path) -> None:
    with on_a_terminal(typed="\n") as shown:
        assert run(words.split()) == 0
    place = home / "checkpoints"
    question = f"there is no model {missing} in {place} yet: train one now (`rnn train parity`, about 1 s)?"
    assert question in shown.text
    assert "parity on all 4,096 strings of 12 bits" in shown.text
    (made,) = (home / "checkpoints" / "parity").glob("*/best.safetensors")
    assert f"from {made}" in shown.text


def test_no_is_an_error_and_trains_nothing(home: Path) -> None:
    with on_a_terminal(typed="n\n") as shown:
        assert run(["analogy", "king", "man", "woman"]) == 2
    assert "(`rnn train wiki-lm --corpus toyworld`, about 20 s)? [Y/n]: " in shown.text
    assert shown.text.endswith("yet: run `rnn train wiki-lm` first\n")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "words", ["generate poetry --json", "generate poetry --no-input", "--no-input generate poetry"]
)
def test_json_and_no_input_ask_nothing(words: str, home: Path) -> None:
    with on_a_terminal(typed="\n") as shown:
        assert run(words.split()) == 2
    message = f"there is no model of poetry-lm in {home / 'checkpoints'} yet: run `rnn train poetry-lm` first"
    assert shown.text == f"rnn: error: {message}\n"


def test_a_pipe_on_either_side_gets_no_question(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for stream in ("stdin", "stdout", "stderr"):
        with monkeypatch.context() as patched:
            for other in {"stdin", "stdout", "stderr"} - {stream}:
                patched.setattr(getattr(sys, other), "isatty", lambda: True, raising=False)
            assert run(["generate", "poetry"]) == 2
        assert "train one now" not in capsys.readouterr().err


def test_no_input_refuses_a_question_about_deletion(add_run, rnn) -> None:
    file = add_run("parity", "parity-solved", 1000)
    ran = rnn("runs delete parity-solved --no-input")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "--no-input" in ran.err
    assert file.exists()


def test_input_without_an_answer_deletes_nothing(add_run, rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    file = add_run("parity", "parity-solved", 1000)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    ran = rnn("runs delete parity-solved")
    assert ran.code == 2
    assert ran.err.startswith("rnn: error: nobody answers this question: Delete parity/parity-solved (")
    assert ran.err.endswith("? Add --yes\n")
    assert file.exists()


@pytest.mark.no_backend
def test_declared_quick_trainings_are_possible() -> None:
    for task in TASKS.values():
        if task.quick:
            assert 0 < task.quick.seconds < 60
            assert all(CORPORA[name].here() for name in task.quick.corpus), task.name
            assert ("corpus" in plain(task.Config())) == bool(task.quick.corpus), task.name
            assert task.quick.command(task.name).startswith(f"rnn train {task.name}")
