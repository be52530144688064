"""Metrics of labels against scikit-learn's, and those of a language model by graphs against those without."""

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix
from support.tape import TapeRecorder

from rnncli.models import recorded
from rnncli.models.language_model import LanguageModel
from rnncli.models.stack import StackShape
from rnncli.training import metrics
from rnncli.training.metrics import Confusion, label_metrics, running_metrics


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


@pytest.mark.parametrize("softmax", ["full", "sampled", "adaptive"])
def test_replayed_evaluation_gives_the_same_metrics(softmax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ROWS": 3, "WARM_UP": 8}.items():
        monkeypatch.setattr(metrics, name, value)
    torch.manual_seed(3)
    model = LanguageModel(40, 8, StackShape("gru", (16,)), softmax=softmax, backend="reference")
    ids = torch.randint(40, (200,)).numpy()
    wanted, tape = running_metrics(model, ids), TapeRecorder()
    monkeypatch.setattr(recorded, "recorder_on", lambda *_: tape)
    assert running_metrics(model, ids) == pytest.approx(wanted, rel=1e-6)
    assert bool(tape.replays) == (softmax != "adaptive")
