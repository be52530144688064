"""Elman's unit, fused: nothing is kept of a step but h, for the slope of f is known from it."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from rnncli.kernels.fused.arithmetic import activate, compiled, deactivate, multiply
from rnncli.kernels.fused.scan import Gradients, Kernel, Run, Stage, Tape


@compiled
def ahead(t: int, ends: Any, f: int, h: Any, product: Any) -> None:
    """Turn the projected input that lies at h[t + 1] into the state after step t."""
    for b in range(ends.size):
        new = h[t + 1, b]
        if t >= ends[b]:
            new[:] = h[t, b]
            continue
        for m in range(new.size):
            new[m] += product[b, m]
        activate(f, new)


@compiled
def back(t: int, ends: Any, f: int, h: Any, d_outputs: Any, d_gates: Any, through: Any, beside: Any) -> None:
    """The gradient of what f was applied to at step t: of the output's own, and of the steps after it."""
    for b in range(ends.size):
        d, past = d_gates[t, b], beside[b]
        for m in range(d.size):
            d[m] = d_outputs[t, b, m] + through[b, m] + past[m]
        if t >= ends[b]:
            past[:] = d
            d[:] = 0
            continue
        past[:] = 0
        deactivate(f, h[t + 1, b], d)


@compiled
def all_ahead(ends: Any, f: int, h: Any, product: Any, weight: Any) -> None:
    """The whole way forward, products included."""
    for t in range(len(h) - 1):
        multiply(h[t], weight, product)
        ahead(t, ends, f, h, product)


@compiled
def all_back(ends: Any, f: int, h: Any, d_outputs: Any, d_gates: Any, through: Any, beside: Any, weight: Any) -> None:
    """The whole way back, products included."""
    for t in range(len(h) - 2, -1, -1):
        back(t, ends, f, h, d_outputs, d_gates, through, beside)
        multiply(d_gates[t], weight, through)


class ElmanKernel(Kernel):
    """h = f(x Wx + h' Wh + b); weights: Wh (M, M)."""

    in_place = True

    @staticmethod
    def forward(run: Run, tape: Tape) -> tuple[Tensor, ...]:
        (h,), (weight,) = tape.states, tape.weights
        product = h.new_empty(h.shape[1:])
        buffers = run.f, h, product
        run.forward(all_ahead, [Stage(ahead, buffers, h[:-1], run.turned(weight), product)], *buffers)
        return ()

    @staticmethod
    def backward(run: Run, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        (h,), (weight,), (beside,) = tape.states, tape.weights, d_last
        d_gates, through = h.new_empty(d_outputs.shape), h.new_zeros(h.shape[1:])
        buffers = run.f, h, d_outputs, d_gates, through, beside
        run.backward(all_back, [Stage(back, buffers, d_gates, weight, through)], *buffers)
        return Gradients(d_gates, (through + beside,), (run.gather(d_gates, h[:-1]),))
