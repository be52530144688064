"""The small world: its text is deterministic, and counting is enough to find its relations."""

from collections import Counter

import numpy as np
import pytest

from rnncli.analysis.analogies import evaluate, questions_of
from rnncli.data import toyworld
from rnncli.data.corpora import CORPORA, load_corpus
from rnncli.data.tokenizers import verse_words
from rnncli.data.vectors import WordVectors

TEXT = CORPORA["toyworld"].text
LINES = [line.split() for line in TEXT.splitlines()]


def test_text_is_deterministic_and_has_plain_words() -> None:
    assert toyworld.write() == TEXT != toyworld.write(seed=1)
    assert load_corpus("toyworld").text is TEXT  # not generated again
    assert CORPORA["toyworld"].size == len(TEXT)
    assert [verse_words(line) for line in TEXT.splitlines()] == LINES
    assert len(LINES) == toyworld.LINES
    assert 100_000 < sum(map(len, LINES)) < 200_000
    assert f"{toyworld.LINES:,} sentences" in CORPORA["toyworld"].what


def test_every_word_of_a_relation_is_frequent_and_unique() -> None:
    counts = Counter(word for line in LINES for word in line)
    for pairs in toyworld.relations().values():
        assert len({word for pair in pairs for word in pair}) == 2 * len(pairs)
        assert min(counts[word] for pair in pairs for word in pair) >= 50


def test_the_questions_ask_every_pair_of_pairs_in_both_directions() -> None:
    questions = {category.name: category.questions for category in questions_of("toyworld")}
    for name, pairs in toyworld.relations().items():
        assert len(set(questions[name])) == 2 * len(pairs) * (len(pairs) - 1)
    assert ("man", "king", "woman", "queen") not in questions["male-female"]  # equivalent to the next one
    assert ("man", "woman", "king", "queen") in questions["male-female"]
    assert ("paris", "france", "london", "england") in questions["country-capital"]


@pytest.fixture(scope="module")
def counted() -> WordVectors:
    """No net at all: the 100 first singular vectors of the positive pointwise mutual information, by numpy."""
    words = sorted({word for line in LINES for word in line})
    V, number = len(words), {word: place for place, word in enumerate(words)}
    met = np.zeros((V, 2 * V))
    for line in LINES:
        rows = [number[word] for word in line]
        for place, row in enumerate(rows):
            np.add.at(met, (row, rows[:place]), 1)
            np.add.at(met, (row, [V + other for other in rows[place + 1 :]]), 1)
    expected = met.sum(1, keepdims=True) * met.sum(0) / met.sum()
    information = np.log(np.maximum(met / np.maximum(expected, 1e-9), 1))
    left, scale, _ = np.linalg.svd(information, full_matrices=False)
    return WordVectors(tuple(words), (left[:, :100] * np.sqrt(scale[:100])).astype(np.float32))


def test_vectors_from_counting_neighbours_know_the_relations(counted: WordVectors) -> None:
    for metric in ("euclidean", "cosine", "3cosmul"):
        assert evaluate(counted, questions_of("toyworld"), metric)[-1].metrics["accuracy"] > 0.95
