"""N-gram baselines against nltk, hand counts, brute force, and the published perplexity for Frost."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from nltk.lm import KneserNeyInterpolated
from support.sequences import HELD_OUT, TRAINING, V, some_sequences

from rnncli.data.holding_out import HoldOut
from rnncli.data.verse import read_verse
from rnncli.data.vocabulary import END, START, UNKNOWN, Vocabulary
from rnncli.language.ngrams import DISCOUNTS, KneserNey, best_discount


def nltk_model(order: int, discount: float, training: list[list[int]]) -> KneserNeyInterpolated:
    """The model of nltk of the n-grams that end in a predicted token."""
    model = KneserNeyInterpolated(order, discount=discount)
    padded = [["0"] * (order - 1) + list(map(str, sequence)) for sequence in training]
    grams = [
        [
            tuple(line[end - length : end])
            for end in range(1, len(line) + 1)
            for length in range(1, min(order, end) + 1)
            if line[end - 1] != "0"
        ]
        for line in padded
    ]
    model.fit(grams, vocabulary_text=[str(token) for token in range(V)])
    return model


def test_unigram_by_hand() -> None:
    metrics = KneserNey([[5, 6, END], [5, END]], 1, V, 0.1).metrics([[5, 6, 6, END]])
    loss = -(2 * math.log(2 / 5) + 2 * math.log(1 / 5)) / 4
    assert metrics["loss"] == pytest.approx(loss)
    assert metrics["accuracy"] == 1 / 4  # END is as frequent as 5, and its id is lower
    assert metrics["perplexity"] == pytest.approx(math.exp(loss))
    assert KneserNey([[5, END]], 1, V, 0.1).metrics([[7, END]])["perplexity"] == math.inf
    assert KneserNey([[5, END]], 1, V).metrics([[7, END]])["loss"] == pytest.approx(
        -(math.log(0.5 / 11) + math.log(0.25 + 0.5 / 11)) / 2
    )


@pytest.mark.parametrize("discount", [0.1, 0.75])
@pytest.mark.parametrize("order", [2, 3, 5])
def test_kneser_ney_equals_nltk(discount: float, order: int) -> None:
    theirs = nltk_model(order, discount, TRAINING)
    loss, hits, count = 0.0, 0, 0
    for sequence in HELD_OUT:
        padded = [str(token) for token in [START] * (order - 1) + sequence]
        for place in range(order - 1, len(padded)):
            context = padded[place - order + 1 : place]
            scores = {token: theirs.score(str(token), context) for token in range(1, V)}
            loss -= math.log(scores[int(padded[place])])
            hits += int(padded[place]) == min(scores, key=lambda token: (-round(scores[token], 12), token))
            count += 1
    ours = KneserNey(TRAINING, order, V, discount).metrics(HELD_OUT)
    assert ours["loss"] == pytest.approx(loss / count, rel=1e-9)
    assert ours["accuracy"] == pytest.approx(hits / count)


def modified(order: int, training: list[list[int]], context: tuple[int, ...], token: int) -> float:
    """Modified Kneser-Ney by definition, from sets of n-grams."""

    def count(gram: tuple[int, ...]) -> int:
        if gram[-1] == START:
            return 0
        if len(gram) == order:
            return sum(each == gram for each in all_grams[order])
        return len({each for each in all_grams[len(gram) + 1] if each[1:] == gram})

    padded = [tuple([START] * (order - 1) + sequence) for sequence in training]
    all_grams = {n: [line[i : i + n] for line in padded for i in range(len(line) - n + 1)] for n in range(1, order + 1)}

    def prob(context: tuple[int, ...]) -> float:
        n = len(context) + 1
        of_counts = [count(gram) for gram in set(all_grams[n])]
        n1, n2, n3, n4 = (of_counts.count(k) for k in range(1, 5))
        discounts = [0.0, 0.5, 0.5, 0.5]
        if n1 and n2 and n3 and n4:
            y = n1 / (n1 + 2 * n2)
            discounts[1:] = [max(0.01, k - (k + 1) * y * b / a) for k, a, b in ((1, n1, n2), (2, n2, n3), (3, n3, n4))]
        lower = prob(context[1:]) if context else 1 / (V - 1)
        counts = {w: count((*context, w)) for w in range(V)}
        total = sum(counts.values())
        if not total:
            return lower
        left = sum(min(discounts[min(c, 3)], c) for c in counts.values()) / total
        return max(counts[token] - discounts[min(counts[token], 3)], 0) / total + left * lower

    return prob(context)


def test_modified_kneser_ney_follows_its_definition() -> None:
    training = some_sequences(25, seed=4)
    model = KneserNey(training, 3, V)
    for sequence in ([3, END], [7, 4, 11, END]):
        padded = [START, START, *sequence]
        wanted = [modified(3, training, tuple(padded[i - 2 : i]), padded[i]) for i in range(2, len(padded))]
        assert model.metrics([sequence])["loss"] == pytest.approx(-np.log(wanted).mean(), rel=1e-9)


@pytest.mark.parametrize("discount", [None, 0.4])
def test_probabilities_sum_to_one_and_none_is_zero(discount: float | None) -> None:
    model = KneserNey(TRAINING, 4, V, discount)
    for context in itertools.chain(itertools.product((3, 4, 11), repeat=2), [()]):
        rest = model.metrics([context])["loss"] * len(context) if context else 0.0
        probs = [
            math.exp(rest - model.metrics([[*context, token]])["loss"] * (len(context) + 1)) for token in range(1, V)
        ]
        assert sum(probs) == pytest.approx(1)
        assert discount or min(probs) > 0  # also of UNKNOWN, which does not occur in training


def test_best_discount_has_the_lowest_loss_on_every_tenth_training_line() -> None:
    lines = some_sequences(50, seed=5)
    others = [line for place, line in enumerate(lines) if place % 10 != 9]
    losses = {each: KneserNey(others, 3, V, each).metrics(lines[9::10])["loss"] for each in DISCOUNTS}
    assert best_discount(lines, 3, V) == min(losses, key=lambda each: losses[each])


def test_trigram_on_frost_has_the_published_perplexity(real_corpora: Path) -> None:
    verse = read_verse([str(real_corpora / "robert_frost.txt")], HoldOut(every=10), "verse-words")
    vocabulary = Vocabulary.of((line.words for line in verse.training), min_count=2)
    training, held_out = (
        [[*vocabulary.encode(line.words), END] for line in lines] for lines in (verse.training, verse.held_out)
    )
    assert UNKNOWN in itertools.chain(*training)
    weak = KneserNey(training, 3, len(vocabulary), 0.1).metrics(held_out)
    assert weak["perplexity"] == pytest.approx(251, abs=0.5)
    assert best_discount(training, 3, len(vocabulary)) == 0.9
