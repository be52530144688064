"""Encode words in bounded memory: first in segments with local ids, then with one vocabulary for all of them."""

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnncli.data.tokenizers import wiki_words_and_ends
from rnncli.data.vocabulary import SPECIALS, UNKNOWN

Ids = np.ndarray[Any, Any]

_MAX_WORDS = 200_000  # distinct words in a segment
_MAX_LETTERS = 12 << 20  # of text in a segment
_MAX_COUNTED = 600_000  # distinct words counted in memory
_KEPT = 4  # 1 / 4 of them, the most frequent, stay in memory when the others go to disk
_FAN_IN = 64  # files merged at a time


class Segment(NamedTuple):
    """Texts in local ids of a segment: 0 ends a sequence, n is the segment's n-th word."""

    ids: Path
    words: Path  # one word and its count per line


class Segments:
    """Writes texts as segments `STEM-N.ids` and `STEM-N.words`, closing one before it grows large."""

    def __init__(self, folder: Path, stem: str) -> None:
        self.folder, self.stem = folder, stem
        self.sizes: list[tuple[int, int]] = []  # bytes of the two files of each segment
        self._begin()

    def _begin(self) -> None:
        self.numbers: defaultdict[str, int] = defaultdict()
        self.numbers.default_factory = self.numbers.__len__
        self.numbers["\n"]
        self.parts: list[Ids] = []
        self.letters = 0

    def add(self, text: str) -> None:
        """Add a text with one sequence per line."""
        words = wiki_words_and_ends(text)
        words.append("\n")
        self.parts.append(np.fromiter(map(self.numbers.__getitem__, words), np.uint32, len(words)))
        self.letters += len(text)
        if len(self.numbers) > _MAX_WORDS or self.letters > _MAX_LETTERS:
            self.close()

    def close(self) -> None:
        """Write the texts that were added since the last call."""
        ids = _without_empty(np.concatenate(self.parts)) if self.parts else np.empty(0, np.uint32)
        if len(ids):
            counts = np.bincount(ids, minlength=len(self.numbers)).tolist()
            lines = (f"{word}\t{count}\n" for word, count in zip(self.numbers, counts, strict=True) if word != "\n")
            segment = segment_files(self.folder, self.stem, len(self.sizes))
            size = segment.ids.write_bytes(ids.astype("<u2" if len(self.numbers) <= 1 << 16 else "<u4").data)
            self.sizes.append((size, segment.words.write_bytes("".join(lines).encode())))
        self.numbers.default_factory = None  # this reference cycle would keep the dictionary until a garbage collection
        self._begin()


def segment_files(folder: Path, stem: str, number: int) -> Segment:
    """The files of a segment."""
    return Segment(folder / f"{stem}-{number}.ids", folder / f"{stem}-{number}.words")


def _without_empty(ids: Ids) -> Ids:
    """Drop the ends of sequences without words."""
    kept = ids != 0
    kept[1:] |= ids[:-1] != 0
    whole: Ids = ids[kept]
    return whole


def read_words(segment: Segment) -> Iterator[tuple[str, int]]:
    """The words of a segment in the order of their numbers, with their counts."""
    for line in segment.words.read_text("utf-8").split("\n")[:-1]:
        word, _, count = line.partition("\t")
        yield word, int(count)


class Counts:
    """Counts of words: a bounded number in memory, the rest sorted on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counter: Counter[str] = Counter()
        self.files: list[Path] = []
        self.written = 0

    def add(self, words: Iterable[tuple[str, int]]) -> None:
        """Add counts of words."""
        counter = self.counter
        for word, count in words:
            counter[word] += count
        if len(counter) > _MAX_COUNTED:
            kept = dict(counter.most_common(_MAX_COUNTED // _KEPT))
            self._spill(item for item in sorted(counter.items()) if item[0] not in kept)
            self.counter = Counter(kept)

    def _spill(self, items: Iterable[tuple[str, int]]) -> None:
        file = self.folder / f"counts-{self.written}.words"
        self.written += 1
        with file.open("w", encoding="utf-8", newline="\n") as out:
            out.writelines(f"{word}\t{count}\n" for word, count in items)
        self.files.append(file)
        if len(self.files) >= _FAN_IN:
            merged, self.files = self.files, []
            self._spill(_merge(map(_read, merged)))
            for old in merged:
                old.unlink()

    def sorted(self) -> Iterator[tuple[str, int]]:
        """Every word with its total count, in alphabetical order."""
        return _merge([*map(_read, self.files), iter(sorted(self.counter.items()))])

    def most_frequent(self, max_words: int) -> tuple[list[tuple[str, int]], int]:
        """At most `max_words` words, most frequent first, ties in alphabetical order, and the number of all words.

        A first pass finds the least count of a kept word, so that only kept words are in memory.
        """
        sizes = Counter(count for _, count in self.sorted())
        min_count, ties = _threshold(sizes, max_words)
        kept = []
        for word, count in self.sorted():
            if count > min_count or (count == min_count and ties > 0):
                ties -= count == min_count
                kept.append((word, count))
        kept.sort(key=lambda item: (-item[1], item[0]))
        return kept, sum(sizes.values())


def _threshold(sizes: Counter[int], max_words: int) -> tuple[int, int]:
    """The least count of a kept word, and how many words of exactly that count are kept."""
    above = 0
    for count in sorted(sizes, reverse=True):
        if above + sizes[count] >= max_words:
            return count, max_words - above
        above += sizes[count]
    return 0, 0


def _read(file: Path) -> Iterator[tuple[str, int]]:
    with file.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            word, _, count = line.partition("\t")
            yield word, int(count)


def _merge(streams: Iterable[Iterator[tuple[str, int]]]) -> Iterator[tuple[str, int]]:
    """Merge sorted streams and add up the counts of each word."""
    for word, group in itertools.groupby(heapq.merge(*streams), key=lambda item: item[0]):
        yield word, sum(count for _, count in group)


def ranked_ids(segment: Segment, ranks: dict[str, int]) -> Ids:
    """Convert the ids of a segment to those of the common vocabulary; raises ValueError for inconsistent files."""
    words = list(read_words(segment))
    small = len(words) + 1 <= 1 << 16
    local = np.fromfile(segment.ids, "<u2" if small else "<u4")
    counts = np.bincount(local, minlength=len(words) + 1)
    if counts[1:].tolist() != [count for _, count in words] or not len(local) or local[-1] != 0:
        raise ValueError(f"{segment.ids} does not match its list of words")
    found = np.empty(len(words) + 1, np.uint32)
    found[0] = 1
    found[1:] = [ranks.get(word, UNKNOWN) for word, _ in words]
    ids: Ids = found[local]
    return ids


FIRST_RANK = len(SPECIALS)
