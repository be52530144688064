"""N-gram models of token ids: interpolated Kneser-Ney of any order, over sorted arrays.

Shapes: N tokens in all sequences, G n-grams of an order, C contexts, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncli.data.vocabulary import START, UNKNOWN
from rnncli.training.metrics import perplexity

Array = np.ndarray[Any, Any]
Sequences = Sequence[Sequence[int] | Array]

DISCOUNTS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
"""Candidates for the best discount; the first is nltk's default."""


def _metrics(probs: Array, hits: Array) -> dict[str, float]:
    with np.errstate(divide="ignore"):
        loss = float(-np.log(probs).mean())
    return {"loss": loss, "accuracy": float(hits.mean()), "perplexity": perplexity(loss)}


class Padded(NamedTuple):
    """All sequences concatenated, each after the same number of STARTs."""

    tokens: Array  # (N,)
    place: Array  # (N,): the position of each token in its sequence

    @classmethod
    def of(cls, sequences: Sequences, starts: int) -> "Padded":
        lengths = np.array([len(sequence) for sequence in sequences]) + starts
        opening = np.full(starts, START)
        parts = [part for sequence in sequences for part in (opening, np.asarray(sequence, dtype=np.int64))]
        begins = np.repeat(np.cumsum(lengths) - lengths, lengths)
        return cls(np.concatenate(parts).astype(np.int64), np.arange(int(lengths.sum())) - begins)


class Numbered(NamedTuple):
    """The n-grams of one order, numbered in the order of their keys.

    The key is (number of the context, which is the first n - 1 tokens) * V + (last token), so the n-grams of a context
    are adjacent.
    """

    keys: Array  # (G,), ascending
    first: Array  # (G,): a position where each ends
    ids: Array  # (N,): the number of the n-gram that ends at each position; -1 if its sequence is too short


def number_all(padded: Padded, order: int, vocabulary: int) -> list[Numbered]:
    """The n-grams of all orders up to the highest."""
    found: list[Numbered] = []
    context = np.zeros(len(padded.tokens), dtype=np.int64)  # single tokens have one context, the empty one
    for place in range(order):
        ends = np.flatnonzero(padded.place >= place)
        all_keys = context[ends] * vocabulary + padded.tokens[ends]
        keys, first, numbers = np.unique(all_keys, return_index=True, return_inverse=True)
        ids = np.full(len(padded.tokens), -1)
        ids[ends] = numbers
        found.append(Numbered(keys, ends[first], ids))
        context = np.concatenate([[-1], ids[:-1]])
    return found


class Level(NamedTuple):
    """The probabilities of one order, and the weights that its contexts give to the order below."""

    keys: Array  # (G,), ascending
    shorter: Array  # (G,): the number, in the order below, of each n-gram without its first token
    probs: Array  # (G,): p(last token | context)
    backoff: Array  # (C,): the weight of the order below; 1 if nothing follows the context in training
    likeliest: Array  # (C,): the likeliest token after the context
    max_prob: Array  # (C,): the probability of that token

    def find(self, keys: Array) -> Array:
        """The numbers of n-grams by key; -1 for an unknown one."""
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, places, -1)


