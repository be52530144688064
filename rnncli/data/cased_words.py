"""Text as words and punctuation marks with their capitals: the tokens of a line, and the line that tokens make."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise

from rnncli.data.marks import combining_marks
from rnncli.data.vocabulary import END, SPECIALS, written_word

GLUE = "\u2060"
"""WORD JOINER, on that side of a token where no blank stands although one usually would."""

CLOSING = frozenset([*".,;:!?)]}%…", "..."])
OPENING = frozenset("([{")
"""Marks that usually have no blank before them, or after them."""


def cased_words(line: str) -> list[str]:
    """Split a line into words, with capitals and inner apostrophes, and punctuation marks; `--` is one mark.

    Between tokens stands a blank, except before a closing mark and after an opening one. Other tokens without a blank
    between them carry GLUE, so `join_cased` restores the line, except blanks before closing and after opening marks.
    """
    chunks = line.replace(GLUE, "").split()
    return [token for chunk in chunks for token in _glued([found[0] for found in _token().finditer(chunk)])]


@cache
def _token() -> re.Pattern[str]:
    """The pattern of a word, or of a mark that may be repeated."""
    part = rf"\w[\w{combining_marks()}\u200c\u200d]*+"
    return re.compile(rf"{part}(?:['’]{part})*|(.)\1*", re.DOTALL)


def _glued(tokens: list[str]) -> list[str]:
    """Mark the sides of adjacent tokens that usually have a blank between them: those of marks, not of words."""
    written = list(tokens)
    for place, (left, right) in enumerate(pairwise(tokens), start=1):
        if left in OPENING or right in CLOSING:
            continue
        if _is_word(right):
            written[place - 1] += GLUE
        else:
            written[place] = GLUE + written[place]
    return written


def _is_word(token: str) -> bool:
    return re.match(r"\w", token) is not None


def join_cased(tokens: Iterable[str]) -> Iterator[str]:
    """Yield the text of tokens, a piece for each; a line feed for each END."""
    glued = True
    for token in tokens:
        if token == SPECIALS[END]:
            yield "\n"
            glued = True
            continue
        glued = glued or token.rstrip(GLUE) in CLOSING or token.startswith(GLUE)
        yield shown_cased(token) if glued else f" {shown_cased(token)}"
        glued = token.lstrip(GLUE) in OPENING or token.endswith(GLUE)


def shown_cased(token: str) -> str:
    """Return a token as it is written, without GLUE."""
    return written_word(token).strip(GLUE)
