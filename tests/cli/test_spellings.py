"""Old spellings of flags, options and settings: each works like the current one, and one line names that one."""

from typing import Any

import pytest

from rnncli.cli import VERBS
from rnncli.errors import RnnWarning, UsageError
from rnncli.recording import ActivationOptions
from rnncli.settings import respelled

pytestmark = pytest.mark.no_backend


def values_of(words: str) -> dict[str, Any]:
    """The arguments of a command's function."""
    verb, *rest = words.split()
    command = VERBS[verb].build(verb)
    if hasattr(command, "list_commands"):
        command = command.commands[rest.pop(0)]
    values: dict[str, Any] = command.make_context(verb, rest).params
    return values


@pytest.mark.parametrize(
    ("words", "old", "present"),
    [
        ("translate ein", "--attention a.png", "--out a.png"),
        ("evaluate tag", "--picture=a.png", "--out=a.png"),
        ("evaluate poetry-classify", "--picture a.png", "--out a.png"),
        ("embeddings plot", "--picture a.svg", "--out a.svg"),
        ("bench growth", "--picture a.png", "--out a.png"),
        ("gradients", "--plot a.png", "--out a.png"),
        ("compare parity", "--plot a.png", "--out a.png"),
        ("compare parity", "--cells gru,elman", "--cell gru,elman"),
        ("activations", "--tokens 9", "--max-tokens 9"),
    ],
)
def test_old_flag_gives_the_values_of_the_current_one(words: str, old: str, present: str) -> None:
    flags = [each.partition("=")[0].split()[0] for each in (old, present)]
    with pytest.warns(RnnWarning, match=f"^{flags[0]} is now called {flags[1]}$") as printed:
        found = values_of(f"{words} {old}")
    assert len(printed) == 1
    assert found == values_of(f"{words} {present}") != values_of(words)


def test_notice_is_one_line_and_text_after_dashes_stays(rnn) -> None:
    ran = rnn("activations absent --tokens 9")
    assert ran.err.splitlines()[0] == "rnn: warning: --tokens is now called --max-tokens"
    assert list(values_of("translate -- --attention")["texts"]) == ["--attention"]


def test_kind_of_attention_and_of_token_keep_their_flags() -> None:
    assert values_of("train translate --attention dot --tokens word")["attention"] == "dot"


def test_options_and_settings_by_old_names() -> None:
    with pytest.warns(RnnWarning, match="^tokens is now called max_tokens$"):
        assert respelled(ActivationOptions, {"tokens": 9}) == {"max_tokens": 9}
    with pytest.raises(UsageError, match="tokens is now called max_tokens: give it once"):
        respelled(ActivationOptions, {"tokens": 9, "max_tokens": 9})
