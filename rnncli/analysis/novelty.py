"""How much of a text stands word for word in what a model learned from: the longest stretch, and the share of 8-grams.

Windows of 1, 2, 4, … tokens are numbered by what stands in the text, each by its two halves (Karp, Miller and Rosenberg
1972), and looked up in the training text, of which less and less is left: nothing is hashed, so that nothing is taken
for the same that is not. The training text goes by in chunks: memory does not grow with it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncli.data.vocabulary import UNKNOWN
from rnncli.errors import UsageError
from rnncli.task import Trained
from rnncli.tasks import TASKS

Ids = np.ndarray[Any, Any]

LEVEL = 3
"""Windows of 2 ** 3 tokens, the 8-grams, are counted."""

CHUNK = 1 << 20
"""Tokens of the training text that are looked through at a time, and a text's length more."""

SHOWN = 200
"""Characters of the longest stretch that a remark has."""

ABSENT = -1
"""In place of a window's number: it does not stand in the text."""


class Novelty(NamedTuple):
    """What of some texts stands in the training text."""

    longest: int  # tokens of the longest stretch that does
    stretch: str  # that stretch
    seen: float | None  # share of the 8-grams that do; None where there are none

    @property
    def remark(self) -> str:
        """The same in a line."""
        share = "too short for 8-grams" if self.seen is None else f"{self.seen:.1%} of its 8-grams"
        shown = self.stretch if len(self.stretch) <= SHOWN else f"{self.stretch[:SHOWN]}…"
        return f"in the training text: {share}; the longest stretch there has {self.longest:,} tokens: {shown!r}"


def novelty(trained: Trained, texts: Iterable[Sequence[int]]) -> Novelty:
    """How new texts by number are to a language model; what it learned from is read again.

    UNKNOWN is not taken for the same word twice. Raises UsageError where that text has changed or cannot be read again.
    """
    access = TASKS[trained.task].token_access
    if access is None:
        raise UsageError(f"what {trained.source} learned from is no text that can be read again: leave --novelty out")
    trained.check_readable("leave --novelty out")
    text = np.concatenate([np.append(each, UNKNOWN) for each in texts]).astype(np.int64)
    unknown = np.flatnonzero(text == UNKNOWN)
    text[unknown] = -1 - np.arange(len(unknown))  # each a token of its own: no stretch goes over it
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
    """Where a text (N,) meets others."""

    longest: int  # tokens of the longest stretch that stands there
    begin: int  # where in the text it begins
    seen: Ids  # (N-7,): whether the 8-gram that begins at each place stands there


def overlap(text: Ids, training_arrays: Iterable[Ids]) -> Overlap:
    """What of a text (N,) stands in arrays of tokens that follow one another as one text."""
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
    """The windows of a text (N,), of 1, 2, 4, … tokens, by number: the same number for the same tokens."""

    def __init__(self, text: Ids) -> None:
        self.tokens, first = np.unique(text, return_inverse=True)
        self.levels, self.pairs = [first], list[Ids]()

    def of_tokens(self, tokens: Ids) -> Ids:
        """The numbers of another text's tokens, ABSENT where the text has no such token."""
        return _found(self.tokens, tokens)

    def doubled(self, numbers: Ids, level: int) -> Ids:
        """The numbers of the windows twice as long as those of a level that have these numbers, at each place."""
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
    """Each window with the one so much further on as one number; ABSENT where one of them is."""
    left, right = numbers[: max(0, len(numbers) - shift)].astype(np.int64), numbers[shift:]
    return np.where((left >= 0) & (right >= 0), left << 32 | right, ABSENT)


def _found(known: Ids, wanted: Ids) -> Ids:
    """The places of numbers in sorted ones, ABSENT for those that are not among them."""
    if not len(known):
        return np.full(len(wanted), ABSENT)
    places = np.searchsorted(known, wanted).clip(max=len(known) - 1)
    return np.where(known[places] == wanted, places, ABSENT)


def _stretched(text: Ids, met: Ids, size: int, best: tuple[int, int]) -> tuple[int, int]:
    """The longest stretch below twice the size of these windows, and where it begins, if it is longer than the best.

    A stretch is two windows that overlap, and each that is there has all shorter ones in it: halving finds it.
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
    """Arrays as one, so many tokens at a time, each chunk with the end of the one before it."""
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
