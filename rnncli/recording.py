"""Record the states of a net while it reads a text: its tokens, and the values of all units after each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnncli.data.text import read_stdin, read_text
from rnncli.errors import RnnError, UsageError
from rnncli.settings import option
from rnncli.task import Trained

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

EXAMPLE = "rnn activations --text notes.txt --states states.h5"


HeldOutText = Callable[[Trained], Iterator[str]]
"""The held-out lines of a model, or its training lines if nothing is held out."""


@dataclass(frozen=True, kw_only=True)
class ActivationOptions:
    """The text that a net reads while its states are recorded."""

    text: str | None = option(None, "A text, a file, or - (standard input); by default the held-out text.")
    max_tokens: int = option(2_000, "Maximum number of tokens to read.", least=2, most=1_000_000, formerly=("tokens",))

    def read(self, trained: Trained, held_out_text: HeldOutText) -> str:
        """The text, as `text_or_file` reads it; by default, at most `max_tokens` lines of the held-out text."""
        if self.text is None:
            return "\n".join(islice(held_out_text(trained), self.max_tokens))
        return text_or_file(self.text)


def text_or_file(text: str) -> str:
    """Return a text, or read the file or the standard input (`-`) that it names.

    Raises UsageError for a blank text, RnnError as `read_text` for a file that cannot be read or does not exist.
    """
    if text == "-":
        return read_stdin()
    if not text.strip():
        raise UsageError("--text is blank: give a text, a file, or - for standard input")
    return read_text(Path(text)) if _names_a_file(text) else text


def _names_a_file(text: str) -> bool:
    """Whether a text is the path of a file, or looks like the path of a missing one."""
    if len(text) > 1_000 or "\n" in text:
        return False
    return Path(text).exists() or (not text.split()[1:] and text.lower().endswith((".txt", ".gz", ".md")))


@dataclass(frozen=True)
class Recording:
    """A text that a net has read: T tokens, and the values of all units after each of them."""

    pieces: list[str]  # the tokens as displayed, with blanks and line ends between them
    numbers: list[int]  # ids in the vocabulary
    names: Sequence[str]  # the vocabulary
    states: "dict[str, NDArray[np.float32]]"  # h1, c1, h2, …: (T, M) per field and layer
    features: Mapping[str, Sequence[float]] = field(default_factory=dict)  # task features, (T,) each
    decoded: Sequence[str] = ()  # the text that each token adds, where `pieces` show bytes by number

    def __repr__(self) -> str:
        states = ", ".join(f"{name} {values.shape}" for name, values in self.states.items())
        return f"Recording({len(self.pieces):,} tokens; {states})"

    @property
    def parts(self) -> Sequence[str]:
        """The text that each token adds; empty for a part of a character that a later token completes."""
        return self.decoded or self.pieces

    @property
    def text(self) -> str:
        """The text, as the net read it."""
        return "".join(self.parts)


def check_enough(pieces: Sequence[str]) -> None:
    """Raise UsageError for a text of fewer than two tokens."""
    if len(pieces) < 2:
        raise UsageError("the text has fewer than two tokens that the model reads: give a longer --text")


def states_of(stack: Any, inputs: "Sequence[Tensor]", *, opened: bool = False) -> "dict[str, NDArray[np.float32]]":
    """All states of a stack over sequences of inputs (T, 1, D), concatenated; the state is reset for each sequence.

    With `opened`, the first step of each sequence is not a token of the text, and is left out. Raises RnnError for
    states that are not finite.
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
        raise RnnError("the model's states are not finite: train it again, or load another checkpoint")
    return states
