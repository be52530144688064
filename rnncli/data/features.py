"""The features of a word that a net reads (tag, word, spelling), as numbers and in batches.

Shapes: N sequences, P words of all of them, T steps, B batch, U distinct spellings, G character n-grams.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from rnncli.data.batching import IGNORED, Batch, Sequences

ABSENT = 0
"""The number of entries that a lexicon lacks, and of padding."""

SHARED = 5
"""Words that must share an n-gram for it to be kept: most n-grams are rarer, and say little."""


def spelling(word: str, max_length: int) -> list[str]:
    """The character n-grams of a word with boundary marks, 1 to `max_length` characters, and the whole word.

    As Bojanowski et al. 2017 (arXiv:1607.04606), with single characters too.
    """
    marked = f"<{word}>"
    grams = [marked[at : at + n] for n in range(2, max_length + 1) for at in range(len(marked) - n + 1)]
    return [*word, *grams, *([marked] if len(marked) > max_length else [])]


def _one_form(word: str) -> str:
    """Normalise quotation marks: NLTK's tokenizer and some corpora write them as `` and ''."""
    return '"' if word in ("``", "''") else word


class Ragged(NamedTuple):
    """Rows of unequal length, concatenated."""

    values: Tensor  # (all,)
    lengths: Tensor  # (rows,)

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Ragged":
        return cls(
            torch.tensor(list(chain.from_iterable(rows)), dtype=torch.long, device="cpu"),  # in an outline as well
            torch.tensor([len(row) for row in rows], dtype=torch.long, device="cpu"),
        )

    def places(self, rows: Tensor) -> Tensor:
        """The indices of the values of some rows, row after row."""
        lengths = self.lengths[rows]
        starts = (self.lengths.cumsum(0) - self.lengths)[rows]
        shift = starts - (lengths.cumsum(0) - lengths)
        return torch.arange(int(lengths.sum()), device=rows.device) + shift.repeat_interleave(lengths)

    def only(self, rows: Tensor) -> "Ragged":
        return Ragged(self.values[self.places(rows)], self.lengths[rows])


def shared_spellings(words: Sequence[str], max_length: int) -> Ragged:
    """The n-grams of each word that at least `SHARED` words have, numbered from 0, up to `max_length` characters."""
    spellings = [dict.fromkeys(spelling(word, max_length)) for word in words]
    counts = Counter(chain.from_iterable(spellings))
    numbers = {gram: number for number, gram in enumerate(gram for gram, count in counts.items() if count >= SHARED)}
    return Ragged.of([[numbers[gram] for gram in grams if gram in numbers] for grams in spellings])


class Tokens(NamedTuple):
    """The features of a batch of words."""

    tags: Tensor  # (T, B)
    words: Tensor  # (T, B)
    forms: Tensor  # (T, B), rows of `grams`
    grams: Ragged  # U spellings

    def to(self, device: torch.device | str) -> "Tokens":
        tags, words, forms, grams = self
        grams = Ragged(*(part.to(device) for part in grams))
        return Tokens(tags.to(device), words.to(device), forms.to(device), grams)

    def columns(self, rows: slice) -> "Tokens":
        """Some of the sequences, with the spellings of all."""
        tags, words, forms = (each[:, rows].contiguous() for each in self[:3])
        return Tokens(tags, words, forms, self.grams)


class Counts(NamedTuple):
    """How often each entry of a lexicon occurs in some sequences."""

    tags: Tensor
    words: Tensor
    grams: Tensor


@dataclass(frozen=True)
class Lexicon:
    """The tags, lower-case words and character n-grams that a model knows; number 0 is everything else.

    Words and n-grams occur at least `min_count` times.
    """

    tags: tuple[str, ...]
    words: tuple[str, ...]
    grams: tuple[str, ...]
    max_length: int

    @classmethod
    def of(
        cls, lines: Sequence[Sequence[str]], tags: Iterable[Sequence[str]], *, min_count: int, max_length: int
    ) -> "Lexicon":
        """Collect the entries of `lines` and their `tags`; `max_length` is that of the n-grams, 0 for none."""
        forms = Counter(map(_one_form, chain.from_iterable(lines)))
        words: Counter[str] = Counter()
        grams: Counter[str] = Counter()
        for form, count in forms.items():
            words[form.lower()] += count
            if max_length:
                for gram in spelling(form, max_length):
                    grams[gram] += count

        def kept(counts: Counter[str]) -> tuple[str, ...]:
            return tuple(sorted(entry for entry, count in counts.items() if count >= min_count))

        return cls(tuple(sorted(set(chain.from_iterable(tags)))), kept(words), kept(grams), max_length)

    @cached_property
    def numbers(self) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        """Entry -> number, of tags, words and n-grams."""
        tags, words, grams = (
            {entry: number for number, entry in enumerate(entries, start=ABSENT + 1)}
            for entries in (self.tags, self.words, self.grams)
        )
        return tags, words, grams

    def encode(self, lines: Sequence[Sequence[str]], tags: Sequence[Sequence[str]] | None = None) -> "Features":
        """Number the words of N sequences, and their tags if they are used."""
        tag_numbers, word_numbers, gram_numbers = self.numbers
        lines = [[_one_form(word) for word in line] for line in lines]
        forms = {form: number for number, form in enumerate(dict.fromkeys(chain.from_iterable(lines)))}
        spellings = [
            [gram_numbers[gram] for gram in spelling(form, self.max_length) if gram in gram_numbers]
            if self.max_length
            else []
            for form in forms
        ]
        return Features(
            torch.tensor([len(line) for line in lines], dtype=torch.long),
            torch.tensor([tag_numbers.get(tag, ABSENT) for tag in chain.from_iterable(tags)])
            if tags is not None
            else torch.zeros(sum(map(len, lines)), dtype=torch.long),
            torch.tensor([word_numbers.get(word.lower(), ABSENT) for word in chain.from_iterable(lines)]),
            torch.tensor([forms[word] for word in chain.from_iterable(lines)]),
            Ragged.of(spellings),
            (len(self.tags) + 1, len(self.words) + 1, len(self.grams) + 1),
        )


