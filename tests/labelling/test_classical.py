"""The baselines against the same libraries used by hand, and against counts."""

from pathlib import Path

import numpy as np
import pytest

from rnncli.extras import installed
from rnncli.labelling import classical

needs_hmm = pytest.mark.skipif(not installed("hmmlearn"), reason="waits for hmmlearn, which does not install here")

TAGS = [["DT", "NN", "VB"], ["DT", "JJ", "NN"], ["UH", "UH"], ["UH", "NN", "UH"], ["DT", "NN"], ["UH"]] * 4
LABELS = [0, 0, 1, 1, 0, 1] * 4


def test_majority_is_the_share_of_labels() -> None:
    scores = classical.majority(TAGS, [0, 0, 1, 0], TAGS[:2])
    np.testing.assert_allclose(np.exp(scores), [[0.75, 0.25]] * 2)


def test_naive_bayes_by_counting() -> None:
    texts, labels = ["a a b".replace("a", "ash").replace("b", "bee"), "bee cat"], [0, 1]
    scores = classical.naive_bayes(texts, labels, ["ash cat"])
    joint = np.array([(2 + 1) / (3 + 3) * (0 + 1) / (3 + 3), (0 + 1) / (2 + 3) * (1 + 1) / (2 + 3)]) / 2
    np.testing.assert_allclose(np.exp(scores[0]), joint / joint.sum())


@pytest.mark.parametrize(
    "scorer",
    [
        pytest.param(classical.hidden_markov, marks=needs_hmm),
        classical.logistic_regression(weighted=False),
        classical.logistic_regression(True),
    ],
)
def test_tags_that_part_the_labels_are_found(scorer: classical.Scorer) -> None:
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


def test_the_commonest_tag_of_a_word_and_of_all() -> None:
    tagger = classical.commonest_tag([[("run", "VERB"), ("run", "VERB")], [("run", "NOUN"), ("the", "DET")]])
    assert tagger(["run", "the", "new"]) == ["VERB", "DET", "VERB"]


def test_the_perceptron_is_nltks() -> None:
    sentences = [[("the", "DET"), (f"cat{n}", "NOUN"), ("runs", "VERB")] for n in range(20)]
    assert classical.perceptron(sentences)(["the", "cat99", "runs"]) == ["DET", "NOUN", "VERB"]


def test_the_rivals_figures_on_the_books_files(home: Path, real_corpora: Path) -> None:
    """Distinct lines, five folds: published .838 / .747 of naive Bayes on words and .869 / .805 of the linear SVM."""
    import torch

    from rnncli.data.folds import stratified_folds
    from rnncli.data.labelled import read_labelled
    from rnncli.training.metrics import label_metrics

    (home / "data").symlink_to(real_corpora)
    data = read_labelled(["frost", "poe"]).distinct()
    answers = torch.tensor([data.classes.index(label) for label in data.labels])
    folds = torch.tensor(stratified_folds(data.labels, range(len(answers)), 5, 0))
    for scorer, accuracy, balanced in (
        (classical.naive_bayes, 0.838, 0.747),
        (classical.support_vectors(weighted=False), 0.869, 0.805),
    ):
        scores = torch.zeros(len(answers), 2, dtype=torch.double)
        for fold in range(5):
            seen, asked = ((folds != fold).nonzero().flatten(), (folds == fold).nonzero().flatten())
            learned = [data.texts[row] for row in seen], answers[seen].tolist()
            scores[asked] = torch.from_numpy(scorer(*learned, [data.texts[row] for row in asked]))
        metrics = label_metrics(scores, answers)
        assert metrics["accuracy"] == pytest.approx(accuracy, abs=0.015)
        assert metrics["balanced_accuracy"] == pytest.approx(balanced, abs=0.02)
