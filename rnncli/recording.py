"""What every unit of a net does over a text: the text that is read, and the states after each of its tokens."""

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
"""Lines that a model did not learn from, as far as it held some out."""


@dataclass(frozen=True, kw_only=True)
class ActivationOptions:
    """What a net is watched on."""

    text: str | None = option(None, "A text, a file, or - (standard input); else what training held out.")
    tokens: int = option(2_000, "Tokens of it to read at most.", least=2, most=1_000_000)

    def read(self, trained: Trained, held_out_text: HeldOutText) -> str:
        """The text, as `given_text` has it; without one, a passage of so many tokens or less of what was held out."""
        if self.text is None:
            return "\n".join(islice(held_out_text(trained), self.tokens))
        return given_text(self.text)


def given_text(text: str) -> str:
    """A text, or that of the file or the standard input (`-`) that it names.

    Raises UsageError for a blank one, RnnError as `read_text` for a file that cannot be read or is not there.
    """
    if text == "-":
        return read_stdin()
    if not text.strip():
        raise UsageError("--text is blank: give a text, a file, or - for standard input")
    return read_text(Path(text)) if _names_a_file(text) else text


def _names_a_file(text: str) -> bool:
    """Whether a text is the path of a file, or of one that was meant, and is then missed."""
    if len(text) > 1_000 or "\n" in text:
        return False
    return Path(text).exists() or (not text.split()[1:] and text.lower().endswith((".txt", ".gz", ".md")))


@dataclass(frozen=True)
class Recording:
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
