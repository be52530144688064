"""Both forms of the GRU, fused: the three gates of each step are kept.

Reset-before has two matmuls per step: the second multiplies r * h. Reset-after has one; the part of it that enters the
candidate is kept too, with its bias, for r's gradient.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnncli.kernels.fused.arithmetic import (
    activate,
    activate_backward,
    added,
    compiled,
    input_gradients,
    multiply,
    project,
    sigmoid,
    state_buffer,
    to_float,
    total,
    transposed,
    weight_gradient,
)
from rnncli.kernels.fused.scan import Gradients, Kernel, Tape, bias_gradient
from rnncli.kernels.fused.time_loop import LoopStage, TimeLoop
from rnncli.kernels.memory import empty_huge


@compiled
def reset(t: int, ends: Any, gates: Any, h: Any, bias: Any, reset_h: Any, h_matmul: Any) -> None:
    """Compute both gates from their matmul, and r * h, (B, M)."""
    M = h.shape[2]
    for b in range(ends.size):
        if t >= ends[b]:
            reset_h[b] = 0
            continue
        a, old = gates[t, b, : 2 * M], h[t, b]
        for m in range(2 * M):
            a[m] += bias[m] + to_float(h_matmul[b, m])
        sigmoid(a)
        for m in range(M):
            reset_h[b, m] = a[m] * old[m]


@compiled
def blend(t: int, ends: Any, f: int, gates: Any, h: Any, bias: Any, inner: Any) -> None:
    """Compute the candidate from its matmul, and blend it with the old h."""
    M = h.shape[2]
    for b in range(ends.size):
        old, new = h[t, b], h[t + 1, b]
        if t >= ends[b]:
            new[:] = old
            continue
        z, candidate = gates[t, b, M : 2 * M], gates[t, b, 2 * M :]
        for m in range(M):
            candidate[m] += bias[2 * M + m] + to_float(inner[b, m])
        activate(f, candidate)
        for m in range(M):
            new[m] = old[m] + z[m] * (candidate[m] - old[m])


@compiled
def blend_backward(
    t: int, ends: Any, f: int, gates: Any, h: Any, d_outputs: Any, sums: Any, d_h_carry: Any, d_h_matmul: Any
) -> None:
    """Replace z and the candidate by their gradients; copy the candidate's to `sums` (B, M) too, for its matmul."""
    M = h.shape[2]
    for b in range(ends.size):
        past, sent = d_h_carry[b], sums[b]
        for m in range(M):
            past[m] += d_outputs[t, b, m] + to_float(d_h_matmul[b, m])
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
        activate_backward(f, candidate, sent)
        sums[b] = candidate


@compiled
def reset_backward(
    t: int, ends: Any, gates: Any, h: Any, reset_h: Any, both: Any, d_h_carry: Any, d_reset_h: Any
) -> None:
    """Replace r by its gradient and copy it with z's to `both` (B, 2 M), for their matmul.

    `reset_h` (T, B, M) is computed again.
    """
    M = h.shape[2]
    for b in range(ends.size):
        if t >= ends[b]:
            reset_h[t, b] = 0
            both[b] = 0
            continue
        r, old, past, again, d = gates[t, b, :M], h[t, b], d_h_carry[b], reset_h[t, b], d_reset_h[b]
        for m in range(M):
            again[m] = r[m] * old[m]
            past[m] += to_float(d[m]) * r[m]
            r[m] = to_float(d[m]) * old[m] * (r[m] - r[m] * r[m])
        both[b] = gates[t, b, : 2 * M]


@compiled
def before_forward(ends: Any, f: int, x: Any, weight_x: Any, bias: Any, h0: Any, weight: Any) -> Any:
    """Run all steps forward."""
    (T, B, _), M = x.shape, h0.shape[1]
    h, gates = state_buffer(h0, T), np.empty((T, B, 3 * M), x.dtype)
    project(x, weight_x, gates)
    both_weight, inner_weight = transposed(weight[: 2 * M]), transposed(weight[2 * M :])
    h_matmul, reset_h, inner = np.empty((B, 2 * M), x.dtype), np.empty_like(h0), np.empty_like(h0)
    for t in range(T):
        multiply(h[t], both_weight, h_matmul)
        reset(t, ends, gates, h, bias, reset_h, h_matmul)
        multiply(reset_h, inner_weight, inner)
        blend(t, ends, f, gates, h, bias, inner)
    return h, gates


