"""What all tasks share whose nets can be watched at work: the state of every unit after every token of a text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rnncli.data.text import read_stdin, read_text
from rnncli.data.vocabulary import END, SPECIALS, Vocabulary
from rnncli.errors import RnnError, UsageError
from rnncli.tasks.base import Action, Trained
from rnncli.tasks.scoring import Reading
from rnncli.tasks.voices import label_number
from rnncli.training.settings import option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

EXAMPLE = "rnn activations --text notes.txt --states states.h5"

Passage = Callable[[Trained], Iterator[str]]
"""Lines that a model did not learn from, as far as it held some out."""


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """What a net is watched on."""

    text: str | None = option(None, "A text, a file, or - (standard input); else what training held out.")
    tokens: int = option(2_000, "Tokens of it to read at most.", least=2, most=1_000_000)

    def read(self, trained: Trained, passage: Passage) -> str:
        """The text, as `given_text` has it; without one, a passage of so many tokens or less of what was held out."""
        if self.text is None:
            return "\n".join(islice(passage(trained), self.tokens))
        return given_text(self.text)


def given_text(given: str) -> str:
    """A text, or that of the file or the standard input (`-`) that it names.

    Raises UsageError for a blank one, RnnError as `read_text` for a file that cannot be read or is not there.
    """
    if given == "-":
        return read_stdin()
    if not given.strip():
        raise UsageError("--text is blank: give a text, a file, or - for standard input")
    return read_text(Path(given)) if _names_a_file(given) else given


def _names_a_file(given: str) -> bool:
    """Whether a text is the path of a file, or of one that was meant, and is then missed."""
    if len(given) > 1_000 or "\n" in given:
        return False
    return Path(given).exists() or (not given.split()[1:] and given.lower().endswith((".txt", ".gz", ".md")))


@dataclass(frozen=True, kw_only=True)
class VoicedWatchOptions(WatchOptions):
    """What a language model is watched on."""

    label: str | None = option(None, "Read it in this voice, of a model that learned several.")


@dataclass(frozen=True)
class Watched:
    """A text as a net has read it: T tokens, and what each of its units was after each of them."""

    pieces: list[str]  # the tokens as people are shown them, the blanks and line ends between them included
    numbers: list[int]  # by the vocabulary
    names: Sequence[str]  # the vocabulary
    states: "dict[str, NDArray[np.float32]]"  # h1, c1, h2, …: (T, M) a field of a layer
    features: Mapping[str, Sequence[float]] = field(default_factory=dict)  # what the task knows of each token, (T,)
    decoded: Sequence[str] = ()  # the text that each token adds, where `pieces` show bytes by number

    @property
    def parts(self) -> Sequence[str]:
        """The text that each token adds: nothing, where it is part of a character that a later one completes."""
        return self.decoded or self.pieces

    @property
    def text(self) -> str:
        """The text, as the net read it."""
        return "".join(self.parts)


def watcher(reading: Callable[[Trained], Reading], passage: Passage) -> Action:
    """The action `activations` of a language model that reads texts like this."""
    return Action(
        VoicedWatchOptions, lambda trained, options: watch(trained, options, reading(trained), passage), EXAMPLE
    )


def watch(trained: Trained, options: VoicedWatchOptions, reading: Reading, passage: Passage) -> Watched:
    """Have a language model read a text, and keep all its states; raises UsageError for one without a token."""
    import torch

    label = label_number(trained, options.label)
    vocabulary = Vocabulary(tuple(trained.payload["vocabulary"]))
    model: Any = trained.model
    read: list[_Token] = []
    sequences: list[list[int]] = []
    for written in _sequences(options.read(trained, passage), reading, options.tokens):
        room = options.tokens - len(read)
        if room <= 0:
            break
        read += written[:room]
        sequences.append([reading.opening, *vocabulary.encode(token.name for token in written[:room])])
    pieces = [token.shown for token in read]
    check_enough(pieces)
    place = trained.device
    voice = None if label is None else torch.tensor(label, device=place)
    with torch.inference_mode():
        columns = [torch.tensor(numbers, device=place)[:, None] for numbers in sequences]
        traced = [model.voiced(model.read(column), voice) for column in columns]
    numbers = [number for sequence in sequences for number in sequence[1:]]
    states = states_of(model.stack, traced, opened=True)
    return Watched(pieces, numbers, vocabulary.tokens, states, decoded=[token.added for token in read])


class _Token(NamedTuple):
    """A token of a text, as people are shown it, and the text that it adds."""

    name: str
    shown: str
    added: str


def _sequences(text: str, reading: Reading, most: int) -> Iterator[list[_Token]]:
    """The sequences that a text is read as, of at most so many tokens; those without a token are left out."""
    if not reading.closing:
        tokens = reading.split(text)[:most]
        texts = _added(tokens, reading)
        yield list(map(_Token, tokens, texts if reading.spaced else map(reading.shown, tokens), texts))
        return
    lines = [tokens for line in text.split("\n") if (tokens := list(reading.split(line)))]
    spaced = [[_in_line(reading.shown(token), token, place) for place, token in enumerate(line)] for line in lines]
    if reading.carries:
        yield [token for line in spaced for token in (*line, _Token(SPECIALS[END], "\n", "\n"))]
        return
    for line in spaced:
        name, shown, added = line[-1]
        line[-1] = _Token(name, f"{shown}\n", f"{added}\n")
        yield line


def _in_line(shown: str, token: str, place: int) -> _Token:
    written = f" {shown}" if place else shown
    return _Token(token, written, written)


def _added(tokens: Sequence[str], reading: Reading) -> list[str]:
    """The text that each of some tokens adds; a character that is not whole at the end belongs to the last one."""
    if not tokens:
        return []
    pieces, last = list(reading.join(tokens)), len(tokens) - 1
    return [*pieces[:last], "".join(pieces[last:])]


def check_enough(pieces: Sequence[str]) -> None:
    """Raise UsageError for a text that shows nothing."""
    if len(pieces) < 2:
        raise UsageError("the text has fewer than two tokens that the model reads: give a longer --text")


def states_of(stack: Any, inputs: "Sequence[Tensor]", *, opened: bool = False) -> "dict[str, NDArray[np.float32]]":
    """All states of a stack over sequences of inputs (T, 1, D), one after another; each begins anew.

    `opened`: the first step of each is no token of the text, and is left out. Raises RnnError for what are no numbers.
    """
    import numpy as np

    from rnncli.models.trace import trace

    ways = ("f", "b") if stack.directions == 2 else ("",)
    names = [f"{layer}{way}" for layer in range(1, len(stack.shape.hidden) + 1) for way in ways]
    parts: dict[str, list[Any]] = {}
    for x in inputs:
        for place, state in zip(names, trace(stack, x), strict=True):
            named: Any = state
            for letter, values in named._asdict().items():
                parts.setdefault(f"{letter}{place}", []).append(values[int(opened) :, 0].float().cpu().numpy())
    states = {name: np.concatenate(each) for name, each in parts.items()}
    if not all(np.isfinite(values).all() for values in states.values()):
        raise RnnError("the model's states are not numbers: there is nothing to see")
    return states
