"""N-gram models of lines: a unigram, and nltk's interpolated Kneser-Ney with its counts looked up, not searched for."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

from nltk.lm.models import InterpolatedLanguageModel
from nltk.lm.preprocessing import padded_everygram_pipeline
from nltk.lm.smoothing import KneserNey

from rnncli.data.vocabulary import SPECIALS, UNKNOWN
from rnncli.training.metrics import perplexity

Lines = Sequence[Sequence[str]]

START, END = "<s>", "</s>"  # nltk's names
DISCOUNTS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
"""What the best one is looked for among; nltk's default is the first."""


class IndexedKneserNey(KneserNey):
    """nltk's Kneser-Ney smoothing, whose every score walked through all contexts; the same numbers from a table."""

    def __init__(self, vocabulary: Any, counter: Any, **options: Any) -> None:
        super().__init__(vocabulary, counter, **options)
        self._continuations: dict[tuple[str, ...], Counter[str]] | None = None

    def _continuation_counts(self, word: str, context: Sequence[str] = ()) -> tuple[int, int]:
        if self._continuations is None:  # filled by the first question: at first the counts are empty
            self._continuations = defaultdict(Counter)
            for order in range(2, self._order + 1):
                for prefix, followers in self.counts[order].items():
                    self._continuations[prefix[1:]].update(token for token, count in followers.items() if count > 0)
        after = self._continuations[tuple(context)]
        return after[word], after.total()


def unigram(training: Lines, held_out: Lines) -> dict[str, float]:
    """Every token, END included, by how often the training lines have it: nats a token, accuracy, perplexity.

    A token that they lack makes the loss infinite.
    """
    counts = Counter(token for line in training for token in (*line, END))
    total, likeliest = counts.total(), counts.most_common(1)[0][0]
    tokens = [token for line in held_out for token in (*line, END)]
    loss = sum(_nats(counts[token] / total) for token in tokens) / len(tokens)
    hits = sum(token == likeliest for token in tokens)
    return {"loss": loss, "accuracy": hits / len(tokens), "perplexity": perplexity(loss)}


class KneserNeyModel:
    """Interpolated Kneser-Ney n-grams line by line (Chen and Goodman 1999), by nltk.

    Fitted on lines padded with START and END (nltk's `padded_everygram_pipeline`); every word and one END of each
    held-out line are predicted.
    """

    def __init__(self, training: Lines, discount: float, order: int = 3) -> None:
        self.order = order
        self.model = InterpolatedLanguageModel(IndexedKneserNey, order, params={"discount": discount, "order": order})
        self.model.fit(*padded_everygram_pipeline(order, training))
        self.score = cache(self.model.score)

    def loss(self, lines: Lines) -> float:
        """Nats a token; infinite where one has no probability at all."""
        pairs = self._predictions(lines)
        return sum(_nats(self.score(token, context)) for context, token in pairs) / len(pairs)

    def accuracy(self, lines: Lines) -> float:
        """The share of tokens that are the likeliest after what stands before them."""
        pairs, likeliest = self._predictions(lines), cache(self._likeliest)
        return sum(likeliest(context) == token for context, token in pairs) / len(pairs)

    def metrics(self, lines: Lines) -> dict[str, float]:
        """Nats a token, accuracy, perplexity."""
        loss = self.loss(lines)
        return {"loss": loss, "accuracy": self.accuracy(lines), "perplexity": perplexity(loss)}

    @cached_property
    def _commonest(self) -> str:
        vocabulary: set[str] = set(self.model.vocab)
        return min(vocabulary - {START}, key=lambda token: (-self.score(token), token))

    def _likeliest(self, context: tuple[str, ...]) -> str:
        # what was never seen after any end of the context gets a multiple of its unigram score: one stands for all
        candidates: set[str] = {self._commonest}
        for begin in range(len(context)):
            candidates.update(self.model.counts[list(context[begin:])])
        return min(candidates - {START}, key=lambda token: (-self.score(token, context), token))

    def _predictions(self, lines: Lines) -> list[tuple[tuple[str, ...], str]]:
        """Each token of each line, END included, with the order - 1 tokens before it."""
        before = self.order - 1
        padded = [[START] * before + [*line, END] for line in lines]
        return [
            (tuple(line[place - before : place]), line[place]) for line in padded for place in range(before, len(line))
        ]


def best_discount(training: Lines) -> float:
    """The discount that does best on every tenth training line, fitted on the others; what they lack is UNKNOWN."""
    others = [line for place, line in enumerate(training) if place % 10 != 9]
    known = {token for line in others for token in line}
    held_out = [[token if token in known else SPECIALS[UNKNOWN] for token in line] for line in training[9::10]]
    if not held_out:
        return DISCOUNTS[-1]
    return min(DISCOUNTS, key=lambda discount: KneserNeyModel(others, discount).loss(held_out))


def _nats(probability: float) -> float:
    return -math.log(probability) if probability > 0 else math.inf
