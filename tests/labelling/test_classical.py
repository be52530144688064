"""The classical baselines against their libraries, and against hand counts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnncli.data.folds import stratified_folds
from rnncli.data.labelled import read_labelled
from rnncli.labelling import classical
from rnncli.training.metrics import label_metrics

TAGS = [["DT", "NN", "VB"], ["DT", "JJ", "NN"], ["UH", "UH"], ["UH", "NN", "UH"], ["DT", "NN"], ["UH"]] * 4
LABELS = [0, 0, 1, 1, 0, 1] * 4


def test_majority_scores_are_the_label_frequencies() -> None:
    scores = classical.majority(TAGS, [0, 0, 1, 0], TAGS[:2])
    np.testing.assert_allclose(np.exp(scores), [[0.75, 0.25]] * 2)


def test_naive_bayes_equals_a_hand_count() -> None:
    texts, labels = ["a a b".replace("a", "ash").replace("b", "bee"), "bee cat"], [0, 1]
    scores = classical.naive_bayes(texts, labels, ["ash cat"])
    joint = np.array([(2 + 1) / (3 + 3) * (0 + 1) / (3 + 3), (0 + 1) / (2 + 3) * (1 + 1) / (2 + 3)]) / 2
    np.testing.assert_allclose(np.exp(scores[0]), joint / joint.sum())


@pytest.mark.parametrize(
    "scorer",
    [
        classical.hidden_markov,
        classical.logistic_regression(weighted=False),
        classical.logistic_regression(True),
    ],
)
def test_scorers_of_tags_separate_the_labels(scorer: classical.Scorer) -> None:
    scores = scorer(TAGS, LABELS, [["DT", "NN"], ["UH", "UH", "UH"], ["XX"]])
    assert scores.shape == (3, 2)
    assert scores.argmax(1).tolist()[:2] == [0, 1]
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("labels", [[0, 1] * 6, [0, 1, 2] * 4])
def test_support_vectors_score_every_label(labels: list[int]) -> None:
    texts = [f"{'abc'[label] * 3} {number}" for number, label in enumerate(labels)]
    scores = classical.support_vectors(weighted=True)(texts, labels, ["aaa", "bbb"])
    assert scores.argmax(1).tolist() == [0, 1]
    assert scores.shape == (2, max(labels) + 1)


def test_commonest_tag_of_a_word_and_overall() -> None:
    tagger = classical.commonest_tag([[("run", "VERB"), ("run", "VERB")], [("run", "NOUN"), ("the", "DET")]])
    assert tagger(["run", "the", "new"]) == ["VERB", "DET", "VERB"]


def test_perceptron_learns_tags() -> None:
    sentences = [[("the", "DET"), (f"cat{n}", "NOUN"), ("runs", "VERB")] for n in range(20)]
    assert classical.perceptron(sentences)(["the", "cat99", "runs"]) == ["DET", "NOUN", "VERB"]


def test_baselines_reproduce_published_figures(home: Path, real_corpora: Path) -> None:
    """On distinct lines and five folds: .838 / .747 for naive Bayes on words, .869 / .805 for the linear SVM."""
    (home / "data").symlink_to(real_corpora)
    data = read_labelled(["frost", "poe"]).distinct()
    for scorer, accuracy, balanced in (
        (classical.naive_bayes, 0.838, 0.747),
        (classical.support_vectors(weighted=False), 0.869, 0.805),
    ):
        metrics = metrics_of_folds(scorer, data.texts, data.labels)
        assert metrics["accuracy"] == pytest.approx(accuracy, abs=0.015)
        assert metrics["balanced_accuracy"] == pytest.approx(balanced, abs=0.02)


@pytest.mark.slow
def test_hidden_markov_models_of_tags_score_as_hmmlearns(
    home: Path, real_corpora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the same first values hmmlearn 0.3.3 gave .71222 and .68809, and log-probabilities within 5e-14 nats."""
    from rnncli.data.splitting import words_of
    from rnncli.data.tagging import tags_of

    monkeypatch.setenv("NLTK_DATA", str(real_corpora / "nltk_data"))
    data = read_labelled([f"frost={real_corpora}/robert_frost.txt", f"poe={real_corpora}/edgar_allan_poe.txt"])
    data = data.distinct()
    tags = tags_of([words_of(text) for text in data.texts])
    metrics = metrics_of_folds(classical.hidden_markov, tags, data.labels)
    assert metrics["accuracy"] == pytest.approx(0.7122194, abs=1e-7)
    assert metrics["balanced_accuracy"] == pytest.approx(0.6880881, abs=1e-7)


def metrics_of_folds(scorer: classical.Scorer, texts: Sequence[Any], labels: Sequence[str]) -> dict[str, Any]:
    """The metrics of a scorer over five folds, with seed 0."""
    classes = sorted(set(labels))
    answers = torch.tensor([classes.index(label) for label in labels])
    folds = torch.tensor(stratified_folds(labels, range(len(answers)), 5, 0))
    scores = torch.zeros(len(answers), len(classes), dtype=torch.double)
    for fold in range(5):
        seen, held = ((folds != fold).nonzero().flatten(), (folds == fold).nonzero().flatten())
        training = [texts[row] for row in seen], answers[seen].tolist()
        scores[held] = torch.from_numpy(scorer(*training, [texts[row] for row in held]))
    return label_metrics(scores, answers)
