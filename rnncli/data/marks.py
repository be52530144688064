"""Combining marks, which Python's `re` does not count as parts of a word, and texts cut between whole letters."""

import unicodedata
from functools import cache

JOINERS = "\u200c\u200d"
"""Invisible characters that separate two letters, as in Persian, or combine two emoji."""

SKIN_TONES = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
"""Characters that colour the emoji before them."""

VIRAMA = 9
"""Unicode's combining class of marks that join two consonants."""

DOTTED_CIRCLE = "◌"
"""Unicode's sign for the letter of a mark that is displayed without one."""


@cache
def combining_marks() -> str:
    """All combining marks in the basic plane."""
    return "".join(mark for mark in map(chr, range(0x300, 0xFE00)) if unicodedata.category(mark) in ("Mn", "Mc"))


def is_mark(sign: str) -> bool:
    """Whether a character combines with the one before it."""
    return unicodedata.category(sign)[0] == "M"


def shorten(text: str, max_length: int) -> str:
    """The text; a longer one is cut to `max_length` characters and `…`, where no letter loses its marks."""
    if len(text) <= max_length:
        return text
    end = max_length
    while end and (_joins(text[end - 1]) or text[end] in JOINERS + SKIN_TONES or is_mark(text[end])):
        end -= 1
    return f"{text[: end or max_length]}…"


def _joins(sign: str) -> bool:
    """Whether a character combines its two neighbours: a joiner, or a virama such as that of क्ष."""
    return sign in JOINERS or unicodedata.combining(sign) == VIRAMA
