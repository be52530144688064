"""The LSTM's three peepholes, fused: i, f, the new content and o are kept where the projected inputs lay, and c."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rnncli.kernels.fused.arithmetic import compiled, multiply, sigmoid, tanh
from rnncli.kernels.fused.scan import Gradients, Kernel, Run, Stage, Tape

# Without peepholes, or with diagonal ones: one product a step. `inner` (2 M,) and `outer` (M,) are the diagonals, or empty.


@compiled
def ahead(t: int, ends: Any, gates: Any, h: Any, c: Any, inner: Any, outer: Any, product: Any) -> None:
    """All of a step from its one product."""
    M = h.shape[2]
    for b in range(ends.size):
        if t >= ends[b]:
            h[t + 1, b] = h[t, b]
            c[t + 1, b] = c[t, b]
            continue
        a, new = gates[t, b], c[t + 1, b]
        for m in range(a.size):
            a[m] += product[b, m]
        for m in range(outer.size):
            a[m] += inner[m] * c[t, b, m]
            a[M + m] += inner[M + m] * c[t, b, m]
        remember(a[: 3 * M], c[t, b], new)
        o = a[3 * M :]
        for m in range(outer.size):
            o[m] += outer[m] * new[m]
        emit(o, new, h[t + 1, b])


@compiled
def remember(a: Any, old: Any, new: Any) -> None:
    """The gates i and f and the new content, (3 M,) in place, and from them the new c."""
    M = new.size
    i, f, content = a[:M], a[M : 2 * M], a[2 * M :]
    sigmoid(a[: 2 * M])
    tanh(content)
    for m in range(M):
        new[m] = f[m] * old[m] + i[m] * content[m]


@compiled
def emit(o: Any, c: Any, h: Any) -> None:
    """The gate o, in place, and h."""
    sigmoid(o)
    h[:] = c
    tanh(h)
    for m in range(h.size):
        h[m] *= o[m]


@compiled
def unemit(o: Any, c: Any, d_h: Any, d_o: Any, d_c: Any) -> None:
    """From the gradient of h that of o's sum, and c's share of it."""
    one = c.dtype.type(1)
    d_o[:] = c
    tanh(d_o)
    for m in range(c.size):
        y = d_o[m]
        d_c[m] += d_h[m] * o[m] * (one - y * y)
        d_o[m] = d_h[m] * y * (o[m] - o[m] * o[m])


@compiled
def forget(a: Any, old: Any, d_c: Any, d: Any) -> None:
    """From the gradient of c those of the sums of i, f and the new content, (3 M,); what goes on to the old c stays."""
    M = old.size
    one = old.dtype.type(1)
    i, f, content = a[:M], a[M : 2 * M], a[2 * M :]
    for m in range(M):
        d[m] = d_c[m] * content[m] * (i[m] - i[m] * i[m])
    for m in range(M):
        d[M + m] = d_c[m] * old[m] * (f[m] - f[m] * f[m])
    for m in range(M):
        d[2 * M + m] = d_c[m] * i[m] * (one - content[m] * content[m])
        d_c[m] *= f[m]


@compiled
def back(
    t: int,
    ends: Any,
    gates: Any,
    c: Any,
    inner: Any,
    outer: Any,
    d_outputs: Any,
    d_gates: Any,
    through: Any,
    beside: Any,
    d_c: Any,
) -> None:
    """The gradients of all that was added up at step t; `d_c` becomes that of the old c."""
    M = c.shape[2]
    for b in range(ends.size):
        d, past, memory = d_gates[t, b], beside[b], d_c[b]
        for m in range(M):
            past[m] += d_outputs[t, b, m] + through[b, m]
        if t >= ends[b]:
            d[:] = 0
            continue
        a, d_o = gates[t, b], d[3 * M :]
        unemit(a[3 * M :], c[t + 1, b], past, d_o, memory)
        past[:] = 0
        for m in range(outer.size):
            memory[m] += d_o[m] * outer[m]
        forget(a[: 3 * M], c[t, b], memory, d[: 3 * M])
        for m in range(outer.size):
            memory[m] += d[m] * inner[m] + d[M + m] * inner[M + m]


@compiled
def all_ahead(ends: Any, gates: Any, h: Any, c: Any, inner: Any, outer: Any, product: Any, weight: Any) -> None:
    """The whole way forward, products included."""
    for t in range(len(gates)):
        multiply(h[t], weight, product)
        ahead(t, ends, gates, h, c, inner, outer, product)


@compiled
def all_back(
    ends: Any,
    gates: Any,
    c: Any,
    inner: Any,
    outer: Any,
    d_outputs: Any,
    d_gates: Any,
    through: Any,
    beside: Any,
    d_c: Any,
    weight: Any,
) -> None:
    """The whole way back, products included."""
    for t in range(len(gates) - 1, -1, -1):
        back(t, ends, gates, c, inner, outer, d_outputs, d_gates, through, beside, d_c)
        multiply(d_gates[t], weight, through)


class LSTMKernel(Kernel):
    """Gates (i, f, c, o); weights: Wh (4 M, M), and of diagonal peepholes Wci and Wcf (2 M,), Wco (M,)."""

    fields = 2

    @staticmethod
    def forward(run: Run, tape: Tape) -> tuple[Tensor, ...]:
        (h, c), (weight, *diagonals) = tape.states, tape.weights
        product = h.new_empty(h.shape[1], len(weight))
        buffers = tape.gates, h, c, *_peepholes(h, diagonals), product
        run.forward(all_ahead, [Stage(ahead, buffers, h[:-1], run.turned(weight), product)], *buffers)
        return ()

    @staticmethod
    def backward(run: Run, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        (h, c), (weight, *diagonals), (beside, d_c) = tape.states, tape.weights, d_last
        d_gates, through = torch.empty_like(tape.gates), torch.zeros_like(beside)
        buffers = tape.gates, c, *_peepholes(h, diagonals), d_outputs, d_gates, through, beside, d_c
        run.backward(all_back, [Stage(back, buffers, d_gates, weight, through)], *buffers)
        d_weights = [run.gather(d_gates, h[:-1])]
        if diagonals:
            i, f, _, o = d_gates.chunk(4, dim=-1)
            d_weights += [torch.cat([run.total(i * c[:-1]), run.total(f * c[:-1])]), run.total(o * c[1:])]
        return Gradients(d_gates, (through + beside, d_c), d_weights)


def _peepholes(h: Tensor, diagonals: Sequence[Tensor]) -> Sequence[Tensor]:
    return diagonals or (h.new_empty(0), h.new_empty(0))


# Full peepholes: two products a step. What the new c gives o is had in one product with what it gives the next i and f:
# `peep` (B, 3 M) holds for i and f what the old c gave, for o what the new one gives; `d_peep` is that of the way back.


@compiled
def full_remember(t: int, ends: Any, gates: Any, c: Any, product: Any, peep: Any) -> None:
    """The new c, from the product of h and what the old c gave."""
    M = c.shape[2]
    for b in range(ends.size):
        if t >= ends[b]:
            c[t + 1, b] = c[t, b]
            continue
        a = gates[t, b]
        for m in range(a.size):
            a[m] += product[b, m]
        for m in range(2 * M):
            a[m] += peep[b, m]
        remember(a[: 3 * M], c[t, b], c[t + 1, b])


@compiled
def full_emit(t: int, ends: Any, gates: Any, h: Any, c: Any, peep: Any) -> None:
    """The new h, from the product of the new c."""
    M = c.shape[2]
    for b in range(ends.size):
        if t >= ends[b]:
            h[t + 1, b] = h[t, b]
            continue
        o = gates[t, b, 3 * M :]
        for m in range(M):
            o[m] += peep[b, 2 * M + m]
        emit(o, c[t + 1, b], h[t + 1, b])


@compiled
def full_unemit(
    t: int,
    ends: Any,
    gates: Any,
    c: Any,
    d_outputs: Any,
    d_gates: Any,
    d_peep: Any,
    through: Any,
    beside: Any,
    d_c: Any,
) -> None:
    """The gradient of o's sum, which goes back to the new c beside those of the next i and f."""
    M = c.shape[2]
    for b in range(ends.size):
        d_o, past = d_gates[t, b, 3 * M :], beside[b]
        for m in range(M):
            past[m] += d_outputs[t, b, m] + through[b, m]
        if t >= ends[b]:
            d_o[:] = 0
        else:
            unemit(gates[t, b, 3 * M :], c[t + 1, b], past, d_o, d_c[b])
            past[:] = 0
        d_peep[b, 2 * M :] = d_o


