"""The fused scan: what the loops of all cells share, and the function that autograd sees.

Shapes: T steps, B batch, D input, M hidden, G gates, K and N rows and columns of a weight.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from rnncli.errors import RnnError
from rnncli.kernels.fused import ACTIVATIONS, FusedForm
from rnncli.kernels.memory import room
from rnncli.kernels.products import fast_products

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])

SMALL = 250_000
"""Multiplications a step: below it one compiled loop is faster than torch's products with their calls."""

TURNED = 4
"""Steps from which on it pays to lay a weight out anew for its product."""

SMALL_AND_SHORT = SMALL // 10
"""The same where there are fewer steps: compiled loops lay every weight out anew."""

ONEDNN = 1_000_000
"""Multiplications of a product: below it oneDNN's call costs more than its speed gains."""


class Stage(NamedTuple):
    """A part of a step: a product of source (T or 1, B, K) and weight (K, N) into out (B, N), and pointwise work."""

    step: Callable[..., None]  # (t, ends, *buffers): after the product on the way forward, before it on the way back
    buffers: tuple[Tensor | int, ...]
    source: Tensor
    weight: Tensor
    out: Tensor


class Tape(NamedTuple):
    """What the way forward works on and leaves behind, and the way back uses up."""

    gates: Tensor  # (T, B, G*M): the projected inputs, then the gates, then the gradients of the projected inputs
    states: Sequence[Tensor]  # (T+1, B, M) a field, the first of them what the scan starts from
    bias: Tensor
    weights: Sequence[Tensor]
    kept: Sequence[Tensor] = ()  # (T, B, ...): what else the way back needs


class Gradients(NamedTuple):
    """What the way back comes to."""

    gates: Tensor  # of the projected inputs, (T, B, G*M)
    first: Sequence[Tensor]  # of the first state, (B, M) a field
    weights: Sequence[Tensor]


