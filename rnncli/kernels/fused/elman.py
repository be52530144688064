"""Elman's unit, fused: nothing is kept of a step but h, for the slope of f is known from it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
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
    turned,
    wide,
)
from rnncli.kernels.fused.scan import Gradients, Kernel, Tape
from rnncli.kernels.fused.steps import Stage, Steps
from rnncli.kernels.memory import room


@compiled
def ahead(t: int, ends: Any, f: int, h: Any, bias: Any, product: Any) -> None:
    """Turn the projected input that lies at h[t + 1] into the state after step t."""
    for b in range(ends.size):
        new = h[t + 1, b]
        if t >= ends[b]:
            new[:] = h[t, b]
            continue
        for m in range(new.size):
            new[m] += bias[m] + wide(product[b, m])
        activate(f, new)


@compiled
def back(t: int, ends: Any, f: int, h: Any, d_outputs: Any, d_gates: Any, beside: Any, through: Any) -> None:
    """The gradient of what f was applied to at step t, from the output's own and that of the steps after it."""
    for b in range(ends.size):
        d, past, sent = d_gates[t, b], beside[b], through[b]
        for m in range(d.size):
            past[m] += d_outputs[t, b, m] + wide(sent[m])
        if t >= ends[b]:
            d[:] = 0
            continue
        d[:] = h[t + 1, b]
        deactivate(f, d, past)
        past[:] = 0


@compiled
def whole_ahead(ends: Any, f: int, x: Any, weight_x: Any, bias: Any, h0: Any, weight: Any) -> Any:
    """All of the way forward."""
    h = begin(h0, len(x))
    project(x, weight_x, h[1:])
    columns, product = turned(weight), np.empty_like(h0)
    for t in range(len(x)):
        multiply(h[t], columns, product)
        ahead(t, ends, f, h, bias, product)
    return (h,)


@compiled
def whole_back(ends: Any, f: int, x: Any, weight_x: Any, weight: Any, h: Any, d_outputs: Any, beside: Any) -> Any:
    """All of the way back."""
    d_gates, through = np.empty_like(d_outputs), np.zeros_like(beside)
    for t in range(len(x) - 1, -1, -1):
        back(t, ends, f, h, d_outputs, d_gates, beside, through)
        multiply(d_gates[t], weight, through)
    return (*input_gradients(d_gates, x, weight_x), added(through, beside), gather(d_gates, h))


class ElmanKernel(Kernel):
    """h = f(x Wx + h' Wh + b); weights: Wh (M, M)."""

    in_place = True
    whole_ahead = whole_ahead
    whole_back = whole_back

    @staticmethod
    def forward(steps: Steps, tape: Tape) -> tuple[Tensor, ...]:
        (h,), (weight,) = tape.states, tape.weights
        steps.forward(Stage(ahead, (steps.f, h, tape.bias), h[:-1], weight.t()))
        return ()

    @staticmethod
    def backward(steps: Steps, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        (h,), (weight,), (beside,) = tape.states, tape.weights, d_last
        d_gates = room(d_outputs, *d_outputs.shape)
        through = steps.backward(Stage(back, (steps.f, h, d_outputs, d_gates, beside), d_gates, weight))
        return Gradients(d_gates, (through + beside,), (steps.weight_gradient(d_gates, h[:-1]),))
