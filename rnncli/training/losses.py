"""The loss of the three kinds of prediction: cross-entropy, summed in nats."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.data.batching import IGNORED, Batch
from rnncli.models.stack import States
from rnncli.training.experiment import Outcome


def cross_entropy_sum(logits: Tensor, targets: Tensor, smoothing: float = 0.0, weights: Tensor | None = None) -> Tensor:
    """Sum -log p(target) over all targets except ignored ones: logits (..., K), targets (...).

    `smoothing` spreads that share of each target over all classes (Szegedy et al. 2016); `weights` (K,) are class
    weights.
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
    """Compute the loss of a model that scores steps, or whole sequences, and returns its states."""
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
    """Compute the same for a language model, whose readout turns features into a loss without keeping the scores.

    With `activation` and `change` the penalty per prediction is activation mean(h^2) over the top layer's outputs after
    dropout, and change mean((h_t - h_{t-1})^2) (Merity et al. 2017, arXiv:1708.01009), the latter over the steps that
    have a predecessor in their sequence. Steps without a target, such as padding, cost nothing.
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
    """Compute the loss of R independent members, a sum (R,) over each one's own targets (B, R).

    `weights` (R, K) are each member's class weights.
    """
    logits, states = model(batch.inputs, states, batch.lengths)
    targets = batch.targets
    each = F.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none", label_smoothing=smoothing
    ).view_as(targets)
    if weights is not None:
        each = each * weights.gather(1, targets.clamp(min=0).T).T
    return Outcome(each.sum(0), states)
