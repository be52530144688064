"""The output layer fused with its loss: linear scores, cross-entropy, and the gradients of both.

Shapes: N predictions, M features, V words; n rows of a block.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from rnncli.kernels.graphs import in_graph
from rnncli.kernels.matmul import may_round
from rnncli.kernels.precision import type_of_factors


class Way(NamedTuple):
    """How a device computes the layer, a block of rows after the other."""

    scores: int  # held at once, where the rows allow it
    rows: int  # of a block, at least
    static: bool  # whether all sizes follow from the shapes, as a CUDA graph requires


CPU = Way(8_000_000, 32, static=False)
"""32 MB of float32 scores fit in a large cache, and the C library reuses a block of that size, where it would request a
larger one from the operating system page by page at every step. With fewer rows, the gradient of a large weight would
be read and written too often."""

CARD = Way(32_000_000, 256, static=True)
"""A matmul of 32 million scores fills an H100 seven times (132 tiles of 128 by 256), and takes ten times as long as its
launch. With fewer rows, the gradient of the weight takes longer to read and write than to compute."""

MIN_SCORES = 1_000_000
"""Scores (N times V). From this number on, this is faster than torch's separate operations."""

MIN_ROUNDED = 256
"""Predictions. From this number on, bfloat16 is faster; with fewer, rounding the weights takes longer than it saves."""

MIN_PROB = 1e-30
"""A smaller probability may have been rounded, even to 0."""

GAIN = 2.0**14
"""The factor of gradients in float16: probabilities down to 4e-9 keep all their digits, and 1 stays in range."""

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
    spreads that share of each target over all words. The gradients are computed together with the loss, a block of rows
    at a time: nothing of width V outlives the call except the gradients of weight and bias. They serve one backward
    pass. Matmuls round as `F.linear` would, under autocast too; their results are summed in the type of the weight.
    """
    if len(targets) * len(weight) >= MIN_SCORES and _fits(hidden, weight, bias):
        hidden, targets, there = _targeted(hidden, targets, ignore_index)
        if len(targets):
            rounded = len(hidden) >= MIN_ROUNDED and may_round(hidden)
            factors = torch.bfloat16 if rounded else type_of_factors(hidden)
            apply: Callable[..., Tensor] = _LinearCrossEntropy.apply
            return apply(hidden, weight, bias, targets, there, smoothing, torch.is_grad_enabled(), factors)
    scores = F.linear(hidden, weight, bias)
    return F.cross_entropy(scores, targets, ignore_index=ignore_index, reduction="sum", label_smoothing=smoothing)


@torch.no_grad()
def linear_score(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, ignore_index: int = -100
) -> tuple[Tensor, Tensor]:
    """Return the loss as above, never rounded, and how many targets score highest; nothing of width V is kept."""
    hidden, targets, there = _targeted(hidden, targets, ignore_index)
    loss, hits = hidden.new_zeros(()), targets.new_zeros(())
    for part, scores in _scores(hidden, weight, bias):
        hits += ((scores.argmax(-1) == targets[part]) & there[part]).sum()
        costs, _ = _costs(scores, (hidden[part], weight, bias), targets[part])
        loss += costs.where(there[part], 0.0).sum()
    return loss, hits


@torch.no_grad()
def linear_surprisals(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Return -log p of each target, (N,) in float64, never rounded; nothing of width V is kept."""
    parts = [
        _costs(scores, (hidden[part], weight, bias), targets[part])[0] for part, scores in _scores(hidden, weight, bias)
    ]
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float64)


