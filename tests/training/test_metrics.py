"""Metrics of labels against scikit-learn's."""

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from rnncli.training.metrics import Confusion, label_metrics


def test_label_metrics_equal_scikit_learn() -> None:
    data = torch.Generator().manual_seed(1)
    scores = torch.randn(200, 4, generator=data)
    answers = torch.randint(3, (200,), generator=data)  # one label is never right
    given = scores.argmax(-1)
    metrics = label_metrics(scores, answers)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(answers, given))
    recalls = [float((given[answers == label] == label).double().mean()) for label in range(3)]
    assert metrics["balanced_accuracy"] == pytest.approx(sum(recalls) / 3)
    kept = given < 3
    wanted = balanced_accuracy_score(answers[kept], given[kept])
    assert label_metrics(scores[kept], answers[kept])["balanced_accuracy"] == pytest.approx(wanted)
    confusion = Confusion.of("abcd", answers, given)
    assert confusion.counts.tolist() == confusion_matrix(answers, given, labels=range(4)).tolist()
    assert confusion.plain["a"]["b"] == int(((answers == 0) & (given == 1)).sum())
