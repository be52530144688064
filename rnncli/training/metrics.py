"""What is measured of predictions: sums are gathered over batches and divided once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rnncli.data.batching import IGNORED
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
