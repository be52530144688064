"""The loss of the three ways of predicting: cross-entropy, summed in nats and counted."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.data.batching import IGNORED, Batch
from rnncli.models.stack import States
from rnncli.training.experiment import Outcome


def cross_entropy_sum(logits: Tensor, targets: Tensor, smoothing: float = 0.0, weights: Tensor | None = None) -> Tensor:
    """Sum -log p(target) over all targets that are asked: logits (..., K), targets (...).

    With `smoothing`, that share of each target is spread over all classes (Szegedy et al. 2016); `weights` (K,) are
    those of the classes.
    """
    return F.cross_entropy(
        logits.flatten(0, -2),
        targets.flatten(),
        weights,
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=smoothing,
    )


def prediction_loss(model: nn.Module, batch: Batch, states: States | None, smoothing: float = 0.0) -> Outcome:
    """The loss of a model that scores steps, or whole sequences, and hands back its states."""
    logits, states = model(batch.inputs, states, batch.lengths)
    return Outcome(cross_entropy_sum(logits, batch.targets, smoothing), states)


def language_loss(
    model: nn.Module,
    batch: Batch,
    states: States | None,
    smoothing: float = 0.0,
    activation: float = 0.0,
    change: float = 0.0,
) -> Outcome:
    """The same for a language model, whose readout turns features into a loss without keeping what it scored.

    With `activation` and `change` the penalty of a prediction is activation mean(h^2) over what dropout leaves of the
    top layer's outputs, and change mean((h_t - h_{t-1})^2) (Merity et al. 2017, arXiv:1708.01009), the latter over the
    steps of its sequence that have one before them. Steps of which nothing is asked, such as padding, cost nothing.
    """
    language: Any = model
    h, states = language.outputs(batch.inputs, states, batch.lengths, batch.labels)
    kept = language.dropout(h)
    loss = language.readout.loss(language.projection(kept).flatten(0, 1), batch.targets.flatten(), smoothing)
    if not (activation or change):
        return Outcome(loss, states)
    target_mask = (batch.targets != IGNORED).to(h.dtype)
    penalty = activation * (kept.square().mean(-1) * target_mask).sum()
    if len(h) > 1:
        later = target_mask[1:]
        weights = later * (target_mask.sum(0) / later.sum(0).clamp(min=1))
        penalty = penalty + change * ((h[1:] - h[:-1]).square().mean(-1) * weights).sum()
    return Outcome(loss, states, penalty)


def committee_loss(
    model: nn.Module, batch: Batch, states: States | None, smoothing: float = 0.0, weights: Tensor | None = None
) -> Outcome:
    """The loss of R members that learn apart, a sum (R,) of each over what only it is asked: targets (B, R).

    `weights` (R, K) are those of the classes, for each member its own.
    """
    logits, states = model(batch.inputs, states, batch.lengths)
    targets = batch.targets
    each = F.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none", label_smoothing=smoothing
    ).view_as(targets)
    if weights is not None:
        each = each * weights.gather(1, targets.clamp(min=0).T).T
    return Outcome(each.sum(0), states)
