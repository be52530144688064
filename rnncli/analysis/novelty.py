"""Measure how much of a text is copied from the training text: the longest stretch, and the share of 8-grams.

Windows of 1, 2, 4, … tokens of the text get numbers, each from its two halves (Karp, Miller and Rosenberg 1972), and
are looked up in the training text. Matching is exact (no hashes), so there are no false positives. The training text is
read in chunks, so memory does not grow with it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncli.data.marks import shorten
from rnncli.data.vocabulary import UNKNOWN
from rnncli.errors import UsageError
from rnncli.task import Trained
from rnncli.tasks import TASKS

Ids = np.ndarray[Any, Any]

LEVEL = 3
"""Windows of 2 ** LEVEL tokens, the 8-grams, are counted."""

CHUNK = 1 << 20
"""Tokens of the training text per chunk, in addition to the length of the text."""

SHOWN = 200
"""Characters of the longest stretch that a remark shows."""

ABSENT = -1
"""The number of a window that does not occur in the text."""


class Novelty(NamedTuple):
    """The overlap of some texts with the training text."""

    longest: int  # tokens of the longest common stretch
    stretch: str  # that stretch
    seen: float | None  # share of the 8-grams that occur there; None without 8-grams

    @property
    def remark(self) -> str:
        """The overlap in one line."""
        share = "too short for 8-grams" if self.seen is None else f"{self.seen:.1%} of its 8-grams"
        shown = shorten(self.stretch, SHOWN)
        return f"in the training text: {share}; the longest stretch there has {self.longest:,} tokens: {shown!r}"


def novelty(trained: Trained, texts: Iterable[Sequence[int]]) -> Novelty:
    """Measure the novelty of encoded texts for a language model; reads its training text again.

    UNKNOWN never matches. Raises UsageError if the training text has changed or cannot be read again.
    """
    access = TASKS[trained.task].token_access
    if access is None:
        raise UsageError(f"{trained.source} was not trained on a text that can be read again: leave --novelty out")
    trained.check_readable("leave --novelty out")
    text = np.concatenate([np.append(each, UNKNOWN) for each in texts]).astype(np.int64)
    unknown = np.flatnonzero(text == UNKNOWN)
    text[unknown] = -1 - np.arange(len(unknown))  # unique tokens: no stretch contains one
    found = overlap(text, access.training_arrays(trained, "leave --novelty out"))
    before = np.concatenate([[0], (text < 0).cumsum()])
    whole = before[1 << LEVEL :] == before[: len(found.seen)]
    stretch = text[found.begin : found.begin + found.longest].tolist()
    return Novelty(
        found.longest,
        "".join(trained.codec.join(stretch)),
        float(found.seen[whole].mean()) if whole.any() else None,
    )


class Overlap(NamedTuple):
    """The overlap of a text (N,) with others."""

    longest: int  # tokens of the longest common stretch
    begin: int  # its beginning in the text
    seen: Ids  # (N-7,): whether the 8-gram at each place occurs in the others


def overlap(text: Ids, training_arrays: Iterable[Ids]) -> Overlap:
    """The overlap of a text (N,) with a text in consecutive arrays of tokens."""
    windows = Windows(text)
    seen = np.zeros(len(text), dtype=bool)
    longest, begin = 0, 0
    for chunk in _chunks(training_arrays, len(text)):
        level, met = 0, windows.of_tokens(chunk)
        while True:
            if level == LEVEL:
                seen[np.unique(met[met >= 0])] = True
            following = windows.doubled(met, level)
            if not (following >= 0).any():
                break
            level, met = level + 1, following
        if (met >= 0).any():
            longest, begin = _stretched(windows.levels[level], met, 1 << level, (longest, begin))
    places = max(0, len(text) - (1 << LEVEL) + 1)
    reached = len(windows.levels) > LEVEL
    return Overlap(longest, begin, seen[windows.levels[LEVEL]] if reached else np.zeros(places, dtype=bool))


class Windows:
    """The windows of 1, 2, 4, … tokens of a text (N,), numbered: equal tokens have equal numbers."""

    def __init__(self, text: Ids) -> None:
        self.tokens, first = np.unique(text, return_inverse=True)
        self.levels, self.pairs = [first], list[Ids]()

    def of_tokens(self, tokens: Ids) -> Ids:
        """The numbers of another text's tokens; ABSENT for tokens that the text lacks."""
        return _found(self.tokens, tokens)

    def doubled(self, numbers: Ids, level: int) -> Ids:
        """The numbers of the windows at the next level, twice as long, from those of `level` at each place."""
        size = 1 << level
        if level == len(self.pairs):
            pairs, following = np.unique(_paired(self.levels[level], size), return_inverse=True)
            self.pairs.append(pairs)
            self.levels.append(following)
        both = _paired(numbers, size)
        there = both >= 0
        both[there] = _found(self.pairs[level], both[there])
        return both


def _paired(numbers: Ids, shift: int) -> Ids:
    """Combine each window with the one `shift` places later into one number; ABSENT if one of them is."""
    left, right = numbers[: max(0, len(numbers) - shift)].astype(np.int64), numbers[shift:]
    return np.where((left >= 0) & (right >= 0), left << 32 | right, ABSENT)


def _found(known: Ids, wanted: Ids) -> Ids:
    """The indices of numbers in a sorted array; ABSENT for those that are missing."""
    if not len(known):
        return np.full(len(wanted), ABSENT)
    places = np.searchsorted(known, wanted).clip(max=len(known) - 1)
    return np.where(known[places] == wanted, places, ABSENT)


def _stretched(text: Ids, met: Ids, size: int, best: tuple[int, int]) -> tuple[int, int]:
    """The longest common stretch below twice the size of these windows, and its beginning, if longer than the best.

    A stretch consists of two overlapping windows, and a common stretch contains all shorter ones, so bisection works.
    """

    def begin_of(length: int) -> int | None:
        shift = length - size
        ours, theirs = _paired(text, shift), _paired(met, shift)
        common = np.flatnonzero(np.isin(ours, theirs[theirs >= 0]))
        return int(common[0]) if len(common) else None

    there, absent = max(size - 1, best[0]), 2 * size
    while absent - there > 1:
        middle = (there + absent) // 2
        begin = begin_of(middle)
        if begin is None:
            absent = middle
        else:
            there, best = middle, (middle, begin)
    return best


def _chunks(arrays: Iterable[Ids], overlap: int) -> Iterator[Ids]:
    """Concatenated arrays in chunks; each chunk begins with the last `overlap` tokens of the previous one."""
    held, size = list[Ids](), 0
    for array in arrays:
        for begin in range(0, len(array), CHUNK):
            held.append(array[begin : begin + CHUNK])
            size += len(held[-1])
            if size >= CHUNK + overlap:
                whole = np.concatenate(held)
                yield whole
                held = [whole[len(whole) - overlap :]]
                size = len(held[0])
    if held:
        yield np.concatenate(held)
