"""Metrics of predictions: sums are gathered over batches and divided once."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rnncli.data.batching import IGNORED, Batch, LazyBatch
from rnncli.data.streams import ConcatIds, Ids, RunningText
from rnncli.models.recorded import graphs_of, run
from rnncli.models.stack import States
from rnncli.training.distributed import our_part, totals
from rnncli.training.experiment import Metrics

ROWS = 16
"""Rows in which a running text is measured."""

WARM_UP = 256
"""Tokens that a net reads before those that it is measured on."""


def perplexity(loss: float) -> float:
    """Return exp of a loss in nats per token; infinite where that overflows."""
    return math.exp(loss) if loss < 700 else math.inf


def bits_per_character(loss: float, tokens_a_character: float) -> float:
    """Convert a loss in nats per token to bits per character of the text."""
    return loss / math.log(2) * tokens_a_character


def prediction_metrics(model: nn.Module, batches: Iterable[Batch | LazyBatch]) -> Metrics:
    """Measure loss in nats, accuracy and perplexity of a language model over all targets of batches.

    Batches may continue each other. Several processes share the batches, and all get the same result.
    """
    language: Any = model.eval()
    graphs = graphs_of(language)

    def measured(inputs: Any, targets: Tensor, labels: Tensor | None, states: States | None) -> tuple[Tensor, States]:
        h, after = language.features(inputs, states, labels=labels)
        nats, hits = language.readout.score(h.flatten(0, 1), targets.flatten())
        return torch.stack([nats.double(), hits.double(), (targets != IGNORED).sum().double()]), after

    sums, states = torch.zeros(3, dtype=torch.float64, device=next(model.parameters()).device), None
    with torch.inference_mode():
        for batch in map(our_part, batches):
            reads = batch.inputs, batch.targets, batch.labels, states if batch.continues else None
            # other inputs than tokens have lengths, which are read on the host
            found, states = run(graphs, measured, *reads) if isinstance(batch.inputs, Tensor) else measured(*reads)
            sums += found
    loss_sum, correct, count = totals(*sums.tolist())
    loss = loss_sum / count
    return {"loss": loss, "accuracy": correct / count, "perplexity": perplexity(loss)}


def running_metrics(model: nn.Module, ids: Ids | ConcatIds, voices: Sequence[tuple[int, int]] = ()) -> Metrics:
    """The same over a running text (N,), read in order with carried state: all but its first token are targets.

    Rows read it side by side, each with some tokens before its own to warm up; `voices` as `RunningText` has them.
    """
    text = RunningText(ids, ROWS, WARM_UP, voices)
    return prediction_metrics(model, text.eval_batches(next(model.parameters()).device, WARM_UP))


class Confusion(NamedTuple):
    """How often each label was predicted for each right label: counts (K, K), one row per right label."""

    labels: Sequence[str]
    counts: Tensor

    @classmethod
    def of(cls, labels: Sequence[str], answers: Tensor, given: Tensor) -> "Confusion":
        """Count N right answers and N predictions, both by number."""
        K = len(labels)
        return cls(labels, (answers * K + given).bincount(minlength=K * K).view(K, K))

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall over the labels that occur."""
        right_counts = self.counts.sum(1)
        return float((self.counts.diagonal()[right_counts > 0] / right_counts[right_counts > 0]).mean())

    @property
    def plain(self) -> dict[str, dict[str, int]]:
        """Right label -> predicted label -> count."""
        rows = (dict(zip(self.labels, row, strict=True)) for row in self.counts.tolist())
        return dict(zip(self.labels, rows, strict=True))


def label_metrics(scores: Tensor, answers: Tensor) -> Metrics:
    """Measure accuracy, and balanced accuracy over the labels, of scores (N, K) for N answers."""
    given = scores.argmax(-1)
    confusion = Confusion.of([""] * scores.shape[-1], answers, given)
    return {"accuracy": float((given == answers).double().mean()), "balanced_accuracy": confusion.balanced_accuracy}
