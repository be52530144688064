"""Elman's unit, fused: only h is kept of each step, since it determines the slope of f."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from rnncli.kernels.fused.arithmetic import (
    activate,
    activate_backward,
    added,
    compiled,
    input_gradients,
    multiply,
    project,
    state_buffer,
    to_float,
    transposed,
    weight_gradient,
)
from rnncli.kernels.fused.scan import Gradients, Kernel, Tape
from rnncli.kernels.fused.time_loop import LoopStage, TimeLoop
from rnncli.kernels.memory import empty_huge


@compiled
def step_forward(t: int, ends: Any, f: int, h: Any, bias: Any, h_matmul: Any) -> None:
    """Replace the projected input at h[t + 1] by the state after step t."""
    for b in range(ends.size):
        new = h[t + 1, b]
        if t >= ends[b]:
            new[:] = h[t, b]
            continue
        for m in range(new.size):
            new[m] += bias[m] + to_float(h_matmul[b, m])
        activate(f, new)


@compiled
def step_backward(
    t: int, ends: Any, f: int, h: Any, d_outputs: Any, d_gates: Any, d_h_carry: Any, d_h_matmul: Any
) -> None:
    """Compute the gradient of f's argument at step t, from the output's gradient and that of later steps."""
    for b in range(ends.size):
        d, past, sent = d_gates[t, b], d_h_carry[b], d_h_matmul[b]
        for m in range(d.size):
            past[m] += d_outputs[t, b, m] + to_float(sent[m])
        if t >= ends[b]:
            d[:] = 0
            continue
        d[:] = h[t + 1, b]
        activate_backward(f, d, past)
        past[:] = 0


@compiled
def compiled_forward(ends: Any, f: int, x: Any, weight_x: Any, bias: Any, h0: Any, weight: Any) -> Any:
    """Run all steps forward."""
    h = state_buffer(h0, len(x))
    project(x, weight_x, h[1:])
    columns, h_matmul = transposed(weight), np.empty_like(h0)
    for t in range(len(x)):
        multiply(h[t], columns, h_matmul)
        step_forward(t, ends, f, h, bias, h_matmul)
    return (h,)


@compiled
def compiled_backward(
    ends: Any, f: int, x: Any, weight_x: Any, weight: Any, h: Any, d_outputs: Any, d_h_carry: Any
) -> Any:
    """Run all steps backward."""
    d_gates, d_h_matmul = np.empty_like(d_outputs), np.zeros_like(d_h_carry)
    for t in range(len(x) - 1, -1, -1):
        step_backward(t, ends, f, h, d_outputs, d_gates, d_h_carry, d_h_matmul)
        multiply(d_gates[t], weight, d_h_matmul)
    return (*input_gradients(d_gates, x, weight_x), added(d_h_matmul, d_h_carry), weight_gradient(d_gates, h))


class ElmanKernel(Kernel):
    """h = f(x Wx + h' Wh + b); weights: Wh (M, M)."""

    in_place = True
    compiled_forward = compiled_forward
    compiled_backward = compiled_backward

    @staticmethod
    def forward(loop: TimeLoop, tape: Tape) -> tuple[Tensor, ...]:
        (h,), (weight,) = tape.states, tape.weights
        loop.forward(LoopStage(step_forward, (loop.f, h, tape.bias), h[:-1], weight.t()))
        return ()

    @staticmethod
    def backward(loop: TimeLoop, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        (h,), (weight,), (d_h_carry,) = tape.states, tape.weights, d_last
        d_gates = empty_huge(d_outputs, *d_outputs.shape)
        d_h_matmul = loop.backward(
            LoopStage(step_backward, (loop.f, h, d_outputs, d_gates, d_h_carry), d_gates, weight)
        )
        return Gradients(d_gates, (d_h_matmul + d_h_carry,), (loop.weight_gradient(d_gates, h[:-1]),))
