"""The rated unit, fused: of each step the candidate and the rate are kept."""

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
    turned,
    wide,
)
from rnncli.kernels.fused.scan import Gradients, Kernel, Tape
from rnncli.kernels.fused.steps import Stage, Steps


@compiled
def ahead(t: int, ends: Any, f: int, gates: Any, h: Any, bias: Any, product: Any) -> None:
    """Blend the candidate into the old h."""
    M = h.shape[2]
    for b in range(ends.size):
        old, new = h[t, b], h[t + 1, b]
        if t >= ends[b]:
            new[:] = old
            continue
        a = gates[t, b]
        for m in range(a.size):
            a[m] += bias[m] + wide(product[b, m])
        candidate, z = a[:M], a[M:]
        activate(f, candidate)
        sigmoid(z)
        for m in range(M):
            new[m] = old[m] + z[m] * (candidate[m] - old[m])


@compiled
def back(t: int, ends: Any, f: int, gates: Any, h: Any, d_outputs: Any, spare: Any, beside: Any, through: Any) -> None:
    """Turn the gates into their gradients; `beside` becomes what goes to the old h beside the product; `spare` (M,)."""
    M = h.shape[2]
    for b in range(ends.size):
        past, sent = beside[b], through[b]
        for m in range(M):
            past[m] += d_outputs[t, b, m] + wide(sent[m])
        if t >= ends[b]:
            gates[t, b] = 0
            continue
        candidate, z, old = gates[t, b, :M], gates[t, b, M:], h[t, b]
        for m in range(M):
            share = past[m] * z[m]
            z[m] = past[m] * (candidate[m] - old[m]) * (z[m] - z[m] * z[m])
            spare[m] = share
            past[m] -= share
        deactivate(f, candidate, spare)


@compiled
def whole_ahead(ends: Any, f: int, x: Any, weight_x: Any, bias: Any, h0: Any, weight: Any) -> Any:
    """All of the way forward."""
    T, B, _ = x.shape
    h, gates = begin(h0, T), np.empty((T, B, bias.size), x.dtype)
    project(x, weight_x, gates)
    columns, product = turned(weight), np.empty((B, bias.size), x.dtype)
    for t in range(T):
        multiply(h[t], columns, product)
        ahead(t, ends, f, gates, h, bias, product)
    return h, gates


@compiled
def whole_back(
    ends: Any, f: int, x: Any, weight_x: Any, weight: Any, h: Any, gates: Any, d_outputs: Any, beside: Any
) -> Any:
    """All of the way back."""
    gates, through, spare = gates.copy(), np.zeros_like(beside), np.empty_like(beside[0])
    for t in range(len(x) - 1, -1, -1):
        back(t, ends, f, gates, h, d_outputs, spare, beside, through)
        multiply(gates[t], weight, through)
    return (*input_gradients(gates, x, weight_x), added(through, beside), gather(gates, h))


class RatedKernel(Kernel):
    """h = (1 - z) h' + z ĥ, gates (ĥ, z); weights: Wh (2 M, M)."""

    whole_ahead = whole_ahead
    whole_back = whole_back

    @staticmethod
    def forward(steps: Steps, tape: Tape) -> tuple[Tensor, ...]:
        gates, (h,), (weight,) = tape.gates, tape.states, tape.weights
        steps.forward(Stage(ahead, (steps.f, gates, h, tape.bias), h[:-1], weight.t()))
        return ()

    @staticmethod
    def backward(steps: Steps, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        gates, (h,), (weight,), (beside,) = tape.gates, tape.states, tape.weights, d_last
        spare = torch.empty_like(beside[0])
        through = steps.backward(Stage(back, (steps.f, gates, h, d_outputs, spare, beside), gates, weight))
        return Gradients(gates, (through + beside,), (steps.weight_gradient(gates, h[:-1]),))
