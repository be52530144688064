"""The fused scan: the parts that all cells' loops share, and the autograd function.

Shapes: T steps, B batch, D input, M hidden, G gates, K and N rows and columns of a weight.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from rnncli.errors import RnnError
from rnncli.kernels import ACTIVATIONS
from rnncli.kernels.forms import FusedForm
from rnncli.kernels.fused.time_loop import TRANSPOSE_FROM, TimeLoop, arrays, rows
from rnncli.kernels.matmul import matmul, may_round
from rnncli.kernels.memory import empty_huge

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])

SMALL = 250_000
"""Multiplications per step. Below this, one compiled loop is faster than torch's matmuls with their calls."""

SMALL_AND_SHORT = SMALL // 10
"""The same limit for fewer steps, since compiled loops transpose every weight."""


class Tape(NamedTuple):
    """What the forward pass works on and leaves for the backward pass, which overwrites it."""

    gates: Tensor  # (T, B, G*M): the projected inputs, then the gates, then the gradients of the projected inputs
    states: Sequence[Tensor]  # (T+1, B, M) per field, the first of them the state that the scan starts from
    bias: Tensor
    weights: Sequence[Tensor]
    kept: Sequence[Tensor] = ()  # (T, B, ...): what else the backward pass needs


class Gradients(NamedTuple):
    """The results of the backward pass."""

    gates: Tensor  # of the projected inputs, (T, B, G*M)
    first: Sequence[Tensor]  # of the first state, (B, M) per field
    weights: Sequence[Tensor]


class Kernel(ABC):
    """The loops of a cell's equations: step by step between torch's matmuls, or all steps in compiled code.

    `compiled_forward` takes ends, f, x, Wx, b, the first state's fields and the weights as arrays. It returns all
    states, (T+1, B, M) per field, and whatever must be kept. `compiled_backward` takes ends, f, x, Wx, the weights,
    everything that was returned, and the gradients of all h and of the last state's fields. It returns the gradients of
    x, Wx, b, the first state's fields and the weights.
    """

    fields: ClassVar[int] = 1  # of the state
    in_place: ClassVar[bool] = False  # whether the inputs are projected into the place of each step's h
    compiled_forward: ClassVar[Callable[..., Any]]
    compiled_backward: ClassVar[Callable[..., Any]]

    @staticmethod
    @abstractmethod
    def forward(loop: TimeLoop, tape: Tape) -> tuple[Tensor, ...]:
        """Run through time and fill the states; return what else must be kept."""

    @staticmethod
    @abstractmethod
    def backward(loop: TimeLoop, tape: Tape, d_outputs: Tensor, d_last: Sequence[Tensor]) -> Gradients:
        """Run back from the gradients of all h, (T, B, M), and the last state, (B, M) per field; overwrite both."""


def unroll(form: FusedForm, x: Tensor, state: StateT, lengths: Tensor | None) -> tuple[Tensor, StateT]:
    """Do the work of `scan_fused`."""
    T, B, _ = x.shape
    ends = _equal_ends(B, T) if lengths is None else lengths.to(torch.int64).contiguous().numpy()
    weight_x, bias, *weights = form.weights
    apply: Any = FusedScan.apply
    loop = TimeLoop(T, ends, ACTIVATIONS.index(form.activation), may_round(x))
    outputs, *last = apply(form.kernel, loop, x, weight_x, bias, *state, *weights)
    return outputs, type(state)(*last)


class FusedScan(torch.autograd.Function):
    """A cell over time as one function with a hand-written gradient."""

    @staticmethod
    def forward(
        ctx: Any, kernel: type[Kernel], loop: TimeLoop, x: Tensor, weight_x: Tensor, bias: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        T, B, D = x.shape
        first, weights = rest[: kernel.fields], rest[kernel.fields :]
        ctx.kernel, ctx.loop, ctx.arrays = kernel, loop, None
        x = x.contiguous()
        if B * first[0].shape[1] * max(len(bias), D) < (SMALL if T >= TRANSPOSE_FROM else SMALL_AND_SHORT):
            given = arrays((x, weight_x, bias, *(value.contiguous() for value in first), *weights))
            made = kernel.compiled_forward(loop.ends, loop.f, *given)
            ctx.arrays = *given[:2], *given[3 + kernel.fields :], *made
            states = [torch.from_numpy(value) for value in made[: kernel.fields]]
            ctx.save_for_backward(x, weight_x, *weights, *states)  # so that autograd notices if one is changed
        else:
            states = [_state_buffer(value, T) for value in first]
            gates = states[0][1:] if kernel.in_place else empty_huge(x, T, B, len(bias))
            matmul(rows(x), weight_x.t(), out=rows(gates), rounded=loop.rounded)
            kept = kernel.forward(loop, Tape(gates, states, bias, weights))
            ctx.save_for_backward(x, weight_x, bias, gates, *states, *weights, *kept)
        return (states[0][1:], *(value[T] for value in states))

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, *d_last: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RnnError("the fused backend has no second derivatives: use --backend reference")
        kernel: type[Kernel] = ctx.kernel
        loop: TimeLoop = ctx.loop
        saved = ctx.saved_tensors
        if ctx.arrays:
            d, *last = arrays((d_outputs.contiguous(), *d_last))
            found = kernel.compiled_backward(loop.ends, loop.f, *ctx.arrays, d, *(value.copy() for value in last))
            return None, None, *(torch.from_numpy(value) for value in found)
        last = [value.clone(memory_format=torch.contiguous_format) for value in d_last]
        x, weight_x, bias, gates, *others = saved
        states, others = others[: kernel.fields], others[kernel.fields :]
        count = len(ctx.needs_input_grad) - 5 - kernel.fields
        if not kernel.in_place and _graph_is_kept():
            gates, others = gates.clone(), [*others[:count], *(value.clone() for value in others[count:])]
        tape = Tape(gates, states, bias, others[:count], others[count:])
        d = kernel.backward(loop, tape, d_outputs.contiguous(), last)
        d_x = None
        if ctx.needs_input_grad[2]:
            d_x = empty_huge(x, *x.shape)
            matmul(rows(d.gates), weight_x, out=rows(d_x), rounded=loop.rounded)
        return None, None, d_x, loop.weight_gradient(d.gates, x), bias_gradient(d.gates), *d.first, *d.weights


def bias_gradient(d: Tensor) -> Tensor:
    """Return the sum (G,) of d (T, B, G) over time and batch: the gradient of a bias."""
    return rows(d).sum(0)


@lru_cache
def _equal_ends(B: int, T: int) -> Any:
    return np.full(B, T)


def _state_buffer(first: Tensor, T: int) -> Tensor:
    """Allocate a state's field for all T steps, (T+1, B, M); only its first value is filled in."""
    values = empty_huge(first, T + 1, *first.shape)
    values[0] = first
    return values


def _graph_is_kept() -> bool:
    """Tell whether the backward pass may run again (`retain_graph`); assume so where torch does not tell.

    Torch has no public way to ask. A wrong yes only costs the copies.
    """
    autograd: Any = getattr(getattr(torch, "_C", None), "_autograd", None)
    tell = getattr(autograd, "_get_current_graph_task_keep_graph", None)
    return tell is None or bool(tell())
