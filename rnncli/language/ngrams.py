"""N-gram models of tokens by number: interpolated Kneser-Ney of any order, over sorted arrays.

Shapes: N tokens of all sequences together, G n-grams of an order, V tokens that there are.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncli.data.vocabulary import START, UNKNOWN
from rnncli.training.metrics import perplexity

Array = np.ndarray[Any, Any]
Sequences = Sequence[Sequence[int] | Array]

DISCOUNTS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
"""What the best one is looked for among; nltk's default is the first."""


def _metrics(shares: Array, hits: Array) -> dict[str, float]:
    with np.errstate(divide="ignore"):
        loss = float(-np.log(shares).mean())
    return {"loss": loss, "accuracy": float(hits.mean()), "perplexity": perplexity(loss)}


class Padded(NamedTuple):
    """Sequences one after the other, each after so many STARTs."""

    tokens: Array  # (N,)
    place: Array  # (N,): that of each token in its sequence

    @classmethod
    def of(cls, sequences: Sequences, starts: int) -> "Padded":
        lengths = np.array([len(sequence) for sequence in sequences]) + starts
        opening = np.full(starts, START)
        parts = [part for sequence in sequences for part in (opening, np.asarray(sequence, dtype=np.int64))]
        begins = np.repeat(np.cumsum(lengths) - lengths, lengths)
        return cls(np.concatenate(parts).astype(np.int64), np.arange(int(lengths.sum())) - begins)


class Numbered(NamedTuple):
    """The n-grams of one order in some sequences, numbered in the order of their keys.

    The key is (number of the first n - 1 tokens, their context) * V + (the last token): those of a context lie side
    by side.
    """

    keys: Array  # (G,), ascending
    first: Array  # (G,): a place where each ends
    ids: Array  # (N,): the number of the one that ends at each place; -1 where its sequence is too short


def number_all(padded: Padded, order: int, vocabulary: int) -> list[Numbered]:
    """The n-grams of all orders up to the highest."""
    found: list[Numbered] = []
    before = np.zeros(len(padded.tokens), dtype=np.int64)  # nothing at all is the context of single tokens
    for place in range(order):
        there = np.flatnonzero(padded.place >= place)
        asked = before[there] * vocabulary + padded.tokens[there]
        keys, first, numbers = np.unique(asked, return_index=True, return_inverse=True)
        ids = np.full(len(padded.tokens), -1)
        ids[there] = numbers
        found.append(Numbered(keys, there[first], ids))
        before = np.concatenate([[-1], ids[:-1]])
    return found


class Level(NamedTuple):
    """What an order says: probabilities of its n-grams, and of what its C contexts leave to the order below."""

    keys: Array  # (G,), ascending
    shorter: Array  # (G,): the number, an order below, of each n-gram without its first token
    chances: Array  # (G,): p of the last token after those before it
    left_over: Array  # (C,): what is shared by the order below; 1 where nothing was met after the context
    likeliest: Array  # (C,): the token that is likeliest after it
    chance: Array  # (C,): and its p

    def find(self, keys: Array) -> Array:
        """The numbers of n-grams by key, -1 where there is none."""
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, places, -1)


