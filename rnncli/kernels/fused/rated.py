"""The rated unit, fused: the candidate and the rate of each step are kept."""

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
    transposed,
    weight_gradient,
)
from rnncli.kernels.fused.scan import Gradients, Kernel, Tape
from rnncli.kernels.fused.time_loop import LoopStage, TimeLoop


@compiled
def step_forward(t: int, ends: Any, f: int, gates: Any, h: Any, bias: Any, h_matmul: Any) -> None:
    """Blend the candidate into the old h."""
    M = h.shape[2]
    for b in range(ends.size):
        old, new = h[t, b], h[t + 1, b]
        if t >= ends[b]:
            new[:] = old
            continue
        a = gates[t, b]
        for m in range(a.size):
            a[m] += bias[m] + to_float(h_matmul[b, m])
        candidate, z = a[:M], a[M:]
        activate(f, candidate)
        sigmoid(z)
        for m in range(M):
            new[m] = old[m] + z[m] * (candidate[m] - old[m])


@compiled
def step_backward(
    t: int, ends: Any, f: int, gates: Any, h: Any, d_outputs: Any, spare: Any, d_h_carry: Any, d_h_matmul: Any
) -> None:
    """Replace the gates by their gradients.

    `d_h_carry` becomes the part of the old h's gradient that does not come from the matmul; `spare` (M,) is scratch
    space.
    """
    M = h.shape[2]
    for b in range(ends.size):
        past, sent = d_h_carry[b], d_h_matmul[b]
        for m in range(M):
            past[m] += d_outputs[t, b, m] + to_float(sent[m])
        if t >= ends[b]:
            gates[t, b] = 0
            continue
        candidate, z, old = gates[t, b, :M], gates[t, b, M:], h[t, b]
        for m in range(M):
            share = past[m] * z[m]
            z[m] = past[m] * (candidate[m] - old[m]) * (z[m] - z[m] * z[m])
            spare[m] = share
            past[m] -= share
        activate_backward(f, candidate, spare)


@compiled
def compiled_forward(ends: Any, f: int, x: Any, weight_x: Any, bias: Any, h0: Any, weight: Any) -> Any:
    """Run all steps forward."""
    T, B, _ = x.shape
    h, gates = state_buffer(h0, T), np.empty((T, B, bias.size), x.dtype)
    project(x, weight_x, gates)
    columns, h_matmul = transposed(weight), np.empty((B, bias.size), x.dtype)
    for t in range(T):
        multiply(h[t], columns, h_matmul)
        step_forward(t, ends, f, gates, h, bias, h_matmul)
    return h, gates


@compiled
def compiled_backward(
    ends: Any, f: int, x: Any, weight_x: Any, weight: Any, h: Any, gates: Any, d_outputs: Any, d_h_carry: Any
) -> Any:
    """Run all steps backward."""
    gates, d_h_matmul, spare = gates.copy(), np.zeros_like(d_h_carry), np.empty_like(d_h_carry[0])
    for t in range(len(x) - 1, -1, -1):
        step_backward(t, ends, f, gates, h, d_outputs, spare, d_h_carry, d_h_matmul)
        multiply(gates[t], weight, d_h_matmul)
    return (*input_gradients(gates, x, weight_x), added(d_h_matmul, d_h_carry), weight_gradient(gates, h))


class RatedKernel(Kernel):
    """h = (1 - z) h' + z ĥ, gates (ĥ, z); weights: Wh (2 M, M)."""

    compiled_forward = compiled_forward
    compiled_backward = compiled_backward

    @staticmethod
    def forward(loop: TimeLoop, tape: Tape) -> tuple[Tensor, ...]:
        gates, (h,), (weight,) = tape.gates, tape.states, tape.weights
        loop.forward(LoopStage(step_forward, (loop.f, gates, h, tape.bias), h[:-1], weight.t()))
        return ()

    @staticmethod
    def backward(loop: TimeLoop, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        gates, (h,), (weight,), (d_h_carry,) = tape.gates, tape.states, tape.weights, d_last
        spare = torch.empty_like(d_h_carry[0])
        d_h_matmul = loop.backward(
            LoopStage(step_backward, (loop.f, gates, h, d_outputs, spare, d_h_carry), gates, weight)
        )
        return Gradients(gates, (d_h_matmul + d_h_carry,), (loop.weight_gradient(gates, h[:-1]),))