class Kernel(ABC):
    """The loops of a cell's equations: step by step between products of torch, and whole, in compiled code alone.

    `whole_ahead` takes ends, f, x, Wx, b, the first state's fields and the weights as arrays, and returns all states,
    (T+1, B, M) a field, and whatever is to be kept. `whole_back` takes ends, f, x, Wx, the weights, all that was
    returned, and the gradients of all h and of the last state's fields; it returns those of x, Wx, b, of the first
    state's fields and of the weights.
    """

    fields: ClassVar[int] = 1  # of the state
    in_place: ClassVar[bool] = False  # whether inputs are projected to where each step will put its h
    whole_ahead: ClassVar[Callable[..., Any]]
    whole_back: ClassVar[Callable[..., Any]]

    @staticmethod
    @abstractmethod
    def forward(steps: "Steps", tape: Tape) -> tuple[Tensor, ...]:
        """Go through time, filling the states; returns what else is to be kept."""

    @staticmethod
    @abstractmethod
    def backward(steps: "Steps", tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        """Go back from the gradients of all h, (T, B, M), and of the last state, (B, M) a field, used up here."""


class Steps(NamedTuple):
    """A walk through T steps: where each sequence ends (B,), and the activation f by its number."""

    T: int
    ends: Any
    f: int

    def forward(self, *stages: Stage) -> None:
        """At each step the product of each stage, then its pointwise work."""
        with _products(stages):
            prepared = self._prepared(stages)
            for t in range(self.T):
                for step, views, source, weight, out in prepared:
                    torch.mm(source[t], weight, out=out)
                    step(t, self.ends, *views)

    def backward(self, *stages: Stage) -> None:
        """From the last step to the first: the pointwise work of each stage, then its product."""
        with _products(stages):
            prepared = self._prepared(stages)
            for t in range(self.T - 1, -1, -1):
                for step, views, source, weight, out in prepared:
                    step(t, self.ends, *views)
                    torch.mm(source[t], weight, out=out)

    def _prepared(self, stages: Sequence[Stage]) -> list[tuple[Any, ...]]:
        """The stages, with all that need not be done at each step done."""
        by_step = [each.source.unbind(0) * (self.T // len(each.source)) for each in stages]
        return [
            (each.step, arrays(each.buffers), source, each.weight, each.out)
            for each, source in zip(stages, by_step, strict=True)
        ]

    def turned(self, weight: Tensor) -> Tensor:
        """A weight (N, K) as rows are multiplied by it, (K, N), laid out for speed where it is used often enough."""
        return weight.t().contiguous() if self.T >= TURNED else weight.t()


def unroll(form: FusedForm, x: Tensor, state: StateT, lengths: Tensor | None) -> tuple[Tensor, StateT]:
    """What `scan_fused` calls."""
    T, B, _ = x.shape
    ends = _equal_ends(B, T) if lengths is None else lengths.to(torch.int64).contiguous().numpy()
    weight_x, bias, *weights = form.weights
    apply: Any = FusedScan.apply
    outputs, *last = apply(form.kernel, ACTIVATIONS.index(form.activation), ends, x, weight_x, bias, *state, *weights)
    return outputs, type(state)(*last)


class FusedScan(torch.autograd.Function):
    """A cell over time as one function with a gradient of its own."""

    @staticmethod
    def forward(
        ctx: Any, kernel: type[Kernel], f: int, ends: Any, x: Tensor, weight_x: Tensor, bias: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        T, B, D = x.shape
        first, weights = rest[: kernel.fields], rest[kernel.fields :]
        ctx.kernel, ctx.steps, ctx.arrays = kernel, Steps(T, ends, f), None
        x = x.contiguous()
        if B * first[0].shape[1] * max(len(bias), D) < (SMALL if T >= TURNED else SMALL_AND_SHORT):
            given = arrays((x, weight_x, bias, *(value.contiguous() for value in first), *weights))
            made = kernel.whole_ahead(ends, f, *given)
            ctx.arrays = *given[:2], *given[3 + kernel.fields :], *made
            states = [torch.from_numpy(value) for value in made[: kernel.fields]]
            ctx.save_for_backward(x, weight_x, *weights, *states)  # so that autograd sees whether one is changed
        else:
            states = [_through_time(value, T) for value in first]
            gates = states[0][1:] if kernel.in_place else room(x, T, B, len(bias))
            with fast_products():
                torch.mm(rows(x), weight_x.t(), out=rows(gates))
            kept = kernel.forward(ctx.steps, Tape(gates, states, bias, weights))
            ctx.save_for_backward(x, weight_x, bias, gates, *states, *weights, *kept)
        return (states[0][1:], *(value[T] for value in states))

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, *d_last: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RnnError("the fused backend gives no gradients of gradients: take backend reference for them")
        kernel: type[Kernel] = ctx.kernel
        saved = ctx.saved_tensors
        if ctx.arrays:
            _, ends, f = ctx.steps
            given = arrays((d_outputs.contiguous(), *d_last))
            found = kernel.whole_back(ends, f, *ctx.arrays, given[0], *(value.copy() for value in given[1:]))
            return None, None, None, *(torch.from_numpy(value) for value in found)
        last = [value.clone(memory_format=torch.contiguous_format) for value in d_last]
        x, weight_x, bias, gates, *others = saved
        states, others = others[: kernel.fields], others[kernel.fields :]
        count = len(ctx.needs_input_grad) - 6 - kernel.fields
        if not kernel.in_place and _graph_is_kept():
            gates, others = gates.clone(), [*others[:count], *(value.clone() for value in others[count:])]
        tape = Tape(gates, states, bias, others[:count], others[count:])
        d = kernel.backward(ctx.steps, tape, d_outputs.contiguous(), last)
        d_x = None
        if ctx.needs_input_grad[3]:
            d_x = room(x, *x.shape)
            with fast_products():
                torch.mm(rows(d.gates), weight_x, out=rows(d_x))
        return None, None, None, d_x, weight_gradient(d.gates, x), bias_gradient(d.gates), *d.first, *d.weights


def weight_gradient(d: Tensor, x: Tensor) -> Tensor:
    """The gradient (G, D) of a weight that took x (T, B, D) to what has the gradient d (T, B, G)."""
    with fast_products():
        return torch.mm(rows(d).t(), rows(x))


def bias_gradient(d: Tensor) -> Tensor:
    """The sum (G,) of d (T, B, G) over time and batch: the gradient of a bias."""
    return rows(d).sum(0)


def arrays(values: Iterable[Tensor | int]) -> list[Any]:
    """The tensors as numpy sees them; numbers stay as they are."""
    return [value if isinstance(value, int) else value.detach().numpy() for value in values]


def rows(value: Tensor) -> Tensor:
    """All but the last dimension as one."""
    return value.reshape(-1, value.shape[-1])


@lru_cache
def _equal_ends(B: int, T: int) -> Any:
    return np.full(B, T)


def _through_time(first: Tensor, T: int) -> Tensor:
    """Room for a state's field before and after T steps, (T+1, B, M), of which only the first is known."""
    values = room(first, T + 1, *first.shape)
    values[0] = first
    return values


def _products(stages: Sequence[Stage]) -> Any:
    """Where the products of a step are best done."""
    work = max(len(each.out) * each.weight.numel() for each in stages)
    return fast_products() if work >= ONEDNN else nullcontext()


def _graph_is_kept() -> bool:
    """Whether the way back may be gone once more, with `retain_graph`; where torch does not tell, it may."""
    tell = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return tell is None or bool(tell())
