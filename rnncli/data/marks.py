"""Combining marks, which Python's `re` does not count as parts of a word."""

import unicodedata
from functools import cache


@cache
def combining_marks() -> str:
    """All combining marks in the basic plane."""
    return "".join(mark for mark in map(chr, range(0x300, 0xFE00)) if unicodedata.category(mark) in ("Mn", "Mc"))
