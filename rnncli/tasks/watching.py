"""What all tasks share whose nets can be watched at work: the state of every unit after every token of a text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

    pieces: list[str]  # the tokens as they are written, the blanks and line ends between them included
    numbers: list[int]  # by the vocabulary
    names: Sequence[str]  # the vocabulary
    states: "dict[str, NDArray[np.float32]]"  # h1, c1, h2, …: (T, M) a field of a layer
    features: Mapping[str, Sequence[float]] = field(default_factory=dict)  # what the task knows of each token, (T,)

    @property
    def text(self) -> str:
        """The text, as the net read it."""
        return "".join(self.pieces)


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
    pieces: list[str] = []
    sequences: list[list[int]] = []
    for written, opened in _sequences(options.read(trained, passage), reading):
        room = options.tokens - len(pieces)
        if room <= 0:
            break
        pieces += [piece for _, piece in written[:room]]
        sequences.append([*opened, *vocabulary.encode(token for token, _ in written[:room])])
    check_enough(pieces)
    voice = None if label is None else torch.tensor(label)
    with torch.inference_mode():
        traced = [model.voiced(model.read(torch.tensor(numbers)[:, None]), voice) for numbers in sequences]
    numbers = [number for sequence in sequences for number in sequence[1:]]
    return Watched(pieces, numbers, vocabulary.tokens, states_of(model.stack, traced, opened=True))


Written = list[tuple[str, str]]
"""Tokens, each with the text that it is written as."""


def _sequences(text: str, reading: Reading) -> Iterator[tuple[Written, list[int]]]:
    """The sequences that a text is read as, each with the token that opens it; those without a token are left out."""
    if not reading.closing:
        yield [(token, reading.shown(token)) for token in reading.split(text)], [reading.opening]
        return
    lines = [tokens for line in text.split("\n") if (tokens := list(reading.split(line)))]
    spaced = [[(token, f" {token}" if place else token) for place, token in enumerate(line)] for line in lines]
    if reading.carries:
        closing = (SPECIALS[END], "\n")
        yield [pair for line in spaced for pair in (*line, closing)], [reading.opening]
        return
    for line in spaced:
        line[-1] = (line[-1][0], f"{line[-1][1]}\n")
        yield line, [reading.opening]


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