@compiled
def before_backward(
    ends: Any, f: int, x: Any, weight_x: Any, weight: Any, h: Any, gates: Any, d_outputs: Any, d_h_carry: Any
) -> Any:
    """Run all steps backward."""
    T, B, M = d_outputs.shape
    gates, reset_h, d_h_matmul = gates.copy(), np.empty_like(d_outputs), np.zeros_like(d_h_carry)
    both, sums, d_reset_h = np.empty((B, 2 * M), x.dtype), np.empty_like(d_h_carry), np.empty_like(d_h_carry)
    for t in range(T - 1, -1, -1):
        blend_backward(t, ends, f, gates, h, d_outputs, sums, d_h_carry, d_h_matmul)
        multiply(sums, weight[2 * M :], d_reset_h)
        reset_backward(t, ends, gates, h, reset_h, both, d_h_carry, d_reset_h)
        multiply(both, weight[: 2 * M], d_h_matmul)
    d_weight = np.empty_like(weight)
    d_weight[: 2 * M] = weight_gradient(gates[:, :, : 2 * M], h)
    d_weight[2 * M :] = weight_gradient(gates[:, :, 2 * M :], reset_h)
    return (*input_gradients(gates, x, weight_x), added(d_h_matmul, d_h_carry), d_weight)


class ResetBeforeKernel(Kernel):
    """ĥ = f(x Wxh + (r h') Whh + bh), gates (r, z, ĥ); weights: Wh (3 M, M)."""

    compiled_forward = before_forward
    compiled_backward = before_backward

    @staticmethod
    def forward(loop: TimeLoop, tape: Tape) -> tuple[Tensor, ...]:
        gates, (h,), bias, (weight,) = tape.gates, tape.states, tape.bias, tape.weights
        _, B, M = h.shape
        reset_h = h.new_empty(B, M)
        loop.forward(
            LoopStage(reset, (gates, h, bias, reset_h), h[:-1], weight[: 2 * M].t()),
            LoopStage(blend, (loop.f, gates, h, bias), reset_h[None], weight[2 * M :].t()),
        )
        return ()

    @staticmethod
    def backward(loop: TimeLoop, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        gates, (h,), (weight,), (d_h_carry,) = tape.gates, tape.states, tape.weights, d_last
        _, B, M = h.shape
        reset_h, both, sums = empty_huge(d_outputs, *d_outputs.shape), h.new_empty(B, 2 * M), h.new_empty(B, M)
        d_h_matmul = loop.backward(
            LoopStage(blend_backward, (loop.f, gates, h, d_outputs, sums, d_h_carry), sums[None], weight[2 * M :]),
            LoopStage(reset_backward, (gates, h, reset_h, both, d_h_carry), both[None], weight[: 2 * M]),
        )
        d_weight = (
            loop.weight_gradient(gates[:, :, : 2 * M], h[:-1]),
            loop.weight_gradient(gates[:, :, 2 * M :], reset_h),
        )
        return Gradients(gates, (d_h_matmul + d_h_carry,), (torch.cat(d_weight),))


@compiled
def after_step(
    t: int, ends: Any, f: int, gates: Any, h: Any, inner: Any, bias: Any, bias_hh: Any, h_matmul: Any
) -> None:
    """Compute a whole step from its only matmul; `inner` (T, B, M) is the part that enters the candidate."""
    M = h.shape[2]
    for b in range(ends.size):
        old, new, given = h[t, b], h[t + 1, b], inner[t, b]
        if t >= ends[b]:
            new[:] = old
            given[:] = 0
            continue
        both, r, z, candidate = gates[t, b, : 2 * M], gates[t, b, :M], gates[t, b, M : 2 * M], gates[t, b, 2 * M :]
        for m in range(2 * M):
            both[m] += bias[m] + to_float(h_matmul[b, m])
        sigmoid(both)
        for m in range(M):
            given[m] = to_float(h_matmul[b, 2 * M + m]) + bias_hh[m]
            candidate[m] += bias[2 * M + m] + r[m] * given[m]
        activate(f, candidate)
        for m in range(M):
            new[m] = old[m] + z[m] * (candidate[m] - old[m])


@compiled
def after_step_backward(
    t: int,
    ends: Any,
    f: int,
    gates: Any,
    h: Any,
    inner: Any,
    d_outputs: Any,
    sums: Any,
    d_h_carry: Any,
    d_h_matmul: Any,
) -> None:
    """Replace the gates and `inner` by their gradients; those of the matmul are copied to `sums` (B, 3 M)."""
    M = h.shape[2]
    for b in range(ends.size):
        past, sent, given = d_h_carry[b], sums[b, :M], inner[t, b]
        for m in range(M):
            past[m] += d_outputs[t, b, m] + to_float(d_h_matmul[b, m])
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
        activate_backward(f, candidate, sent)
        for m in range(M):
            share = candidate[m] * r[m]
            r[m] = candidate[m] * given[m] * (r[m] - r[m] * r[m])
            given[m] = share
        sums[b, : 2 * M] = gates[t, b, : 2 * M]
        sums[b, 2 * M :] = given


@compiled
def after_forward(ends: Any, f: int, x: Any, weight_x: Any, bias: Any, h0: Any, weight: Any, bias_hh: Any) -> Any:
    """Run all steps forward."""
    (T, B, _), M = x.shape, h0.shape[1]
    h, gates, inner = state_buffer(h0, T), np.empty((T, B, 3 * M), x.dtype), np.empty((T, B, M), x.dtype)
    project(x, weight_x, gates)
    columns, h_matmul = transposed(weight), np.empty((B, 3 * M), x.dtype)
    for t in range(T):
        multiply(h[t], columns, h_matmul)
        after_step(t, ends, f, gates, h, inner, bias, bias_hh, h_matmul)
    return h, gates, inner


@compiled
def after_backward(
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
    d_h_carry: Any,
) -> Any:
    """Run all steps backward."""
    T, B, M = d_outputs.shape
    gates, inner, d_h_matmul = gates.copy(), inner.copy(), np.zeros_like(d_h_carry)
    sums, d_weight = np.empty((B, 3 * M), x.dtype), np.empty_like(weight)
    for t in range(T - 1, -1, -1):
        after_step_backward(t, ends, f, gates, h, inner, d_outputs, sums, d_h_carry, d_h_matmul)
        multiply(sums, weight, d_h_matmul)
    d_weight[: 2 * M] = weight_gradient(gates[:, :, : 2 * M], h)
    d_weight[2 * M :] = weight_gradient(inner, h)
    return (*input_gradients(gates, x, weight_x), added(d_h_matmul, d_h_carry), d_weight, total(inner))


class ResetAfterKernel(Kernel):
    """ĥ = f(x Wxh + bh + r (h' Whh + bhh)), gates (r, z, ĥ); weights: Wh (3 M, M), bhh (M,)."""

    compiled_forward = after_forward
    compiled_backward = after_backward

    @staticmethod
    def forward(loop: TimeLoop, tape: Tape) -> tuple[Tensor, ...]:
        gates, (h,), (weight, bias_hh) = tape.gates, tape.states, tape.weights
        inner = torch.empty_like(h[1:])
        loop.forward(LoopStage(after_step, (loop.f, gates, h, inner, tape.bias, bias_hh), h[:-1], weight.t()))
        return (inner,)

    @staticmethod
    def backward(loop: TimeLoop, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        gates, (h,), (weight, _), (d_h_carry,), (inner,) = tape.gates, tape.states, tape.weights, d_last, tape.kept
        M = h.shape[2]
        sums = torch.empty_like(gates[0])
        buffers = loop.f, gates, h, inner, d_outputs, sums, d_h_carry
        d_h_matmul = loop.backward(LoopStage(after_step_backward, buffers, sums[None], weight))
        d_weight = loop.weight_gradient(gates[:, :, : 2 * M], h[:-1]), loop.weight_gradient(inner, h[:-1])
        return Gradients(gates, (d_h_matmul + d_h_carry,), (torch.cat(d_weight), bias_gradient(inner)))
