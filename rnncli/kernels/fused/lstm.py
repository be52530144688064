"""The LSTM with each kind of peepholes, fused: i, f, the new content g, o and c of each step are kept.

Full peepholes have two matmuls per step: one computes what the new c adds to o and to the next i and f. `peep` (B, 3 M)
holds what the new c adds to i and f of the next step and to o of this one; `d_peep` holds their gradients.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnncli.kernels.fused.arithmetic import (
    added,
    compiled,
    input_gradients,
    multiply,
    project,
    sigmoid,
    state_buffer,
    tanh,
    to_float,
    transposed,
    weight_gradient,
)
from rnncli.kernels.fused.scan import Gradients, Kernel, Tape, bias_gradient
from rnncli.kernels.fused.time_loop import LoopStage, TimeLoop


@compiled
def remember(a: Any, old: Any, new: Any) -> None:
    """Compute the gates i and f and the new content, (3 M,) in place, and from them the new c."""
    M = new.size
    sigmoid(a[: 2 * M])
    tanh(a[2 * M :])
    for m in range(M):
        new[m] = a[M + m] * old[m] + a[m] * a[2 * M + m]


@compiled
def emit(o: Any, c: Any, h: Any) -> None:
    """Compute the gate o, in place, and h."""
    sigmoid(o)
    h[:] = c
    tanh(h)
    for m in range(h.size):
        h[m] *= o[m]


@compiled
def emit_backward(o: Any, c: Any, d_h: Any, d_c: Any, y: Any) -> None:
    """Replace o by its gradient, given h's, and add to c's; y (M,) is scratch space for tanh(c)."""
    one = c.dtype.type(1)
    y[:] = c
    tanh(y)
    for m in range(c.size):
        d_c[m] += d_h[m] * o[m] * (one - y[m] * y[m])
        o[m] = d_h[m] * y[m] * (o[m] - o[m] * o[m])


@compiled
def remember_backward(a: Any, old: Any, d_c: Any) -> None:
    """Replace i, f and the new content, (3 M,), by their gradients, and c's gradient by the old c's."""
    M = old.size
    one = old.dtype.type(1)
    for m in range(M):
        i, f, g, d = a[m], a[M + m], a[2 * M + m], d_c[m]
        a[m] = d * g * (i - i * i)
        a[M + m] = d * old[m] * (f - f * f)
        a[2 * M + m] = d * i * (one - g * g)
        d_c[m] = d * f


@compiled
def step_forward(
    t: int, ends: Any, gates: Any, h: Any, c: Any, bias: Any, inner: Any, outer: Any, h_matmul: Any
) -> None:
    """Compute a whole step from its only matmul; `inner` (2 M,) and `outer` (M,) are diagonal peepholes, or empty."""
    M = h.shape[2]
    for b in range(ends.size):
        old, new = c[t, b], c[t + 1, b]
        if t >= ends[b]:
            h[t + 1, b] = h[t, b]
            new[:] = old
            continue
        a = gates[t, b]
        for m in range(4 * M):
            a[m] += bias[m] + to_float(h_matmul[b, m])
        for m in range(outer.size):
            a[m] += inner[m] * old[m]
            a[M + m] += inner[M + m] * old[m]
        remember(a[: 3 * M], old, new)
        for m in range(outer.size):
            a[3 * M + m] += outer[m] * new[m]
        emit(a[3 * M :], new, h[t + 1, b])


@compiled
def step_backward(
    t: int,
    ends: Any,
    gates: Any,
    c: Any,
    inner: Any,
    outer: Any,
    d_outputs: Any,
    spare: Any,
    d_h_carry: Any,
    d_c: Any,
    d_h_matmul: Any,
) -> None:
    """Replace the gates by their gradients, and the new c's gradient `d_c` by the old c's; `spare` (M,) is scratch."""
    M = c.shape[2]
    for b in range(ends.size):
        past, memory, a = d_h_carry[b], d_c[b], gates[t, b]
        for m in range(M):
            past[m] += d_outputs[t, b, m] + to_float(d_h_matmul[b, m])
        if t >= ends[b]:
            a[:] = 0
            continue
        emit_backward(a[3 * M :], c[t + 1, b], past, memory, spare)
        past[:] = 0
        for m in range(outer.size):
            memory[m] += a[3 * M + m] * outer[m]
        remember_backward(a[: 3 * M], c[t, b], memory)
        for m in range(outer.size):
            memory[m] += a[m] * inner[m] + a[M + m] * inner[M + m]


@compiled
def compiled_forward(
    ends: Any, _f: int, x: Any, weight_x: Any, bias: Any, h0: Any, c0: Any, weight: Any, inner: Any, outer: Any
) -> Any:
    """Run all steps forward."""
    T, B, _ = x.shape
    h, c, gates = state_buffer(h0, T), state_buffer(c0, T), np.empty((T, B, bias.size), x.dtype)
    project(x, weight_x, gates)
    columns, h_matmul = transposed(weight), np.empty((B, bias.size), x.dtype)
    for t in range(T):
        multiply(h[t], columns, h_matmul)
        step_forward(t, ends, gates, h, c, bias, inner, outer, h_matmul)
    return h, c, gates


@compiled
def compiled_backward(
    ends: Any,
    _f: int,
    x: Any,
    weight_x: Any,
    weight: Any,
    inner: Any,
    outer: Any,
    h: Any,
    c: Any,
    gates: Any,
    d_outputs: Any,
    d_h_carry: Any,
    d_c: Any,
) -> Any:
    """Run all steps backward."""
    M = h.shape[2]
    gates, d_h_matmul, spare = gates.copy(), np.zeros_like(d_h_carry), np.empty_like(d_h_carry[0])
    for t in range(len(x) - 1, -1, -1):
        step_backward(t, ends, gates, c, inner, outer, d_outputs, spare, d_h_carry, d_c, d_h_matmul)
        multiply(gates[t], weight, d_h_matmul)
    d_inner, d_outer = np.zeros_like(inner), np.zeros_like(outer)
    for t in range(len(x)):
        for b in range(ends.size):
            for m in range(outer.size):
                d_inner[m] += gates[t, b, m] * c[t, b, m]
                d_inner[M + m] += gates[t, b, M + m] * c[t, b, m]
                d_outer[m] += gates[t, b, 3 * M + m] * c[t + 1, b, m]
    d_inputs = input_gradients(gates, x, weight_x)
    return (*d_inputs, added(d_h_matmul, d_h_carry), d_c, weight_gradient(gates, h), d_inner, d_outer)


class LSTMKernel(Kernel):
    """Gates (i, f, c, o); weights: Wh (4 M, M), then the diagonals Wci and Wcf (2 M,) and Wco (M,), or empty ones."""

    fields = 2
    compiled_forward = compiled_forward
    compiled_backward = compiled_backward

    @staticmethod
    def forward(loop: TimeLoop, tape: Tape) -> tuple[Tensor, ...]:
        gates, (h, c), (weight, inner, outer) = tape.gates, tape.states, tape.weights
        loop.forward(LoopStage(step_forward, (gates, h, c, tape.bias, inner, outer), h[:-1], weight.t()))
        return ()

    @staticmethod
    def backward(loop: TimeLoop, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        gates, (h, c), (weight, inner, outer), (d_h_carry, d_c) = tape.gates, tape.states, tape.weights, d_last
        buffers = gates, c, inner, outer, d_outputs, torch.empty_like(d_h_carry[0]), d_h_carry, d_c
        d_h_matmul = loop.backward(LoopStage(step_backward, buffers, gates, weight))
        d_peepholes = [torch.empty_like(inner), torch.empty_like(outer)]
        if len(outer):
            i, f, _, o = gates.chunk(4, dim=-1)
            d_inner = torch.cat([bias_gradient(i * c[:-1]), bias_gradient(f * c[:-1])])
            d_peepholes = [d_inner, bias_gradient(o * c[1:])]
        return Gradients(gates, (d_h_matmul + d_h_carry, d_c), (loop.weight_gradient(gates, h[:-1]), *d_peepholes))


@compiled
def full_remember(t: int, ends: Any, gates: Any, c: Any, bias: Any, h_matmul: Any) -> None:
    """Compute the new c from the matmul of h."""
    M = c.shape[2]
    for b in range(ends.size):
        if t >= ends[b]:
            c[t + 1, b] = c[t, b]
            continue
        a = gates[t, b]
        for m in range(4 * M):
            a[m] += bias[m] + to_float(h_matmul[b, m])
        remember(a[: 3 * M], c[t, b], c[t + 1, b])


@compiled
def full_emit(t: int, ends: Any, gates: Any, h: Any, c: Any, peep: Any) -> None:
    """Compute the new h from the matmul of the new c, which also adds to the next i and f."""
    M = c.shape[2]
    for b in range(ends.size):
        if t + 1 < len(gates):
            following = gates[t + 1, b]
            for m in range(2 * M):
                following[m] += to_float(peep[b, m])
        if t >= ends[b]:
            h[t + 1, b] = h[t, b]
            continue
        o = gates[t, b, 3 * M :]
        for m in range(M):
            o[m] += to_float(peep[b, 2 * M + m])
        emit(o, c[t + 1, b], h[t + 1, b])


@compiled
def full_emit_backward(
    t: int,
    ends: Any,
    gates: Any,
    c: Any,
    d_outputs: Any,
    d_peep: Any,
    spare: Any,
    d_h_carry: Any,
    d_c: Any,
    d_h_matmul: Any,
) -> None:
    """Replace o by its gradient, which flows back to the new c together with those of the next i and f."""
    M = c.shape[2]
    for b in range(ends.size):
        past, o = d_h_carry[b], gates[t, b, 3 * M :]
        for m in range(M):
            past[m] += d_outputs[t, b, m] + to_float(d_h_matmul[b, m])
        if t >= ends[b]:
            o[:] = 0
        else:
            emit_backward(o, c[t + 1, b], past, d_c[b], spare)
            past[:] = 0
        d_peep[b, 2 * M :] = o


@compiled
def full_remember_backward(t: int, ends: Any, gates: Any, c: Any, d_peep: Any, d_c: Any, from_peep: Any) -> None:
    """Replace the other three gates by their gradients, and the new c's gradient `d_c` by the old c's."""
    M = c.shape[2]
    for b in range(ends.size):
        memory, a = d_c[b], gates[t, b, : 3 * M]
        for m in range(M):
            memory[m] += to_float(from_peep[b, m])
        if t >= ends[b]:
            a[:] = 0
        else:
            remember_backward(a, c[t, b], memory)
        d_peep[b, : 2 * M] = a[: 2 * M]


@compiled
def full_forward(
    ends: Any, _f: int, x: Any, weight_x: Any, bias: Any, h0: Any, c0: Any, weight: Any, inner: Any, outer: Any
) -> Any:
    """Run all steps forward."""
    (T, B, _), M = x.shape, h0.shape[1]
    h, c, gates = state_buffer(h0, T), state_buffer(c0, T), np.empty((T, B, 4 * M), x.dtype)
    project(x, weight_x, gates)
    columns, peep_weight = transposed(weight), transposed(np.concatenate((inner, outer)))
    h_matmul, peep = np.empty((B, 4 * M), x.dtype), np.empty((B, 3 * M), x.dtype)
    multiply(c0, peep_weight, peep)
    gates[0, :, : 2 * M] += peep[:, : 2 * M]
    for t in range(T):
        multiply(h[t], columns, h_matmul)
        full_remember(t, ends, gates, c, bias, h_matmul)
        multiply(c[t + 1], peep_weight, peep)
        full_emit(t, ends, gates, h, c, peep)
    return h, c, gates


@compiled
def full_backward(
    ends: Any,
    _f: int,
    x: Any,
    weight_x: Any,
    weight: Any,
    inner: Any,
    outer: Any,
    h: Any,
    c: Any,
    gates: Any,
    d_outputs: Any,
    d_h_carry: Any,
    d_c: Any,
) -> Any:
    """Run all steps backward."""
    T, B, M = d_outputs.shape
    gates, peep_weight = gates.copy(), np.concatenate((inner, outer))
    d_h_matmul, d_peep, from_peep = np.zeros_like(d_h_carry), np.zeros((B, 3 * M), x.dtype), np.empty_like(d_h_carry)
    spare = np.empty_like(d_h_carry[0])
    for t in range(T - 1, -1, -1):
        full_emit_backward(t, ends, gates, c, d_outputs, d_peep, spare, d_h_carry, d_c, d_h_matmul)
        multiply(d_peep, peep_weight, from_peep)
        full_remember_backward(t, ends, gates, c, d_peep, d_c, from_peep)
        multiply(gates[t], weight, d_h_matmul)
    d_peep[:, 2 * M :] = 0
    multiply(d_peep, peep_weight, from_peep)  # what c0 added to the first i and f
    d_inner, d_outer = weight_gradient(gates[:, :, : 2 * M], c), weight_gradient(gates[:, :, 3 * M :], c[1:])
    d_inputs = input_gradients(gates, x, weight_x)
    return (*d_inputs, added(d_h_matmul, d_h_carry), added(d_c, from_peep), weight_gradient(gates, h), d_inner, d_outer)


class FullLSTMKernel(Kernel):
    """Gates (i, f, c, o); weights: Wh (4 M, M), Wci and Wcf (2 M, M), Wco (M, M)."""

    fields = 2
    compiled_forward = full_forward
    compiled_backward = full_backward

    @staticmethod
    def forward(loop: TimeLoop, tape: Tape) -> tuple[Tensor, ...]:
        gates, (h, c), (weight, inner, outer) = tape.gates, tape.states, tape.weights
        gates[0, :, : len(inner)].addmm_(c[0], inner.t())
        loop.forward(
            LoopStage(full_remember, (gates, c, tape.bias), h[:-1], weight.t()),
            LoopStage(full_emit, (gates, h, c), c[1:], torch.cat([inner, outer]).t()),
        )
        return ()

    @staticmethod
    def backward(loop: TimeLoop, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        gates, (h, c), (weight, inner, outer), (d_h_carry, d_c) = tape.gates, tape.states, tape.weights, d_last
        M = h.shape[2]
        d_peep = h.new_zeros(len(d_h_carry), 3 * M)
        first = gates, c, d_outputs, d_peep, torch.empty_like(d_h_carry[0]), d_h_carry, d_c
        d_h_matmul = loop.backward(
            LoopStage(full_emit_backward, first, d_peep[None], torch.cat([inner, outer])),
            LoopStage(full_remember_backward, (gates, c, d_peep, d_c), gates, weight),
        )
        d_c = torch.addmm(d_c, d_peep[:, : 2 * M], inner)  # what c0 added to the first i and f
        d_inner, d_outer = (
            loop.weight_gradient(gates[:, :, : 2 * M], c[:-1]),
            loop.weight_gradient(gates[:, :, 3 * M :], c[1:]),
        )
        return Gradients(gates, (d_h_matmul + d_h_carry, d_c), (loop.weight_gradient(gates, h[:-1]), d_inner, d_outer))
