"""N-gram models of lines: a unigram, and nltk's interpolated Kneser-Ney with its counts looked up, not searched for."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from nltk.lm.models import InterpolatedLanguageModel
from nltk.lm.preprocessing import padded_everygram_pipeline
from nltk.lm.smoothing import KneserNey

from rnncli.training.metrics import perplexity

Lines = Sequence[Sequence[str]]

START, END = "<s>", "</s>"  # nltk's names


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
    """Every token, END included, by how often the training lines have it: nats a token, accuracy, perplexity."""
    counts = Counter(token for line in training for token in (*line, END))
    total, likeliest = counts.total(), counts.most_common(1)[0][0]
    tokens = [token for line in held_out for token in (*line, END)]
    loss = -sum(math.log(counts[token] / total) for token in tokens) / len(tokens)
    hits = sum(token == likeliest for token in tokens)
    return {"loss": loss, "accuracy": hits / len(tokens), "perplexity": perplexity(loss)}


def kneser_ney(training: Lines, held_out: Lines, discount: float, order: int = 3) -> dict[str, float]:
    """Interpolated Kneser-Ney n-grams line by line (Chen and Goodman 1999): nats a token, accuracy, perplexity.

    Fitted on lines padded with START and END (nltk's `padded_everygram_pipeline`); every word and one END of each
    held-out line are predicted.
    """
    model = InterpolatedLanguageModel(IndexedKneserNey, order, params={"discount": discount, "order": order})
    model.fit(*padded_everygram_pipeline(order, training))
    score = cache(model.score)
    commonest = max(set(model.vocab) - {START}, key=score)

    @cache
    def likeliest(context: tuple[str, ...]) -> str:
        # what was never seen after any end of the context gets a multiple of its unigram score: one stands for all
        candidates: set[str] = {commonest}
        for begin in range(len(context)):
            candidates.update(model.counts[list(context[begin:])])
        return max(sorted(candidates - {START}), key=lambda token: float(score(token, context)))

    pairs = list(_predictions(held_out, order))
    loss = -sum(math.log(score(token, context)) for context, token in pairs) / len(pairs)
    hits = sum(likeliest(context) == token for context, token in pairs)
    return {"loss": loss, "accuracy": hits / len(pairs), "perplexity": perplexity(loss)}


def _predictions(lines: Lines, order: int) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each token of each line, END included, with the order - 1 tokens before it."""
    for line in lines:
        padded = [START] * (order - 1) + [*line, END]
        for place in range(order - 1, len(padded)):
            yield tuple(padded[place - order + 1 : place]), padded[place]
