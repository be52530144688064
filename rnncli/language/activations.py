"""The states of a language model over a given text or the held-out text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from rnncli.data.units import Units
from rnncli.data.vocabulary import END, SPECIALS
from rnncli.language.voices import label_number
from rnncli.recording import EXAMPLE, ActivationOptions, HeldOutText, Recording, check_enough, states_of
from rnncli.settings import option
from rnncli.task import Action, Trained

if TYPE_CHECKING:
    from rnncli.data.codec import Codec


@dataclass(frozen=True, kw_only=True)
class LanguageActivationOptions(ActivationOptions):
    """The text that a language model reads, and its voice."""

    label: str | None = option(None, "Read it in this voice, for a model with several.")


def activations_action(held_out_text: HeldOutText) -> Action:
    """The action `activations` of a language model; `held_out_text` yields the lines that it did not learn from."""
    return Action(LanguageActivationOptions, partial(record_states, held_out_text), EXAMPLE)


def record_states(held_out_text: HeldOutText, trained: Trained, options: LanguageActivationOptions) -> Recording:
    """Record all states of a language model over a text; raises UsageError for fewer than two tokens."""
    import torch

    label, codec = label_number(trained, options.label), trained.codec
    model: Any = trained.model
    read: list[_Token] = []
    sequences: list[list[int]] = []
    for written in _sequences(options.read(trained, held_out_text), codec, options.max_tokens):
        left = options.max_tokens - len(read)
        if left <= 0:
            break
        read += written[:left]
        sequences.append([codec.opening, *codec.vocabulary.encode(token.name for token in written[:left])])
    pieces = [token.shown for token in read]
    check_enough(pieces)
    device = trained.device
    voice = None if label is None else torch.tensor(label, device=device)
    with torch.inference_mode():
        columns = [torch.tensor(numbers, device=device)[:, None] for numbers in sequences]
        traced = [model.add_label(model.read(column), voice) for column in columns]
    numbers = [number for sequence in sequences for number in sequence[1:]]
    states = states_of(model.stack, traced, opened=True)
    return Recording(pieces, numbers, codec.vocabulary.tokens, states, decoded=[token.added for token in read])


class _Token(NamedTuple):
    """A token of a text: its name, its displayed form, and the text that it adds."""

    name: str
    shown: str
    added: str


def _sequences(text: str, codec: "Codec", max_tokens: int) -> Iterator[list[_Token]]:
    """Yield the sequences of a text; a stream is cut after `max_tokens`, and lines without a token are skipped."""
    units = codec.units
    if not codec.by_line:
        tokens = codec.split(text)[:max_tokens]
        texts = _added(tokens, units)
        yield list(map(_Token, tokens, texts if units.spaced else map(units.shown, tokens), texts))
        return
    lines = [tokens for line in text.split("\n") if (tokens := codec.split(line))]
    spaced = [[_in_line(units.shown(token), token, place) for place, token in enumerate(line)] for line in lines]
    if codec.is_running:
        yield [token for line in spaced for token in (*line, _Token(SPECIALS[END], "\n", "\n"))]
        return
    for line in spaced:
        name, shown, added = line[-1]
        line[-1] = _Token(name, f"{shown}\n", f"{added}\n")
        yield line


def _in_line(shown: str, token: str, place: int) -> _Token:
    written = f" {shown}" if place else shown
    return _Token(token, written, written)


def _added(tokens: Sequence[str], units: Units) -> list[str]:
    """The text that each token adds; an incomplete character at the end belongs to the last token."""
    if not tokens:
        return []
    pieces, last = list(units.join(tokens)), len(tokens) - 1
    return [*pieces[:last], "".join(pieces[last:])]
