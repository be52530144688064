"""Both forms of the GRU, fused: of each step the three gates are kept.

Reset-before has two products a step, for the second takes what the first lets through. Reset-after has one; what it
gives the candidate, with its bias, is kept too, for r's gradient.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnncli.kernels.fused.arithmetic import (
    activate,
    added,
    begin,
    compiled,
    deactivate,
    gather,
    input_gradients,
    multiply,
    project,
    sigmoid,
    total,
    turned,
    wide,
)
from rnncli.kernels.fused.scan import Gradients, Kernel, Tape, bias_gradient
from rnncli.kernels.fused.steps import Stage, Steps
from rnncli.kernels.memory import room


@compiled
def reset(t: int, ends: Any, gates: Any, h: Any, bias: Any, let: Any, product: Any) -> None:
    """Both gates from their product, and what r lets through of h, (B, M)."""
    M = h.shape[2]
    for b in range(ends.size):
        if t >= ends[b]:
            let[b] = 0
            continue
        a, old = gates[t, b, : 2 * M], h[t, b]
        for m in range(2 * M):
            a[m] += bias[m] + wide(product[b, m])
        sigmoid(a)
        for m in range(M):
            let[b, m] = a[m] * old[m]


@compiled
def blend(t: int, ends: Any, f: int, gates: Any, h: Any, bias: Any, inner: Any) -> None:
    """The candidate from its product, blended with the old h."""
    M = h.shape[2]
    for b in range(ends.size):
        old, new = h[t, b], h[t + 1, b]
        if t >= ends[b]:
            new[:] = old
            continue
        z, candidate = gates[t, b, M : 2 * M], gates[t, b, 2 * M :]
        for m in range(M):
            candidate[m] += bias[2 * M + m] + wide(inner[b, m])
        activate(f, candidate)
        for m in range(M):
            new[m] = old[m] + z[m] * (candidate[m] - old[m])


@compiled
def unblend(
    t: int, ends: Any, f: int, gates: Any, h: Any, d_outputs: Any, sums: Any, beside: Any, through: Any
) -> None:
    """Turn z and the candidate into their gradients, the latter's copied to `sums` (B, M) for its product."""
    M = h.shape[2]
    for b in range(ends.size):
        past, sent = beside[b], sums[b]
        for m in range(M):
            past[m] += d_outputs[t, b, m] + wide(through[b, m])
        if t >= ends[b]:
            gates[t, b] = 0
            sums[b] = 0
            continue
        z, candidate, old = gates[t, b, M : 2 * M], gates[t, b, 2 * M :], h[t, b]
        for m in range(M):
            share = past[m] * z[m]
            z[m] = past[m] * (candidate[m] - old[m]) * (z[m] - z[m] * z[m])
            sent[m] = share
            past[m] -= share
        deactivate(f, candidate, sent)
        sums[b] = candidate


@compiled
def unreset(t: int, ends: Any, gates: Any, h: Any, let: Any, both: Any, beside: Any, d_let: Any) -> None:
    """Turn r into its gradient, copied with z's to `both` (B, 2 M) for their product; `let` (T, B, M) is had anew."""
    M = h.shape[2]
    for b in range(ends.size):
        if t >= ends[b]:
            let[t, b] = 0
            both[b] = 0
            continue
        r, old, past, again, d = gates[t, b, :M], h[t, b], beside[b], let[t, b], d_let[b]
        for m in range(M):
            again[m] = r[m] * old[m]
            past[m] += wide(d[m]) * r[m]
            r[m] = wide(d[m]) * old[m] * (r[m] - r[m] * r[m])
        both[b] = gates[t, b, : 2 * M]


@compiled
def before_ahead(ends: Any, f: int, x: Any, weight_x: Any, bias: Any, h0: Any, weight: Any) -> Any:
    """All of the way forward."""
    (T, B, _), M = x.shape, h0.shape[1]
    h, gates = begin(h0, T), np.empty((T, B, 3 * M), x.dtype)
    project(x, weight_x, gates)
    both_weight, inner_weight = turned(weight[: 2 * M]), turned(weight[2 * M :])
    product, let, inner = np.empty((B, 2 * M), x.dtype), np.empty_like(h0), np.empty_like(h0)
    for t in range(T):
        multiply(h[t], both_weight, product)
        reset(t, ends, gates, h, bias, let, product)
        multiply(let, inner_weight, inner)
        blend(t, ends, f, gates, h, bias, inner)
    return h, gates


