"""The n-gram baselines against nltk's own, a hand count, and the published figure for Frost."""

import math
from pathlib import Path

import pytest
from nltk.lm import KneserNeyInterpolated
from nltk.lm.preprocessing import padded_everygram_pipeline

from rnncli.analysis.ngrams import DISCOUNTS, END, START, KneserNeyModel, best_discount, unigram
from rnncli.data.vocabulary import Vocabulary
from rnncli.tasks.poetry_lm import read_verse

TRAINING = [["the", "cat", "sat"], ["the", "dog", "sat"], ["a", "cat", "ran"], ["the", "cat", "ran", "home"]]
HELD_OUT = [["the", "dog", "ran"], ["a", "cat", "sat"]]


def test_unigram_by_hand() -> None:
    metrics = unigram(TRAINING, HELD_OUT)
    counts = {"the": 3, "dog": 1, "ran": 2, "a": 1, "cat": 3, "sat": 2, END: 4}
    loss = -sum(math.log(counts[word] / 17) for line in HELD_OUT for word in [*line, END]) / 8
    assert metrics["loss"] == pytest.approx(loss)
    assert metrics["accuracy"] == 2 / 8  # END is the commonest
    assert metrics["perplexity"] == pytest.approx(math.exp(loss))


@pytest.mark.parametrize("discount", [0.1, 0.75])
@pytest.mark.parametrize("order", [2, 3])
def test_kneser_ney_equals_nltk_s(discount: float, order: int) -> None:
    theirs = KneserNeyInterpolated(order, discount=discount)
    theirs.fit(*padded_everygram_pipeline(order, TRAINING))
    loss, hits = 0.0, 0
    for line in HELD_OUT:
        padded = [START] * (order - 1) + [*line, END]
        for place in range(order - 1, len(padded)):
            context = padded[place - order + 1 : place]
            scores = {word: theirs.score(word, context) for word in set(theirs.vocab) - {START}}
            loss -= math.log(scores[padded[place]])
            hits += padded[place] == min(scores, key=lambda word: (-scores[word], word))
    ours = KneserNeyModel(TRAINING, discount, order).metrics(HELD_OUT)
    assert ours["loss"] == pytest.approx(loss / 8, rel=1e-12)
    assert ours["accuracy"] == hits / 8


def test_what_has_no_probability_costs_infinity() -> None:
    assert unigram(TRAINING, [["unicorn"]])["perplexity"] == math.inf
    assert KneserNeyModel(TRAINING, 0.1).metrics([["unicorn"]])["perplexity"] == math.inf


def test_the_best_discount_is_best_on_the_training_lines() -> None:
    lines = TRAINING * 5
    losses = {each: KneserNeyModel([*lines[:9], *lines[10:19]], each).loss([lines[9], lines[19]]) for each in DISCOUNTS}
    assert best_discount(lines) == min(losses, key=lambda each: losses[each])


def test_frost_s_trigram_has_the_published_perplexity(real_corpora: Path) -> None:
    verse = read_verse([str(real_corpora / "robert_frost.txt")], hold_out=10)
    vocabulary = Vocabulary.of((line.words for line in verse.training), min_count=2)
    training, held_out = (
        [vocabulary.decode(vocabulary.encode(line.words)) for line in lines]
        for lines in (verse.training, verse.held_out)
    )
    assert KneserNeyModel(training, 0.1).metrics(held_out)["perplexity"] == pytest.approx(251, abs=0.5)
    assert best_discount(training) == 0.9
