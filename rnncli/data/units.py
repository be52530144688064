"""Units of text: the interface of every tokenizer of running text, and text as bytes."""

import codecs
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple


class Units(NamedTuple):
    """A tokenizer of running text: it splits a text and joins the tokens to exactly the same text, piece by piece."""

    split: Callable[[str], list[str]]
    join: Callable[[Iterable[str]], Iterator[str]] = iter  # a piece for each token, which may be empty
    letters: Callable[[str], str] | None = (
        None  # the text whose characters are the tokens, if tokens are single characters
    )
    shown: Callable[[str], str] = str  # a token as it is displayed
    spaced: bool = False  # there are blanks between tokens, and a text may have UNKNOWN ones


def from_bytes(units: Iterable[bytes]) -> Iterator[str]:
    """Decode bytes: one piece of text per unit, empty until the last byte of a character arrives.

    Bytes left over at the end give one more piece.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    yield from map(decoder.decode, units)
    yield decoder.decode(b"", True)


def shown_bytes(data: bytes) -> str:
    """The text of bytes, with the numbers of those that are only a part of a character."""
    return data.decode(errors="backslashreplace")
