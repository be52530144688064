"""Units of text: what every way of splitting a text provides, and text as bytes."""

import codecs
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple


class Units(NamedTuple):
    """A way to take running text apart, and to put it together again to the letter, piece by piece."""

    split: Callable[[str], list[str]]
    join: Callable[[Iterable[str]], Iterator[str]] = iter  # a piece for each token, which may be empty
    letters: Callable[[str], str] | None = None  # the text that has the tokens as its characters, where they are such
    shown: Callable[[str], str] = str  # a token as people are shown it
    spaced: bool = False  # there are blanks between tokens, and a text may have UNKNOWN ones


def from_bytes(units: Iterable[bytes]) -> Iterator[str]:
    """The characters that bytes stand for: a piece for each unit, empty until a character's last byte is there.

    What is left over at the end is one piece more.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    yield from map(decoder.decode, units)
    yield decoder.decode(b"", True)


def shown_bytes(data: bytes) -> str:
    """The text that bytes are, or where they are part of a character, their numbers."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "".join(f"\\x{byte:02x}" for byte in data)