class KneserNey:
    """Interpolated Kneser-Ney n-grams (Chen and Goodman 1999) of sequences of numbers below V.

    p(w | h) = (c(h w) - D)+ / c(h) + g(h) p(w | h'), where h' is h without its first token and g(h) what the discounts
    have left over. Below the highest order c counts the different tokens that an n-gram comes after. With a `discount`
    D is that for all, and single tokens have none, as in nltk; without, D is estimated for counts of one, two and more
    at each order (modified Kneser-Ney), and what single tokens leave is shared by all that can come: none is
    impossible. Each sequence comes after order - 1 STARTs, which are never predicted.
    """

    def __init__(self, training: Sequences, order: int, vocabulary: int, discount: float | None = None) -> None:
        self.order, self.vocabulary, self.discount = order, vocabulary, discount
        self.levels: list[Level] = []
        numbered = number_all(Padded.of(training, order - 1), order, vocabulary)
        for place, (keys, first, ids) in enumerate(numbered):
            if place == order - 1:
                counts = np.bincount(ids[ids >= 0])
            else:  # each longer n-gram is one more token that it comes after
                counts = np.bincount(ids[numbered[place + 1].first], minlength=len(keys))
            shorter = numbered[place - 1].ids[first] if place else np.zeros(len(keys), dtype=np.int64)
            self.levels.append(self._level(keys, shorter, np.where(keys % vocabulary == START, 0, counts)))

    def metrics(self, held_out: Sequences) -> dict[str, float]:
        """Nats a token, accuracy, perplexity; infinite where a token has no probability at all."""
        padded = Padded.of(held_out, self.order - 1)
        shares = np.full(len(padded.tokens), 1 / (self.vocabulary - 1))
        likeliest = np.zeros(len(padded.tokens), dtype=np.int64)
        context = np.zeros(len(padded.tokens), dtype=np.int64)
        for level in self.levels:
            known = np.flatnonzero(context >= 0)
            grams = np.full(len(context), -1)
            grams[known] = level.find(context[known] * self.vocabulary + padded.tokens[known])
            shares[known] *= level.left_over[context[known]]
            likeliest[known] = level.likeliest[context[known]]
            shares = np.where(grams >= 0, level.chances[grams], shares)
            context = np.concatenate([[-1], grams[:-1]])
        asked = padded.place >= self.order - 1
        return _metrics(shares[asked], likeliest[asked] == padded.tokens[asked])

    def _level(self, keys: Array, shorter: Array, counts: Array) -> Level:
        """Smooth an order by the one below."""
        context, last = np.divmod(keys, self.vocabulary)
        below = self.levels[-1] if self.levels else None
        size = len(below.keys) if below else 1
        taken = np.minimum(self._discounts(counts)[np.minimum(counts, 3)], counts)
        totals = np.bincount(context, counts, size)
        left_over = np.where(totals > 0, np.bincount(context, taken, size) / np.maximum(totals, 1), 1.0)
        rest = below.chances[shorter] if below else 1 / (self.vocabulary - 1)
        chances = (counts - taken) / np.maximum(totals, 1)[context] + left_over[context] * rest
        chances[last == START] = 0.0
        likeliest, chance = _best_of_each(context, last, chances, size)
        if below:  # what was never met after a context is as likely as the order below says, in its measure
            others = left_over * below.chance[below.shorter]
            likeliest = np.where(others > chance, below.likeliest[below.shorter], likeliest)
            chance = np.maximum(others, chance)
        return Level(keys, shorter, chances, left_over, likeliest, chance)

    def _discounts(self, counts: Array) -> Array:
        """What is taken from counts of 0, 1, 2, and 3 or more."""
        if self.discount is not None:
            return np.array([0.0, *[self.discount if self.levels else 0.0] * 3])
        n1, n2, n3, n4 = (int(np.count_nonzero(counts == count)) for count in range(1, 5))
        if not (n1 and n2 and n3 and n4):
            return np.array([0.0, 0.5, 0.5, 0.5])  # too few to estimate any
        share = n1 / (n1 + 2 * n2)
        estimated = [1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3]
        return np.array([0.0, *(max(0.01, each) for each in estimated)])


def _best_of_each(context: Array, last: Array, chances: Array, size: int) -> tuple[Array, Array]:
    """Of each context (C,), in ascending order, the likeliest token and its p; 0 where it has none."""
    begins = np.flatnonzero(np.diff(context, prepend=-1))
    best = np.zeros(size)
    best[context[begins]] = np.maximum.reduceat(chances, begins)
    winners = np.flatnonzero(chances == best[context])[::-1]  # so that of equals the lowest number stays
    likeliest = np.zeros(size, dtype=np.int64)
    likeliest[context[winners]] = last[winners]
    return likeliest, best


def best_discount(training: Sequences, order: int, vocabulary: int) -> float:
    """The discount that does best on every tenth training sequence, fitted on the others; what they lack is UNKNOWN."""
    others = [sequence for place, sequence in enumerate(training) if place % 10 != 9]
    known = np.zeros(vocabulary, dtype=bool)
    known[np.concatenate(others).astype(np.int64)] = True
    held_out = [np.where(known[np.asarray(sequence)], sequence, UNKNOWN) for sequence in training[9::10]]
    if not held_out:
        return DISCOUNTS[-1]
    losses = {each: KneserNey(others, order, vocabulary, each).metrics(held_out)["loss"] for each in DISCOUNTS}
    return min(DISCOUNTS, key=lambda discount: losses[discount])