def blocks(x: Tensor, V: int) -> Iterator[slice]:
    """Yield the rows of x (N, M), a block at a time: those for which its device scores V words at once."""
    way = _way(x)
    rows = max(way.rows, way.scores // V)
    return (slice(begin, begin + rows) for begin in range(0, len(x), rows))


class _LinearCrossEntropy(torch.autograd.Function):
    """The loss, with its gradients computed in the forward pass; backward scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        there: Tensor,
        smoothing: float,
        differentiable: bool,
        factors: torch.dtype,
    ) -> Tensor:
        inputs = (hidden, weight, bias)
        wanted = [differentiable and needed for needed in ctx.needs_input_grad[:3]]
        ctx.gain = GAIN if factors == torch.float16 and _way(hidden).static else 1.0
        ctx.types = [each.dtype for each in inputs]
        ctx.gradients = [
            torch.empty_like(each, dtype=weight.dtype) if want else None
            for each, want in zip(inputs, wanted, strict=True)
        ]
        with torch.autocast(hidden.device.type, enabled=False):
            hidden, weight, bias = (each.to(factors) for each in inputs)
            loss = torch.zeros((), dtype=torch.float64, device=hidden.device)
            for part, scores in _scores(hidden, weight, bias):
                costs, slopes = _costs(
                    scores, (hidden[part], weight, bias), targets[part], smoothing, ctx.gain if any(wanted) else 0.0
                )
                loss += costs.where(there[part], 0.0).sum()
                if any(wanted):
                    _into_gradient(scores, targets[part], slopes, smoothing, ctx.gain)
                    _add_gradients(ctx.gradients, scores, (hidden[part], weight), there[part], part)
        return loss.to(inputs[1].dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("linear_cross_entropy supports one backward pass: call it again")
        gradients, ctx.gradients = ctx.gradients, None  # drop them, so that autograd need not copy
        scaled = (
            None if each is None else each.mul_(scale / ctx.gain).to(dtype)
            for each, dtype in zip(gradients, ctx.types, strict=True)
        )
        return *scaled, None, None, None, None, None


def _way(x: Tensor) -> Way:
    return CPU if x.device.type == "cpu" and not in_graph() else CARD


def _fits(hidden: Tensor, weight: Tensor, bias: Tensor) -> bool:
    """Tell whether blocks serve these tensors: weights and bias of full precision, and features that fit to them."""
    is_full = weight.dtype in (torch.float32, torch.float64) and bias.dtype == weight.dtype
    fits = hidden.dtype in (weight.dtype, type_of_factors(weight))
    return is_full and fits and hidden.device.type in ("cpu", "cuda")


def _targeted(hidden: Tensor, targets: Tensor, ignore_index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the features and targets of the rows that count, and which do.

    On a CPU those are the rows with a target. Elsewhere all rows stay; one without a target gets no features, and the
    first word as its target.
    """
    there = targets != ignore_index
    if _way(hidden).static:
        return hidden.masked_fill(~there[:, None], 0.0), targets.where(there, 0), there
    rows = there.nonzero().flatten()
    if len(rows) == len(targets):
        return hidden, targets, there
    return hidden.index_select(0, rows), targets[rows], there[rows]


def _scores(hidden: Tensor, weight: Tensor, bias: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield the scores (n, V) block by block, with the rows of each block."""
    for part in blocks(hidden, len(weight)):
        if _way(hidden).static:
            yield part, F.linear(hidden[part], weight, bias)
        else:  # a separate addition is faster than addmm
            yield part, torch.mm(hidden[part], weight.t()).add_(bias)


def _costs(
    scores: Tensor, layer: Layer, targets: Tensor, smoothing: float = 0.0, gain: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return the cost of each target (n,), and its probability minus 1, from scores (n, V) of a layer.

    With a `gain` the scores become probabilities, times the gain.
    """
    if not _way(scores).static:
        return _costs_by_probs(scores, layer, targets, smoothing)
    logs = scores.log_softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))
    log_p = logs.gather(1, targets[:, None])[:, 0]
    cost = log_p.neg().lerp(-logs.mean(-1), smoothing) if smoothing else -log_p
    if gain == 1.0:
        torch.exp(logs, out=scores)
    elif gain:
        torch.mul(logs.exp_(), gain, out=scores)
    return cost.double(), log_p.expm1()


def _costs_by_probs(scores: Tensor, layer: Layer, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Do the same by a softmax in place, with half the exponentials; a small probability gives no logarithm."""
    at = targets[:, None]
    spread = smoothing * (scores.gather(1, at)[:, 0] - scores.mean(-1)).double() if smoothing else 0.0
    _softmax_(scores)
    prob = scores.gather(1, at)[:, 0].double()
    cost = -prob.log()
    faint = (prob < MIN_PROB).nonzero().flatten()
    if len(faint):  # compute the scores again
        hidden, weight, bias = layer
        cost[faint] = F.cross_entropy(F.linear(hidden[faint], weight, bias).double(), targets[faint], reduction="none")
    return cost + spread, prob - 1.0


def _into_gradient(probs: Tensor, targets: Tensor, slopes: Tensor, smoothing: float, gain: float) -> None:
    """Replace probabilities (n, V) by the gradient of the scores: p minus the target distribution; all times gain."""
    V = probs.shape[-1]
    if smoothing:
        probs.sub_(gain * smoothing / V)
    at_target = gain * (slopes + (smoothing - smoothing / V))
    probs.scatter_(1, targets[:, None], at_target[:, None].to(probs.dtype))


def _add_gradients(
    gradients: list[Tensor | None], slopes: Tensor, factors: tuple[Tensor, Tensor], there: Tensor, part: slice
) -> None:
    """Add what some rows contribute to the gradients of features, weight and bias, given their slopes (n, V)."""
    (hidden, weight), (dX, dW, db), before = factors, gradients, int(part.start > 0)
    static = _way(hidden).static
    if dX is not None:
        _matmul_into(dX[part], slopes, weight, 0)
        if static:
            dX[part].mul_(there[:, None])
    if dW is not None:
        _matmul_into(dW, slopes.t(), hidden, before)
    if db is not None and static:
        _matmul_into(db[:, None], slopes.t(), there[:, None].to(slopes.dtype), before)
    elif db is not None:
        torch.add(slopes.sum(0), db if before else 0.0, out=db)


def _matmul_into(out: Tensor, a: Tensor, b: Tensor, before: int) -> None:
    """Write a b into `out`, or add it to the previous content; CUDA never rounds the result to a smaller type."""
    if out.dtype == a.dtype:
        out.addmm_(a, b, beta=before)
        return
    product = torch.mm(a, b, out_dtype=out.dtype) if a.is_cuda else a @ b
    if before:
        out.add_(product)
    else:
        out.copy_(product)


def _softmax_(scores: Tensor) -> None:
    """Compute the softmax of each row in place: half the memory, and no second block to allocate."""
    if _softmax_is_sound_in_place(scores.dtype):
        torch.softmax(scores, -1, out=scores)
    else:
        scores.copy_(scores.softmax(-1))


@cache
def _softmax_is_sound_in_place(dtype: torch.dtype) -> bool:
    """Test whether this torch's softmax may overwrite its input on a CPU, which its documentation leaves open."""
    scores = (torch.arange(7 * 10_001) % 9973).view(7, 10_001).to(dtype) / 1000
    return torch.equal(torch.softmax(scores.clone(), -1), torch.softmax(scores, -1, out=scores))
