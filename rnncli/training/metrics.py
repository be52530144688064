"""What is measured of predictions: sums are gathered over batches and divided once."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rnncli.data.batching import IGNORED, Batch, Sentences
from rnncli.training.experiment import Metrics
from rnncli.training.losses import cross_entropy_sum


def perplexity(loss: float) -> float:
    """Exp of a loss in nats a token; infinite where that overflows."""
    return math.exp(loss) if loss < 700 else math.inf


def shown_metric(monitor: str, record: Mapping[str, Any]) -> str:
    """The name of the metric that people are shown for the monitored one: perplexity for a loss, where it is there."""
    return "perplexity" if monitor == "loss" and "perplexity" in record else monitor


@dataclass
class Tally:
    """Sums over predictions: nats, hits, and how many there were."""

    loss_sum: float = 0.0
    correct: int = 0
    count: int = 0

    def add(self, logits: Tensor, targets: Tensor) -> None:
        """Count in logits (..., K) against targets (...); ignored targets are passed over."""
        self.loss_sum += float(cross_entropy_sum(logits, targets))
        self.correct += int(((logits.argmax(-1) == targets) & (targets != IGNORED)).sum())
        self.count += int((targets != IGNORED).sum())

    @property
    def metrics(self) -> Metrics:
        """Loss in nats a prediction, accuracy, perplexity."""
        loss = self.loss_sum / self.count
        return {"loss": loss, "accuracy": self.correct / self.count, "perplexity": perplexity(loss)}


def prediction_metrics(model: nn.Module, sentences: Sentences) -> Metrics:
    """Loss, perplexity and accuracy over all predicted tokens, END included."""
    tally = Tally()
    model.eval()
    with torch.inference_mode():
        for batch in sentences.in_order(64):
            logits, _ = model(batch.inputs)
            tally.add(logits, batch.targets)
    return tally.metrics


def running_metrics(model: nn.Module, batches: Iterable[Batch]) -> Metrics:
    """Loss, perplexity and accuracy over batches that may continue one another."""
    tally = Tally()
    model.eval()
    states = None
    with torch.inference_mode():
        for batch in batches:
            logits, states = model(batch.inputs, states if batch.continues else None)
            tally.add(logits, batch.targets)
    return tally.metrics


class Confusion(NamedTuple):
    """How often which label was given to what: counts (K, K), a row for each right label."""

    labels: Sequence[str]
    counts: Tensor

    @classmethod
    def of(cls, labels: Sequence[str], answers: Tensor, given: Tensor) -> "Confusion":
        """Count N right answers and N given ones, both by number."""
        K = len(labels)
        return cls(labels, (answers * K + given).bincount(minlength=K * K).view(K, K))

    @property
    def balanced_accuracy(self) -> float:
        """The mean over the labels that there are of the share of each that is right."""
        asked = self.counts.sum(1)
        return float((self.counts.diagonal()[asked > 0] / asked[asked > 0]).mean())

    @property
    def plain(self) -> dict[str, dict[str, int]]:
        """Right label -> given label -> count."""
        rows = (dict(zip(self.labels, row, strict=True)) for row in self.counts.tolist())
        return dict(zip(self.labels, rows, strict=True))


def label_metrics(scores: Tensor, answers: Tensor) -> Metrics:
    """Accuracy, and balanced accuracy over the labels, of scores (N, K) for N answers."""
    given = scores.argmax(-1)
    confusion = Confusion.of([""] * scores.shape[-1], answers, given)
    return {"accuracy": float((given == answers).double().mean()), "balanced_accuracy": confusion.balanced_accuracy}
