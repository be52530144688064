"""Every verb takes a run in the same way: RUN where it has no other argument, and --from."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rnncli.cli import VERBS

FIXTURES = Path(__file__).parents[1] / "checkpoints"


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by its words."""
    for name in VERBS:
        command = VERBS[name].build(name)
        yield name, command
        if hasattr(command, "list_commands"):
            yield from ((f"{name} {part}", command.commands[part]) for part in command.commands)


@pytest.fixture
def runs(home: Path) -> None:
    """A run of poetry-lm and one of parity, each trained by an earlier version."""
    for task, fixture, name in (("poetry-lm", "verse-book", "verse"), ("parity", "parity-solved", "bits")):
        folder = home / "checkpoints" / task / name
        folder.mkdir(parents=True)
        shutil.copyfile(FIXTURES / fixture / "best.safetensors", folder / "best.safetensors")


@pytest.mark.no_backend
def test_a_run_is_an_argument_of_every_verb_without_another() -> None:
    found = {}
    for words, command in commands():
        arguments = [each.name for each in command.params if each.param_type_name == "argument"]
        if any("--from" in each.opts for each in command.params):
            assert arguments == ["run"] or (arguments and "run" not in arguments) or words == "generate", words
            found[words] = "run" in arguments
        else:
            assert "run" not in arguments, words
    with_argument = {words for words, is_argument in found.items() if is_argument}
    expected = {"activations", "gradients", "report", "serve", "inspect", "export", "generate char", "evaluate tag"}
    assert expected <= with_argument
    assert {"score", "classify", "tag", "translate", "analogy", "embeddings plot"} <= found.keys() - with_argument


def test_a_cells_code_is_named_wherever_a_model_is() -> None:
    for words, command in commands():
        flags = {flag for each in command.params for flag in each.opts}
        if "--from" in flags:
            assert "--cell" in flags, words


def test_generate_and_evaluate_take_the_task_from_the_run(runs: None, rnn, home: Path) -> None:
    best = home / "checkpoints" / "poetry-lm" / "verse" / "best.safetensors"
    options = "--lines 2 --seed 3 --json"
    written = [
        rnn(f"generate {words}").out
        for words in (
            f"verse {options}",
            f"{best} {options}",
            f"poetry-lm/verse {options}",
            f"poetry verse {options}",
            f"poetry --from verse {options}",
            f"{options} verse",
            "--seed 3 poetry-lm/verse --lines 2 --json",
            f"{options} poetry --from verse",
        )
    ]
    assert json.loads(written[0])["task"] == "poetry-lm"
    assert set(written) == {written[0]}
    assert json.loads(rnn("evaluate bits --json").out)["task"] == "parity"


def test_an_unknown_run_is_one_line(runs: None, rnn) -> None:
    for words, complaint in (
        ("generate bits", "bits is a model of parity, which has no generate"),
        (
            "generate poems",
            "`rnn generate poems`: there is no such command (poetry, wiki, char); there is no run 'poems' in ",
        ),
        ("generate verse --from verse", ""),
        ("inspect verse --from verse", "RUN and --from both name the model: give one of them"),
        ("evaluate tag bits", "bits"),
    ):
        ran = rnn(words)
        assert (ran.code, ran.err.count("\n")) == ((2, 1) if complaint else (0, 2)), words
        assert complaint in ran.err