@compiled
def full_forget(t: int, ends: Any, gates: Any, c: Any, d_gates: Any, d_peep: Any, d_from_peep: Any, d_c: Any) -> None:
    """The gradients of the other three sums; `d_c` becomes that of the old c."""
    M = c.shape[2]
    for b in range(ends.size):
        d, memory = d_gates[t, b, : 3 * M], d_c[b]
        for m in range(M):
            memory[m] += d_from_peep[b, m]
        if t >= ends[b]:
            d[:] = 0
        else:
            forget(gates[t, b, : 3 * M], c[t, b], memory, d)
        d_peep[b, : 2 * M] = d[: 2 * M]


@compiled
def all_full(ends: Any, gates: Any, h: Any, c: Any, product: Any, peep: Any, weight: Any, peep_weight: Any) -> None:
    """The whole way forward, products included."""
    for t in range(len(gates)):
        multiply(h[t], weight, product)
        full_remember(t, ends, gates, c, product, peep)
        multiply(c[t + 1], peep_weight, peep)
        full_emit(t, ends, gates, h, c, peep)


@compiled
def all_full_back(
    ends: Any,
    gates: Any,
    c: Any,
    d_outputs: Any,
    d_gates: Any,
    d_peep: Any,
    d_from_peep: Any,
    through: Any,
    beside: Any,
    d_c: Any,
    peep_weight: Any,
    weight: Any,
) -> None:
    """The whole way back, products included."""
    for t in range(len(gates) - 1, -1, -1):
        full_unemit(t, ends, gates, c, d_outputs, d_gates, d_peep, through, beside, d_c)
        multiply(d_peep, peep_weight, d_from_peep)
        full_forget(t, ends, gates, c, d_gates, d_peep, d_from_peep, d_c)
        multiply(d_gates[t], weight, through)


