"""Both forms of the GRU, fused: the gates are kept where the projected inputs lay."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rnncli.kernels.fused.arithmetic import activate, compiled, deactivate, multiply, sigmoid
from rnncli.kernels.fused.scan import Gradients, Kernel, Run, Stage, Tape

# Reset-before: two products a step, for the second takes what the first gave.


@compiled
def reset(t: int, ends: Any, gates: Any, h: Any, product: Any, kept: Any) -> None:
    """Both gates from their product, and what the reset one lets through of h."""
    M = h.shape[2]
    for b in range(ends.size):
        if t >= ends[b]:
            kept[b] = 0
            continue
        a, old = gates[t, b, : 2 * M], h[t, b]
        for m in range(a.size):
            a[m] += product[b, m]
        sigmoid(a)
        for m in range(M):
            kept[b, m] = a[m] * old[m]


@compiled
def blend(t: int, ends: Any, f: int, gates: Any, h: Any, inner: Any) -> None:
    """The candidate from its product, blended with the old h."""
    M = h.shape[2]
    for b in range(ends.size):
        old, new = h[t, b], h[t + 1, b]
        if t >= ends[b]:
            new[:] = old
            continue
        z, candidate = gates[t, b, M : 2 * M], gates[t, b, 2 * M :]
        for m in range(M):
            candidate[m] += inner[b, m]
        activate(f, candidate)
        for m in range(M):
            new[m] = old[m] + z[m] * (candidate[m] - old[m])


@compiled
def unblend(
    t: int, ends: Any, f: int, gates: Any, h: Any, d_outputs: Any, d_inner: Any, d_both: Any, through: Any, beside: Any
) -> None:
    """The gradients of the candidate and of z, and what goes to the old h beside the products."""
    M = h.shape[2]
    for b in range(ends.size):
        past, inner = beside[b], d_inner[b]
        for m in range(M):
            past[m] += d_outputs[t, b, m] + through[b, m]
        if t >= ends[b]:
            inner[:] = 0
            continue
        z, candidate, old, dz = gates[t, b, M : 2 * M], gates[t, b, 2 * M :], h[t, b], d_both[b, M:]
        for m in range(M):
            inner[m] = past[m] * z[m]
            dz[m] = past[m] * (candidate[m] - old[m]) * (z[m] - z[m] * z[m])
            past[m] -= inner[m]
        deactivate(f, candidate, inner)


@compiled
def unreset(
    t: int, ends: Any, gates: Any, h: Any, d_gates: Any, d_inner: Any, d_kept: Any, d_both: Any, beside: Any
) -> None:
    """The gradient of r, from that of what it let through; and those of all three gates, side by side."""
    M = h.shape[2]
    for b in range(ends.size):
        d, both = d_gates[t, b], d_both[b]
        if t >= ends[b]:
            d[:] = 0
            both[:] = 0
            continue
        r, old, past, let = gates[t, b, :M], h[t, b], beside[b], d_kept[b]
        for m in range(M):
            both[m] = let[m] * old[m] * (r[m] - r[m] * r[m])
            past[m] += let[m] * r[m]
        d[: 2 * M] = both
        d[2 * M :] = d_inner[b]


@compiled
def all_before(
    ends: Any, f: int, gates: Any, h: Any, product: Any, kept: Any, inner: Any, both_weight: Any, inner_weight: Any
) -> None:
    """The whole way forward, products included."""
    for t in range(len(gates)):
        multiply(h[t], both_weight, product)
        reset(t, ends, gates, h, product, kept)
        multiply(kept, inner_weight, inner)
        blend(t, ends, f, gates, h, inner)


@compiled
def all_before_back(
    ends: Any,
    f: int,
    gates: Any,
    h: Any,
    d_outputs: Any,
    d_gates: Any,
    d_inner: Any,
    d_kept: Any,
    d_both: Any,
    through: Any,
    beside: Any,
    inner_weight: Any,
    both_weight: Any,
) -> None:
    """The whole way back, products included."""
    for t in range(len(gates) - 1, -1, -1):
        unblend(t, ends, f, gates, h, d_outputs, d_inner, d_both, through, beside)
        multiply(d_inner, inner_weight, d_kept)
        unreset(t, ends, gates, h, d_gates, d_inner, d_kept, d_both, beside)
        multiply(d_both, both_weight, through)


class ResetBeforeKernel(Kernel):
    """ĥ = f(x Wxh + (r h') Whh + bh), gates (r, z, ĥ); weights: Wh (3 M, M)."""

    @staticmethod
    def forward(run: Run, tape: Tape) -> tuple[Tensor, ...]:
        (h,), (weight,), gates = tape.states, tape.weights, tape.gates
        _, B, M = h.shape
        product, kept, inner = h.new_empty(B, 2 * M), h.new_empty(B, M), h.new_empty(B, M)
        stages = [
            Stage(reset, (gates, h, product, kept), h[:-1], run.turned(weight[: 2 * M]), product),
            Stage(blend, (run.f, gates, h, inner), kept[None], run.turned(weight[2 * M :]), inner),
        ]
        run.forward(all_before, stages, run.f, gates, h, product, kept, inner)
        return ()

    @staticmethod
    def backward(run: Run, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        (h,), (weight,), (beside,), gates = tape.states, tape.weights, d_last, tape.gates
        _, B, M = h.shape
        d_gates, through = torch.empty_like(gates), h.new_zeros(B, M)
        d_inner, d_kept, d_both = h.new_empty(B, M), h.new_empty(B, M), h.new_empty(B, 2 * M)
        first = (run.f, gates, h, d_outputs, d_inner, d_both, through, beside)
        second = (gates, h, d_gates, d_inner, d_kept, d_both, beside)
        stages = [
            Stage(unblend, first, d_inner[None], weight[2 * M :], d_kept),
            Stage(unreset, second, d_both[None], weight[: 2 * M], through),
        ]
        buffers = run.f, gates, h, d_outputs, d_gates, d_inner, d_kept, d_both, through, beside
        run.backward(all_before_back, stages, *buffers)
        kept = gates[:, :, :M] * h[:-1]
        d_weight = [run.gather(d_gates[:, :, : 2 * M], h[:-1]), run.gather(d_gates[:, :, 2 * M :], kept)]
        return Gradients(d_gates, (through + beside,), (torch.cat(d_weight),))


# Reset-after: one product a step; what it gives the candidate, with its bias, is kept too, for r's gradient.


@compiled
def after(t: int, ends: Any, f: int, gates: Any, h: Any, inner: Any, bias: Any, product: Any) -> None:
    """All of a step from its one product."""
    M = h.shape[2]
    for b in range(ends.size):
        old, new = h[t, b], h[t + 1, b]
        if t >= ends[b]:
            new[:] = old
            inner[t, b] = 0
            continue
        a, let = gates[t, b], inner[t, b]
        both, r, z, candidate = a[: 2 * M], a[:M], a[M : 2 * M], a[2 * M :]
        for m in range(2 * M):
            both[m] += product[b, m]
        sigmoid(both)
        for m in range(M):
            let[m] = product[b, 2 * M + m] + bias[m]
            candidate[m] += r[m] * let[m]
        activate(f, candidate)
        for m in range(M):
            new[m] = old[m] + z[m] * (candidate[m] - old[m])


@compiled
def after_back(
    t: int,
    ends: Any,
    f: int,
    gates: Any,
    h: Any,
    inner: Any,
    d_outputs: Any,
    d_gates: Any,
    d_inner: Any,
    d_product: Any,
    through: Any,
    beside: Any,
) -> None:
    """The gradients of the gates, of the product, and what goes to the old h beside it."""
    M = h.shape[2]
    for b in range(ends.size):
        d, past, both, let = d_gates[t, b], beside[b], d_product[b], d_inner[t, b]
        for m in range(M):
            past[m] += d_outputs[t, b, m] + through[b, m]
        if t >= ends[b]:
            d[:] = 0
            both[:] = 0
            let[:] = 0
            continue
        a, old = gates[t, b], h[t, b]
        r, z, candidate = a[:M], a[M : 2 * M], a[2 * M :]
        for m in range(M):
            d[2 * M + m] = past[m] * z[m]
            d[M + m] = past[m] * (candidate[m] - old[m]) * (z[m] - z[m] * z[m])
            past[m] -= past[m] * z[m]
        deactivate(f, candidate, d[2 * M :])
        for m in range(M):
            d[m] = d[2 * M + m] * inner[t, b, m] * (r[m] - r[m] * r[m])
            let[m] = d[2 * M + m] * r[m]
        both[: 2 * M] = d[: 2 * M]
        both[2 * M :] = let


@compiled
def all_after(ends: Any, f: int, gates: Any, h: Any, inner: Any, bias: Any, product: Any, weight: Any) -> None:
    """The whole way forward, products included."""
    for t in range(len(gates)):
        multiply(h[t], weight, product)
        after(t, ends, f, gates, h, inner, bias, product)


@compiled
def all_after_back(
    ends: Any,
    f: int,
    gates: Any,
    h: Any,
    inner: Any,
    d_outputs: Any,
    d_gates: Any,
    d_inner: Any,
    d_product: Any,
    through: Any,
    beside: Any,
    weight: Any,
) -> None:
    """The whole way back, products included."""
    for t in range(len(gates) - 1, -1, -1):
        after_back(t, ends, f, gates, h, inner, d_outputs, d_gates, d_inner, d_product, through, beside)
        multiply(d_product, weight, through)


class ResetAfterKernel(Kernel):
    """ĥ = f(x Wxh + bh + r (h' Whh + bhh)), gates (r, z, ĥ); weights: Wh (3 M, M), bhh (M,)."""

    @staticmethod
    def forward(run: Run, tape: Tape) -> tuple[Tensor, ...]:
        (h,), (weight, bias) = tape.states, tape.weights
        product, inner = h.new_empty(h.shape[1], len(weight)), torch.empty_like(h[1:])
        buffers = run.f, tape.gates, h, inner, bias, product
        run.forward(all_after, [Stage(after, buffers, h[:-1], run.turned(weight), product)], *buffers)
        return (inner,)

    @staticmethod
    def backward(run: Run, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        (h,), (weight, _), (beside,), (inner,) = tape.states, tape.weights, d_last, tape.kept
        _, B, M = h.shape
        d_gates, d_inner = torch.empty_like(tape.gates), torch.empty_like(inner)
        d_product, through = h.new_empty(B, 3 * M), h.new_zeros(B, M)
        buffers = run.f, tape.gates, h, inner, d_outputs, d_gates, d_inner, d_product, through, beside
        run.backward(all_after_back, [Stage(after_back, buffers, d_product[None], weight, through)], *buffers)
        d_weight = torch.cat([run.gather(d_gates[:, :, : 2 * M], h[:-1]), run.gather(d_inner, h[:-1])])
        return Gradients(d_gates, (through + beside,), (d_weight, run.total(d_inner)))
