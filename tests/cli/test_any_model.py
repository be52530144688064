"""Verbs serve the models of any task with the verb: a second task with its own options, panels and baselines."""

import ast
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support.pages import data_of

import rnncli
from rnncli.analysis.baselines import measure_baselines
from rnncli.api import Model, Training
from rnncli.cli import SUMMARIES
from rnncli.cli.options import union_of
from rnncli.data.texts import GivenTexts
from rnncli.language.generate import WritingOptions
from rnncli.panels import samples
from rnncli.presets import resolve
from rnncli.results import Classified, Tagged
from rnncli.settings import option, retuned
from rnncli.task import Action, Task, Trained
from rnncli.tasks import TASKS


@dataclass(frozen=True, kw_only=True)
class TagOptions(GivenTexts):
    """Options of `tag` without the --split-words of the first task with the verb."""


def parity_of_letters(_: Trained, options: GivenTexts) -> list[Classified]:
    labels = ("even", "odd")
    probs = [{label: float(len(text) % 2 == number) for number, label in enumerate(labels)} for text in options.spaced]
    return [Classified(text, labels[len(text) % 2], each, []) for text, each in zip(options.spaced, probs, strict=True)]


def lengths(_: Trained, options: TagOptions) -> list[list[Tagged]]:
    return [[Tagged(word, str(len(word)), 1.0) for word in text.split()] for text in options.spaced]


@pytest.fixture
def second(home: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    """A second task that classifies and tags with the net of the first one, and its run `mine`."""
    task = replace(
        TASKS["parity"],
        name="letters",
        uses={
            "classify": Action(GivenTexts, parity_of_letters, "rnn classify hill"),
            "tag": Action(TagOptions, lengths, "rnn tag hill"),
        },
        panels={"Mine": lambda trained: [samples("Mine", trained.task, [["a", "b"]])]},
        baselines=lambda _, options: {"a coin": {"accuracy": 0.5, "bits": options.bits}},
    )
    monkeypatch.setitem(TASKS, task.name, task)
    for name in ("parity", "letters"):
        training = Training.start(name, resolve(TASKS[name], {"bits": 3, "epochs": 1}), "mine")
        training.train(lambda _: None, pytest.fail)
    return task


@pytest.mark.parametrize("source", ["--from letters/mine", "--from mine", ""])
def test_a_second_task_is_served(source: str, second: Task, rnn: Callable[[str], Any]) -> None:
    printed = json.loads(rnn(f"classify hill hills --json {source}").out)
    assert [each["label"] for each in printed["texts"]] == ["even", "odd"]
    assert "checkpoints/letters/mine/" in printed["checkpoint"]
    assert rnn(f"tag 'a hill' {source}").out == "a\t1\nhill\t4\n"


def test_an_option_that_the_task_lacks_is_one_line(second: Task, rnn: Callable[[str], Any]) -> None:
    ran = rnn("tag hill --split-words nltk --from mine")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert (
        "letters/mine/best.safetensors is a model of letters, whose tag takes no --split-words: leave it out" in ran.err
    )
    ran = rnn("classify hill --from parity/mine")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "is a model of parity, which has no classify: it has evaluate, activations" in ran.err


def test_declared_panels_and_baselines_are_shown(second: Task, rnn: Callable[[str], Any], tmp_path: Path) -> None:
    printed = json.loads(rnn(f"report letters/mine --json --out {tmp_path}/page.html").out)
    assert printed["panels"] == ["curves", "facts", "samples"]
    assert data_of(tmp_path / "page.html")["panels"][-1]["samples"] == [["a", "b"]]
    model = rnncli.load("letters/mine")
    assert measure_baselines(model, model.action("evaluate").Options(bits=5), {}) == {
        "a coin": {"accuracy": 0.5, "bits": 5}
    }


def test_the_model_has_a_method_for_every_verb_of_every_task() -> None:
    verbs = {verb for task in TASKS.values() for verb in task.actions}
    assert verbs >= {"evaluate", "generate", "classify"}
    assert [verb for verb in sorted(verbs) if verb not in vars(Model)] == []


def test_only_tasks_contain_their_names() -> None:
    """In code, help and messages; the word before it identifies a task with the name of a verb."""
    after = [f"(?<=train ){name}" for name in TASKS] + [f"(?<=generate ){task.called}" for task in TASKS.values()]
    names = "|".join([name for name in TASKS if name not in SUMMARIES] + after)
    written = re.compile(rf"(?<![\w-])({names})(?![\w-])")
    package = Path(rnncli.__file__).parent
    for file in set(package.rglob("*.py")) - {package / "options.py"}:  # which tests/support/option_types.py writes
        source = file.read_text("utf-8")
        if package / "tasks" not in file.parents and written.search(source):
            texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
            assert [text for text in texts if isinstance(text, str) and written.search(text)] == [], file


def test_a_verb_without_a_method_runs_by_name(second: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    sing = Action(GivenTexts, lambda _, options: [text.upper() for text in options.lines], "rnn sing")
    monkeypatch.setitem(TASKS, second.name, replace(second, uses={"sing": sing}))
    assert rnncli.load("letters/mine").do("sing", texts="la") == ["LA"]


def test_flags_of_several_tasks_appear_once_each() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Bold(WritingOptions):
        temperature: float = retuned(WritingOptions, "temperature", 2.0)
        prime: str = option("", "Words of verse.")

    @dataclass(frozen=True, kw_only=True)
    class Verse(Bold):
        temperature: float = retuned(WritingOptions, "temperature", 0.5)
        lines: int = option(4, "Lines to write.", least=1)

    assert union_of([Bold, Bold]) is Bold
    found = {name: each.metadata["help"] for name, each in union_of([Bold, Verse]).__dataclass_fields__.items()}
    assert found["lines"] == "Lines to write."
    assert found["temperature"].endswith("always the likeliest token. (default: the task's)")
    assert found["prime"].startswith("Text to continue")
    assert "listen" not in found
