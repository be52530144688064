"""The fused scan: what the loops of all cells share, and the function that autograd sees.

Shapes: T steps, B batch, D input, M hidden, G gates, N columns of a product.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnncli.kernels.fused import FusedForm
from rnncli.kernels.fused.arithmetic import ACTIVATIONS, gather, multiply, project, total
from rnncli.kernels.products import fast_products

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])

SMALL = 40_000
"""Multiplications a step: below it one compiled loop is faster than torch's products with their calls."""

TURNED = 4
"""Steps from which on it pays to lay a weight out anew for its product."""


class Stage(NamedTuple):
    """A part of a step: the product of source (T or 1, B, K) at t and weight (K, N) into out (B, N), and a pointwise one."""

    step: Callable[..., None]  # (t, ends, *buffers): after the product on the way forward, before it on the way back
    buffers: tuple[Tensor | int, ...]
    source: Tensor
    weight: Tensor
    out: Tensor


class Run:
    """One unrolling: its steps T, where each sequence ends (B,), its activation f, and how it multiplies.

    A `compact` one, so small that calls cost more than work, runs in compiled code alone.
    """

    def __init__(self, f: int, ends: Any, T: int, *, compact: bool) -> None:
        self.f, self.ends, self.T, self.compact = f, ends, T, compact

    def forward(self, whole: Callable[..., None], stages: Sequence[Stage], *buffers: Tensor | int) -> None:
        """Go through time: at each step the product of each stage, then its pointwise work.

        A compact run leaves it all to `whole`, which takes the ends, the buffers, and each stage's weight.
        """
        if self.compact:
            whole(self.ends, *arrays(buffers), *arrays(stage.weight for stage in stages))
            return
        prepared = self._prepared(stages)
        for t in range(self.T):
            for step, views, source, weight, out in prepared:
                torch.mm(source[t], weight, out=out)
                step(t, self.ends, *views)

    def backward(self, whole: Callable[..., None], stages: Sequence[Stage], *buffers: Tensor | int) -> None:
        """Go back through time: at each step the pointwise work of each stage, then its product; `whole` as above."""
        if self.compact:
            whole(self.ends, *arrays(buffers), *arrays(stage.weight for stage in stages))
            return
        prepared = self._prepared(stages)
        for t in range(self.T - 1, -1, -1):
            for step, views, source, weight, out in prepared:
                step(t, self.ends, *views)
                torch.mm(source[t], weight, out=out)

    def _prepared(self, stages: Sequence[Stage]) -> list[tuple[Any, ...]]:
        """The stages, with all that need not be done at each step done."""
        return [
            (each.step, arrays(each.buffers), _by_step(each.source, self.T), each.weight, each.out) for each in stages
        ]

    def turned(self, weight: Tensor) -> Tensor:
        """A weight (N, K) as products of rows take it, (K, N), laid out for speed where it is used often enough."""
        return weight.t().contiguous() if self.compact or self.T >= TURNED else weight.t()

    def project(self, x: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> None:
        """Set out (T, B, G) to x (T, B, D) times weight (G, D), turned, plus bias (G,)."""
        if self.compact:
            project(*arrays((rows(x), weight, bias, rows(out))))
        else:
            torch.addmm(bias, rows(x), weight.t(), out=rows(out))

    def multiply(self, a: Tensor, weight: Tensor) -> Tensor:
        """The product of a (..., K) and weight (K, N)."""
        out = a.new_empty(*a.shape[:-1], weight.shape[1])
        if self.compact:
            multiply(*arrays((rows(a), weight, rows(out))))
        else:
            torch.mm(rows(a), weight, out=rows(out))
        return out

    def gather(self, d: Tensor, x: Tensor) -> Tensor:
        """The gradient (G, D) of a weight that took x (T, B, D) to what has the gradient d (T, B, G)."""
        if not self.compact:
            return torch.mm(rows(d).t(), rows(x))
        out = d.new_empty(d.shape[-1], x.shape[-1])
        gather(*arrays((rows(d), rows(x), out)))
        return out

    def total(self, d: Tensor) -> Tensor:
        """The sum (G,) of d (T, B, G) over time and batch."""
        if not self.compact:
            return rows(d).sum(0)
        out = d.new_empty(d.shape[-1])
        total(*arrays((rows(d), out)))
        return out


class Tape(NamedTuple):
    """What the way forward works on, and leaves behind for the way back."""

    gates: Tensor  # (T, B, G*M): first the projected inputs, then what they became
    states: Sequence[Tensor]  # (T+1, B, M) a field, the first of them what the scan starts from
    weights: Sequence[Tensor]
    kept: Sequence[Tensor] = ()


class Gradients(NamedTuple):
    """What the way back comes to."""

    gates: Tensor  # of the projected inputs, (T, B, G*M)
    first: Sequence[Tensor]  # of the first state, (B, M) a field
    weights: Sequence[Tensor]


class Kernel(ABC):
    """The loops of a cell's equations."""

    fields: ClassVar[int] = 1  # of the state
    in_place: ClassVar[bool] = False  # whether inputs are projected to where each step will put its h

    @staticmethod
    @abstractmethod
    def forward(run: Run, tape: Tape) -> tuple[Tensor, ...]:
        """Go through time, filling the states; returns what else is to be kept."""

    @staticmethod
    @abstractmethod
    def backward(run: Run, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        """Go back from the gradients of all h, (T, B, M), and of the last state, (B, M) a field, used up here."""


def unroll(form: FusedForm, x: Tensor, state: StateT, lengths: Tensor | None = None) -> tuple[Tensor, StateT]:
    """What `scan_fused` calls."""
    T, B, _ = x.shape
    ends = np.full(B, T) if lengths is None else lengths.to(torch.int64).contiguous().numpy()
    weight_x, bias, *weights = form.weights
    f = ACTIVATIONS[form.activation]
    apply: Any = FusedScan.apply
    outputs, *last = apply(form.kernel, f, ends, x, weight_x, bias, *state, *weights)
    return outputs, type(state)(*last)


class FusedScan(torch.autograd.Function):
    """A cell over time as one function with a gradient of its own."""

    @staticmethod
    def forward(
        ctx: Any, kernel: type[Kernel], f: int, ends: Any, x: Tensor, weight_x: Tensor, bias: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        T, B, D = x.shape
        first, weights = rest[: kernel.fields], rest[kernel.fields :]
        states = [_through_time(value, T) for value in first]
        M = states[0].shape[2]
        run = Run(f, ends, T, compact=B * M * max(weight_x.shape[0], D) < SMALL)
        x = x.contiguous()
        gates = states[0][1:] if kernel.in_place else states[0].new_empty(T, B, weight_x.shape[0])
        with nullcontext() if run.compact else fast_products():
            run.project(x, weight_x, bias, gates)
            kept = kernel.forward(run, Tape(gates, states, weights))
        ctx.save_for_backward(x, weight_x, gates, *states, *weights, *kept)
        ctx.kernel, ctx.run, ctx.counts = kernel, run, (len(states), len(weights))
        return (states[0][1:], *(value[T] for value in states))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, *d_last: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_x, gates, *others = ctx.saved_tensors
        run: Run = ctx.run
        states, weights = ctx.counts
        tape = Tape(gates, others[:states], others[states : states + weights], others[states + weights :])
        with nullcontext() if run.compact else fast_products():
            last = [value.clone(memory_format=torch.contiguous_format) for value in d_last]
            d: Gradients = ctx.kernel.backward(run, tape, d_outputs.contiguous(), last)
            d_x = run.multiply(d.gates, weight_x) if ctx.needs_input_grad[3] else None
            return None, None, None, d_x, run.gather(d.gates, x), run.total(d.gates), *d.first, *d.weights


def arrays(values: Iterable[Tensor | int]) -> list[Any]:
    """The tensors as numpy sees them; numbers stay as they are."""
    return [value if isinstance(value, int) else value.detach().numpy() for value in values]


def rows(value: Tensor) -> Tensor:
    """All but the last dimension as one."""
    return value.reshape(-1, value.shape[-1])


def _through_time(first: Tensor, T: int) -> Tensor:
    """Room for a state's field before and after T steps, (T+1, B, M), of which only the first is known."""
    values = first.new_empty(T + 1, *first.shape)
    values[0] = first
    return values


def _by_step(source: Tensor, T: int) -> Sequence[Tensor]:
    return source.unbind(0) if len(source) == T else source.unbind(0) * T