class KneserNey:
    """Interpolated Kneser-Ney n-grams (Chen and Goodman 1999) of sequences of ids below V.

    p(w | h) = (c(h w) - D)+ / c(h) + g(h) p(w | h'), where h' is h without its first token, and g(h) is the mass that
    the discounts free. Below the highest order, c counts the distinct tokens that precede an n-gram. With `discount`, D
    is that constant, and single tokens are not discounted, as in nltk. Without it (modified Kneser-Ney), each order
    estimates D for counts of one, two, and three or more; the mass freed from single tokens is uniform over V, so no
    token has probability 0. Each sequence follows order - 1 STARTs, which are never predicted.
    """

    def __init__(self, training: Sequences, order: int, vocabulary: int, discount: float | None = None) -> None:
        self.order, self.vocabulary, self.discount = order, vocabulary, discount
        self.levels: list[Level] = []
        numbered = number_all(Padded.of(training, order - 1), order, vocabulary)
        for place, (keys, first, ids) in enumerate(numbered):
            if place == order - 1:
                counts = np.bincount(ids[ids >= 0])
            else:  # each distinct longer n-gram is one more preceding token
                counts = np.bincount(ids[numbered[place + 1].first], minlength=len(keys))
            shorter = numbered[place - 1].ids[first] if place else np.zeros(len(keys), dtype=np.int64)
            self.levels.append(self._level(keys, shorter, np.where(keys % vocabulary == START, 0, counts)))

    def metrics(self, held_out: Sequences) -> dict[str, float]:
        """Nats per token, accuracy and perplexity; loss and perplexity are infinite if a token has probability 0."""
        padded = Padded.of(held_out, self.order - 1)
        probs = np.full(len(padded.tokens), 1 / (self.vocabulary - 1))
        likeliest = np.zeros(len(padded.tokens), dtype=np.int64)
        context = np.zeros(len(padded.tokens), dtype=np.int64)
        for level in self.levels:
            known = np.flatnonzero(context >= 0)
            grams = np.full(len(context), -1)
            grams[known] = level.find(context[known] * self.vocabulary + padded.tokens[known])
            probs[known] *= level.backoff[context[known]]
            likeliest[known] = level.likeliest[context[known]]
            probs = np.where(grams >= 0, level.probs[grams], probs)
            context = np.concatenate([[-1], grams[:-1]])
        is_target = padded.place >= self.order - 1
        return _metrics(probs[is_target], likeliest[is_target] == padded.tokens[is_target])

    def _level(self, keys: Array, shorter: Array, counts: Array) -> Level:
        """Smooth the counts of one order by the order below."""
        context, last = np.divmod(keys, self.vocabulary)
        below = self.levels[-1] if self.levels else None
        size = len(below.keys) if below else 1
        discounts = np.minimum(self._discounts(counts)[np.minimum(counts, 3)], counts)
        totals = np.bincount(context, counts, size)
        backoff = np.where(totals > 0, np.bincount(context, discounts, size) / np.maximum(totals, 1), 1.0)
        lower = below.probs[shorter] if below else 1 / (self.vocabulary - 1)
        probs = (counts - discounts) / np.maximum(totals, 1)[context] + backoff[context] * lower
        probs[last == START] = 0.0
        likeliest, max_prob = _best_of_each(context, last, probs, size)
        if below:  # the likeliest token may be one that never followed the context
            unseen = backoff * below.max_prob[below.shorter]
            likeliest = np.where(unseen > max_prob, below.likeliest[below.shorter], likeliest)
            max_prob = np.maximum(unseen, max_prob)
        return Level(keys, shorter, probs, backoff, likeliest, max_prob)

    def _discounts(self, counts: Array) -> Array:
        """The discounts of counts of 0, 1, 2, and 3 or more."""
        if self.discount is not None:
            return np.array([0.0, *[self.discount if self.levels else 0.0] * 3])
        n1, n2, n3, n4 = (int(np.count_nonzero(counts == count)) for count in range(1, 5))
        if not (n1 and n2 and n3 and n4):
            return np.array([0.0, 0.5, 0.5, 0.5])  # too few counts for an estimate
        Y = n1 / (n1 + 2 * n2)
        estimated = [1 - 2 * Y * n2 / n1, 2 - 3 * Y * n3 / n2, 3 - 4 * Y * n4 / n3]
        return np.array([0.0, *(max(0.01, each) for each in estimated)])


def _best_of_each(context: Array, last: Array, probs: Array, size: int) -> tuple[Array, Array]:
    """The likeliest token of each context (C,), in ascending order, and its probability; 0 without any token."""
    begins = np.flatnonzero(np.diff(context, prepend=-1))
    best = np.zeros(size)
    best[context[begins]] = np.maximum.reduceat(probs, begins)
    winners = np.flatnonzero(probs == best[context])[::-1]  # reversed, so that the lowest id wins a tie
    likeliest = np.zeros(size, dtype=np.int64)
    likeliest[context[winners]] = last[winners]
    return likeliest, best


def best_discount(training: Sequences, order: int, vocabulary: int) -> float:
    """The discount with the lowest loss on every tenth training sequence, after a fit on the others.

    Tokens that the others lack count as UNKNOWN.
    """
    others = [sequence for place, sequence in enumerate(training) if place % 10 != 9]
    known = np.zeros(vocabulary, dtype=bool)
    known[np.concatenate(others).astype(np.int64)] = True
    held_out = [np.where(known[np.asarray(sequence)], sequence, UNKNOWN) for sequence in training[9::10]]
    if not held_out:
        return DISCOUNTS[-1]
    losses = {each: KneserNey(others, order, vocabulary, each).metrics(held_out)["loss"] for each in DISCOUNTS}
    return min(DISCOUNTS, key=lambda discount: losses[discount])
