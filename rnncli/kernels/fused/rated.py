"""The rated unit, fused: of each step the candidate and the rate are kept, where the projected inputs lay."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from rnncli.kernels.fused.arithmetic import activate, compiled, deactivate, multiply, sigmoid
from rnncli.kernels.fused.scan import Gradients, Kernel, Run, Stage, Tape


@compiled
def ahead(t: int, ends: Any, f: int, gates: Any, h: Any, product: Any) -> None:
    """Blend the new value into the old one."""
    M = h.shape[2]
    for b in range(ends.size):
        old, new = h[t, b], h[t + 1, b]
        if t >= ends[b]:
            new[:] = old
            continue
        a = gates[t, b]
        for m in range(a.size):
            a[m] += product[b, m]
        candidate, z = a[:M], a[M:]
        activate(f, candidate)
        sigmoid(z)
        for m in range(M):
            new[m] = old[m] + z[m] * (candidate[m] - old[m])


@compiled
def back(
    t: int, ends: Any, f: int, gates: Any, h: Any, d_outputs: Any, d_gates: Any, through: Any, beside: Any
) -> None:
    """Split the gradient of h among candidate, rate and, beside the product, the old h."""
    M = h.shape[2]
    for b in range(ends.size):
        d, past = d_gates[t, b], beside[b]
        for m in range(M):
            past[m] += d_outputs[t, b, m] + through[b, m]
        if t >= ends[b]:
            d[:] = 0
            continue
        candidate, z, old = gates[t, b, :M], gates[t, b, M:], h[t, b]
        for m in range(M):
            d[m] = past[m] * z[m]
            d[M + m] = past[m] * (candidate[m] - old[m]) * (z[m] - z[m] * z[m])
            past[m] -= past[m] * z[m]
        deactivate(f, candidate, d[:M])


@compiled
def all_ahead(ends: Any, f: int, gates: Any, h: Any, product: Any, weight: Any) -> None:
    """The whole way forward, products included."""
    for t in range(len(gates)):
        multiply(h[t], weight, product)
        ahead(t, ends, f, gates, h, product)


@compiled
def all_back(
    ends: Any, f: int, gates: Any, h: Any, d_outputs: Any, d_gates: Any, through: Any, beside: Any, weight: Any
) -> None:
    """The whole way back, products included."""
    for t in range(len(gates) - 1, -1, -1):
        back(t, ends, f, gates, h, d_outputs, d_gates, through, beside)
        multiply(d_gates[t], weight, through)


class RatedKernel(Kernel):
    """h = (1 - z) h' + z ĥ, gates (ĥ, z); weights: Wh (2 M, M)."""

    @staticmethod
    def forward(run: Run, tape: Tape) -> tuple[Tensor, ...]:
        (h,), (weight,) = tape.states, tape.weights
        turned = run.turned(weight)
        product = h.new_empty(h.shape[1], turned.shape[1])
        buffers = run.f, tape.gates, h, product
        run.forward(all_ahead, [Stage(ahead, buffers, h[:-1], turned, product)], *buffers)
        return ()

    @staticmethod
    def backward(run: Run, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        (h,), (weight,), (beside,) = tape.states, tape.weights, d_last
        d_gates, through = h.new_empty(tape.gates.shape), h.new_zeros(h.shape[1:])
        buffers = run.f, tape.gates, h, d_outputs, d_gates, through, beside
        run.backward(all_back, [Stage(back, buffers, d_gates, weight, through)], *buffers)
        return Gradients(d_gates, (through + beside,), (run.gather(d_gates, h[:-1]),))