@compiled
def before_back(
    ends: Any, f: int, x: Any, weight_x: Any, weight: Any, h: Any, gates: Any, d_outputs: Any, beside: Any
) -> Any:
    """All of the way back."""
    T, B, M = d_outputs.shape
    gates, let, through = gates.copy(), np.empty_like(d_outputs), np.zeros_like(beside)
    both, sums, d_let = np.empty((B, 2 * M), x.dtype), np.empty_like(beside), np.empty_like(beside)
    for t in range(T - 1, -1, -1):
        unblend(t, ends, f, gates, h, d_outputs, sums, beside, through)
        multiply(sums, weight[2 * M :], d_let)
        unreset(t, ends, gates, h, let, both, beside, d_let)
        multiply(both, weight[: 2 * M], through)
    d_weight = np.empty_like(weight)
    d_weight[: 2 * M] = gather(gates[:, :, : 2 * M], h)
    d_weight[2 * M :] = gather(gates[:, :, 2 * M :], let)
    return (*input_gradients(gates, x, weight_x), added(through, beside), d_weight)


class ResetBeforeKernel(Kernel):
    """ĥ = f(x Wxh + (r h') Whh + bh), gates (r, z, ĥ); weights: Wh (3 M, M)."""

    whole_ahead = before_ahead
    whole_back = before_back

    @staticmethod
    def forward(steps: Steps, tape: Tape) -> tuple[Tensor, ...]:
        gates, (h,), bias, (weight,) = tape.gates, tape.states, tape.bias, tape.weights
        _, B, M = h.shape
        let = h.new_empty(B, M)
        steps.forward(
            Stage(reset, (gates, h, bias, let), h[:-1], weight[: 2 * M].t()),
            Stage(blend, (steps.f, gates, h, bias), let[None], weight[2 * M :].t()),
        )
        return ()

    @staticmethod
    def backward(steps: Steps, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        gates, (h,), (weight,), (beside,) = tape.gates, tape.states, tape.weights, d_last
        _, B, M = h.shape
        let, both, sums = room(d_outputs, *d_outputs.shape), h.new_empty(B, 2 * M), h.new_empty(B, M)
        through = steps.backward(
            Stage(unblend, (steps.f, gates, h, d_outputs, sums, beside), sums[None], weight[2 * M :]),
            Stage(unreset, (gates, h, let, both, beside), both[None], weight[: 2 * M]),
        )
        d_weight = steps.weight_gradient(gates[:, :, : 2 * M], h[:-1]), steps.weight_gradient(gates[:, :, 2 * M :], let)
        return Gradients(gates, (through + beside,), (torch.cat(d_weight),))


@compiled
def after(t: int, ends: Any, f: int, gates: Any, h: Any, inner: Any, bias: Any, bias_hh: Any, product: Any) -> None:
    """All of a step from its one product; `inner` (T, B, M) is what it gives the candidate."""
    M = h.shape[2]
    for b in range(ends.size):
        old, new, given = h[t, b], h[t + 1, b], inner[t, b]
        if t >= ends[b]:
            new[:] = old
            given[:] = 0
            continue
        both, r, z, candidate = gates[t, b, : 2 * M], gates[t, b, :M], gates[t, b, M : 2 * M], gates[t, b, 2 * M :]
        for m in range(2 * M):
            both[m] += bias[m] + wide(product[b, m])
        sigmoid(both)
        for m in range(M):
            given[m] = wide(product[b, 2 * M + m]) + bias_hh[m]
            candidate[m] += bias[2 * M + m] + r[m] * given[m]
        activate(f, candidate)
        for m in range(M):
            new[m] = old[m] + z[m] * (candidate[m] - old[m])


@compiled
def after_back(
    t: int, ends: Any, f: int, gates: Any, h: Any, inner: Any, d_outputs: Any, sums: Any, beside: Any, through: Any
) -> None:
    """Turn the gates and `inner` into their gradients; those of the product are copied to `sums` (B, 3 M)."""
    M = h.shape[2]
    for b in range(ends.size):
        past, sent, given = beside[b], sums[b, :M], inner[t, b]
        for m in range(M):
            past[m] += d_outputs[t, b, m] + wide(through[b, m])
        if t >= ends[b]:
            gates[t, b] = 0
            given[:] = 0
            sums[b] = 0
            continue
        r, z, candidate, old = gates[t, b, :M], gates[t, b, M : 2 * M], gates[t, b, 2 * M :], h[t, b]
        for m in range(M):
            share = past[m] * z[m]
            z[m] = past[m] * (candidate[m] - old[m]) * (z[m] - z[m] * z[m])
            sent[m] = share
            past[m] -= share
        deactivate(f, candidate, sent)
        for m in range(M):
            share = candidate[m] * r[m]
            r[m] = candidate[m] * given[m] * (r[m] - r[m] * r[m])
            given[m] = share
        sums[b, : 2 * M] = gates[t, b, : 2 * M]
        sums[b, 2 * M :] = given


@compiled
def after_ahead(ends: Any, f: int, x: Any, weight_x: Any, bias: Any, h0: Any, weight: Any, bias_hh: Any) -> Any:
    """All of the way forward."""
    (T, B, _), M = x.shape, h0.shape[1]
    h, gates, inner = begin(h0, T), np.empty((T, B, 3 * M), x.dtype), np.empty((T, B, M), x.dtype)
    project(x, weight_x, gates)
    columns, product = turned(weight), np.empty((B, 3 * M), x.dtype)
    for t in range(T):
        multiply(h[t], columns, product)
        after(t, ends, f, gates, h, inner, bias, bias_hh, product)
    return h, gates, inner


@compiled
def after_whole_back(
    ends: Any,
    f: int,
    x: Any,
    weight_x: Any,
    weight: Any,
    _bias_hh: Any,
    h: Any,
    gates: Any,
    inner: Any,
    d_outputs: Any,
    beside: Any,
) -> Any:
    """All of the way back."""
    T, B, M = d_outputs.shape
    gates, inner, through = gates.copy(), inner.copy(), np.zeros_like(beside)
    sums, d_weight = np.empty((B, 3 * M), x.dtype), np.empty_like(weight)
    for t in range(T - 1, -1, -1):
        after_back(t, ends, f, gates, h, inner, d_outputs, sums, beside, through)
        multiply(sums, weight, through)
    d_weight[: 2 * M] = gather(gates[:, :, : 2 * M], h)
    d_weight[2 * M :] = gather(inner, h)
    return (*input_gradients(gates, x, weight_x), added(through, beside), d_weight, total(inner))


class ResetAfterKernel(Kernel):
    """ĥ = f(x Wxh + bh + r (h' Whh + bhh)), gates (r, z, ĥ); weights: Wh (3 M, M), bhh (M,)."""

    whole_ahead = after_ahead
    whole_back = after_whole_back

    @staticmethod
    def forward(steps: Steps, tape: Tape) -> tuple[Tensor, ...]:
        gates, (h,), (weight, bias_hh) = tape.gates, tape.states, tape.weights
        inner = torch.empty_like(h[1:])
        steps.forward(Stage(after, (steps.f, gates, h, inner, tape.bias, bias_hh), h[:-1], weight.t()))
        return (inner,)

    @staticmethod
    def backward(steps: Steps, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        gates, (h,), (weight, _), (beside,), (inner,) = tape.gates, tape.states, tape.weights, d_last, tape.kept
        M = h.shape[2]
        sums = torch.empty_like(gates[0])
        buffers = steps.f, gates, h, inner, d_outputs, sums, beside
        through = steps.backward(Stage(after_back, buffers, sums[None], weight))
        d_weight = steps.weight_gradient(gates[:, :, : 2 * M], h[:-1]), steps.weight_gradient(inner, h[:-1])
        return Gradients(gates, (through + beside,), (torch.cat(d_weight), bias_gradient(inner)))