class FullLSTMKernel(Kernel):
    """Gates (i, f, c, o); weights: Wh (4 M, M), Wci and Wcf (2 M, M), Wco (M, M)."""

    fields = 2

    @staticmethod
    def forward(run: Run, tape: Tape) -> tuple[Tensor, ...]:
        (h, c), (weight, inner, outer), gates = tape.states, tape.weights, tape.gates
        peep_weight = run.turned(torch.cat([inner, outer]))
        product, peep = h.new_empty(h.shape[1], len(weight)), run.multiply(c[0], peep_weight)
        stages = [
            Stage(full_remember, (gates, c, product, peep), h[:-1], run.turned(weight), product),
            Stage(full_emit, (gates, h, c, peep), c[1:], peep_weight, peep),
        ]
        run.forward(all_full, stages, gates, h, c, product, peep)
        return ()

    @staticmethod
    def backward(run: Run, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        (h, c), (weight, inner, outer), (beside, d_c), gates = tape.states, tape.weights, d_last, tape.gates
        _, B, M = h.shape
        peep_weight = torch.cat([inner, outer])
        d_gates, through = torch.empty_like(gates), torch.zeros_like(beside)
        d_peep, d_from_peep = h.new_zeros(B, 3 * M), h.new_empty(B, M)
        first = (gates, c, d_outputs, d_gates, d_peep, through, beside, d_c)
        second = (gates, c, d_gates, d_peep, d_from_peep, d_c)
        stages = [
            Stage(full_unemit, first, d_peep[None], peep_weight, d_from_peep),
            Stage(full_forget, second, d_gates, weight, through),
        ]
        buffers = gates, c, d_outputs, d_gates, d_peep, d_from_peep, through, beside, d_c
        run.backward(all_full_back, stages, *buffers)
        d_c = d_c + run.multiply(d_peep[:, : 2 * M], inner)  # what c0 gave the first i and f
        d_inner = run.gather(d_gates[:, :, : 2 * M], c[:-1])
        d_outer = run.gather(d_gates[:, :, 3 * M :], c[1:])
        return Gradients(d_gates, (through + beside, d_c), (run.gather(d_gates, h[:-1]), d_inner, d_outer))
