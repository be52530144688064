"""The output layer fused with its loss: linear scores, cross-entropy, and the gradients of both.

Shapes: N predictions, M features, V words.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from rnncli.kernels.matmul import may_round

BLOCK = 8_000_000
"""Scores held at once: 32 MB of float32 fit in a large cache, and the C library reuses a block of that size, where it
would request a larger one from the operating system page by page at every step."""

MIN_SCORES = 1_000_000
"""Scores (N times V). From this number on, this is faster than torch's separate operations."""

MIN_ROUNDED = 256
"""Predictions. From this number on, bfloat16 is faster; with fewer, rounding the weights takes longer than it saves."""

MIN_PROB = 1e-30
"""A smaller probability may have been rounded, even to 0."""

Layer = tuple[Tensor, Tensor, Tensor]
"""Some rows (n, M) of the features, weight (V, M) and bias (V,)."""


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    *,
    smoothing: float = 0.0,
    ignore_index: int = -100,
) -> Tensor:
    """Sum -log softmax(hidden weight' + bias) at the targets, `F.linear` and `F.cross_entropy` in one: a scalar.

    hidden (N, M), weight (V, M), bias (V,), targets (N,) with ignore_index where there is no target. `smoothing`
    spreads that share of each target over all words. On a CPU the gradients are computed together with the loss, a
    block of rows at a time: nothing of width V outlives the call except the gradients of weight and bias. They serve
    one backward pass.
    """
    if len(targets) * len(weight) >= MIN_SCORES and _fits(hidden, weight, bias):
        hidden, targets = _targeted(hidden, targets, ignore_index)
        if len(targets):
            rounded = len(hidden) >= MIN_ROUNDED and may_round(hidden)
            apply: Callable[..., Tensor] = _LinearCrossEntropy.apply
            return apply(hidden, weight, bias, targets, smoothing, torch.is_grad_enabled(), rounded)
    scores = F.linear(hidden, weight, bias)
    return F.cross_entropy(scores, targets, ignore_index=ignore_index, reduction="sum", label_smoothing=smoothing)


@torch.no_grad()
def linear_score(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, ignore_index: int = -100
) -> tuple[Tensor, Tensor]:
    """Return the loss as above, never rounded, and how many targets score highest; nothing of width V is kept."""
    hidden, targets = _targeted(hidden, targets, ignore_index)
    loss, hits = hidden.new_zeros(()), targets.new_zeros(())
    for part, scores in _scores(hidden, weight, bias):
        hits += (scores.argmax(-1) == targets[part]).sum()
        loss += _costs(scores, (hidden[part], weight, bias), targets[part], 0.0).sum()
    return loss, hits


@torch.no_grad()
def linear_surprisals(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Return -log p of each target, (N,) in float64, never rounded; nothing of width V is kept."""
    parts = [
        _costs(scores, (hidden[part], weight, bias), targets[part], 0.0)
        for part, scores in _scores(hidden, weight, bias)
    ]
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float64)


class _LinearCrossEntropy(torch.autograd.Function):
    """The loss, with its gradients computed in the forward pass; backward scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        smoothing: float,
        differentiable: bool,
        rounded: bool,
    ) -> Tensor:
        inputs = (hidden, weight, bias)
        wanted = [differentiable and needed for needed in ctx.needs_input_grad[:3]]
        gradients = [torch.empty_like(each) if want else None for each, want in zip(inputs, wanted, strict=True)]
        dX, dW, db = gradients
        if rounded:
            hidden, weight, bias = (each.bfloat16() for each in inputs)
        loss = torch.zeros((), dtype=inputs[0].dtype)
        for part, scores in _scores(hidden, weight, bias):
            loss += _costs(scores, (hidden[part], weight, bias), targets[part], smoothing).sum()
            if any(wanted):
                _into_gradient(scores, targets[part], smoothing)
            before = int(part.start > 0)
            if dX is not None:
                _matmul_into(dX[part], scores, weight, 0)
            if dW is not None:
                _matmul_into(dW, scores.t(), hidden[part], before)
            if db is not None:
                torch.add(scores.sum(0), db if before else 0.0, out=db)
        ctx.gradients = gradients
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("linear_cross_entropy supports one backward pass: call it again")
        gradients, ctx.gradients = ctx.gradients, None  # drop them, so that autograd need not copy
        return *(None if each is None else each.mul_(scale) for each in gradients), None, None, None, None


def _fits(*tensors: Tensor) -> bool:
    """Tell whether the CPU path serves these tensors."""
    kinds = {(each.device.type, each.dtype) for each in tensors}
    return kinds in ({("cpu", torch.float32)}, {("cpu", torch.float64)})


def _targeted(hidden: Tensor, targets: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return the rows that have a target."""
    rows = (targets != ignore_index).nonzero().flatten()
    return (hidden, targets) if len(rows) == len(targets) else (hidden.index_select(0, rows), targets[rows])


def _scores(hidden: Tensor, weight: Tensor, bias: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield the scores (n, V) block by block, with the rows of each block."""
    rows = max(1, BLOCK // len(weight))
    for begin in range(0, len(hidden), rows):
        part = slice(begin, begin + rows)
        yield part, torch.mm(hidden[part], weight.t()).add_(bias)  # a separate addition is faster than addmm


def _costs(scores: Tensor, layer: Layer, targets: Tensor, smoothing: float) -> Tensor:
    """Replace scores (n, V), those of a layer, by probabilities; return -log p of each target, (n,)."""
    at = targets[:, None]
    spread = smoothing * (scores.gather(1, at)[:, 0] - scores.mean(-1)).double() if smoothing else 0.0
    _softmax_(scores)
    prob = scores.gather(1, at)[:, 0].double()
    cost = -prob.log()
    faint = (prob < MIN_PROB).nonzero().flatten()
    if len(faint):  # too small for a logarithm: compute the scores again
        hidden, weight, bias = layer
        cost[faint] = F.cross_entropy(F.linear(hidden[faint], weight, bias).double(), targets[faint], reduction="none")
    return cost + spread


def _into_gradient(probs: Tensor, targets: Tensor, smoothing: float) -> None:
    """Replace probabilities (n, V) by the gradient of the scores: p minus the target distribution."""
    if smoothing:
        probs.sub_(smoothing / probs.shape[-1])
    at = targets[:, None]
    probs.scatter_add_(1, at, probs.new_full(at.shape, smoothing - 1.0))


def _matmul_into(out: Tensor, a: Tensor, b: Tensor, before: int) -> None:
    """Write a b into `out`, or add it to the previous content."""
    if out.dtype == a.dtype:
        out.addmm_(a, b, beta=before)
    elif before:
        out.add_(a @ b)
    else:
        out.copy_(a @ b)


def _softmax_(scores: Tensor) -> None:
    """Compute the softmax of each row in place: half the memory, and no second block to allocate."""
    if _softmax_is_sound_in_place(scores.dtype, scores.device):
        torch.softmax(scores, -1, out=scores)
    else:
        scores.copy_(scores.softmax(-1))


@cache
def _softmax_is_sound_in_place(dtype: torch.dtype, device: torch.device) -> bool:
    """Test whether this torch's softmax may overwrite its input, which its documentation leaves open."""
    scores = (torch.arange(7 * 10_001) % 9973).view(7, 10_001).to(device, dtype) / 1000
    return torch.equal(torch.softmax(scores.clone(), -1), torch.softmax(scores, -1, out=scores))