@dataclass(frozen=True)
class Features:
    """N sequences of words, numbered."""

    lengths: Tensor  # (N,)
    tags: Tensor  # (P,)
    words: Tensor  # (P,)
    forms: Tensor  # (P,), rows of `grams`
    grams: Ragged  # U spellings
    sizes: tuple[int, int, int]  # of the lexicon: tags, words, n-grams
    labelled: Tensor | None = None  # (P,): the words that have labels of their own; None: all

    @classmethod
    def of_tokens(
        cls, lines: Sequence[Sequence[int]], count: int, labelled: Sequence[bool] | None = None
    ) -> "Features":
        """N sequences of the numbers of `count` tokens, which have no other features."""
        numbers, lengths = Ragged.of(lines)
        nothing = torch.zeros_like(numbers)
        chosen = None if labelled is None else torch.tensor(labelled, dtype=torch.bool)
        return cls(lengths, nothing, numbers, nothing, Ragged.of([[]]), (1, count, 1), chosen)

    def only(self, rows: Tensor) -> "Features":
        """Select some sequences by number."""
        places = Ragged(self.forms, self.lengths).places(rows)
        tags, words, forms = (column[places] for column in (self.tags, self.words, self.forms))
        labelled = None if self.labelled is None else self.labelled[places]
        return Features(self.lengths[rows], tags, words, forms, self.grams, self.sizes, labelled)

    def tokens(self, rows: Tensor) -> Tokens:
        """Some sequences by number, padded to the longest, with the spellings that occur in them."""
        places = Ragged(self.forms, self.lengths).places(rows)
        present, forms = self.forms[places].unique(return_inverse=True)
        lengths = self.lengths[rows]
        tags, words = (padded(column[places], lengths) for column in (self.tags, self.words))
        return Tokens(tags, words, padded(forms, lengths), self.grams.only(present))

    def counts(self, rows: Tensor) -> Counts:
        """How often words and n-grams occur in some of the sequences."""
        places = Ragged(self.forms, self.lengths).places(rows)
        tags = self.tags[places].bincount(minlength=self.sizes[0])
        words = self.words[places].bincount(minlength=self.sizes[1])
        forms = self.forms[places].bincount(minlength=len(self.grams.lengths))
        grams = torch.zeros(self.sizes[2], dtype=torch.long)
        grams.index_add_(0, self.grams.values, forms.repeat_interleave(self.grams.lengths))
        return Counts(tags, words, grams)


def padded(values: Tensor, lengths: Tensor, fill: int = ABSENT) -> Tensor:
    """Arrange concatenated values as padded columns (T, B) of the given lengths."""
    T = int(lengths.max())
    grid = torch.full((len(lengths), T), fill, dtype=values.dtype)
    grid[torch.arange(T) < lengths[:, None]] = values
    return grid.T.contiguous()


class Labelled(Sequences):
    """Sequences of words with labels: one per word, targets (P,); or one per sequence, targets (N, ...).

    Shuffling sorts all of them by length: most batches then have equal lengths and need no padding, which makes
    torch's layers faster.
    """

    pool = 10**9

    def __init__(self, features: Features, targets: Tensor, *, by_word: bool, device: str = "cpu") -> None:
        self.features, self.targets, self.by_word, self.device = features, targets, by_word, device
        self.lengths = features.lengths

    def rows(self, rows: Tensor) -> Batch:
        """A time-major batch of some sequences by number, on the device."""
        lengths = self.lengths[rows]
        if self.by_word:
            places = Ragged(self.targets, self.lengths).places(rows)
            targets = padded(self.targets[places], lengths, IGNORED)
        else:
            targets = self.targets[rows]
        padding = bool((lengths != lengths[0]).any())
        tokens = self.features.tokens(rows).to(self.device)
        return Batch(tokens, targets.to(self.device), lengths if padding else None, whole=not self.by_word)
