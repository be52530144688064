"""A scan as one operation of torch, which torch.compile and torch.export keep whole instead of tracing its steps.

Shapes: T steps, B batch, D input, M hidden.
"""

from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from rnncli.cells import cell_class, make_cell
from rnncli.cells.base import Cell
from rnncli.kernels.scan import scan


def bare_cell(kind: str, input_size: int, hidden_size: int, activation: str) -> Cell[Any]:
    """A cell without values, whose parameters are on the meta device; do not change it."""
    return _bare(cell_class(kind), kind, input_size, hidden_size, activation)


@lru_cache
def _bare(Class: type[Cell[Any]], kind: str, input_size: int, hidden_size: int, activation: str) -> Cell[Any]:
    del Class  # part of the key: a notebook may define a class again
    with torch.device("meta"):
        return make_cell(kind, input_size, hidden_size, activation=activation, learn_h0=False)


def cell_with(bare: Cell[Any], weights: Mapping[str, Tensor]) -> Cell[Any]:
    """A view of a bare cell that finds these tensors under the names of its parameters."""
    view = copy(bare)
    vars(view).update(weights)
    return view


def scan_whole(
    kind: str, activation: str, weights: Mapping[str, Tensor], x: Tensor, state: tuple[Tensor, ...], backend: str
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Unroll a cell over x (T, B, D) as `scan` does, as one operation; `weights` has every tensor of its modules."""
    recipe = "\n".join((kind, activation, backend, *weights))
    outputs, *last = _scan(recipe, list(weights.values()), x, list(state))
    return outputs, tuple(last)


class _Unrolled(torch.nn.Module):
    """A bare cell scanned, as a module that `functional_call` fills with tensors."""

    def __init__(self, cell: Cell[Any], backend: str) -> None:
        super().__init__()
        self.cell, self.backend = deepcopy(cell), backend

    def forward(self, x: Tensor, state: Sequence[Tensor]) -> list[Tensor]:
        outputs, last = scan(self.cell, x, self.cell.State(*state), backend=self.backend)
        return [outputs, *(value.clone() for value in last)]  # results of an operation share no memory


def _run(recipe: str, weights: Sequence[Tensor], x: Tensor, state: Sequence[Tensor]) -> list[Tensor]:
    kind, activation, backend, *names = recipe.split("\n")
    cell = bare_cell(kind, x.shape[2], state[0].shape[1], activation)
    held = {f"cell.{name}": weight for name, weight in zip(names, weights, strict=True)}
    results: list[Tensor] = torch.func.functional_call(_Unrolled(cell, backend), held, (x, state))
    return results


@torch.library.custom_op("rnncli::scan", mutates_args=())
def _scan(recipe: str, weights: Sequence[Tensor], x: Tensor, state: Sequence[Tensor]) -> list[Tensor]:
    return _run(recipe, weights, x, state)


@_scan.register_fake
def _scan_shapes(recipe: str, weights: Sequence[Tensor], x: Tensor, state: Sequence[Tensor]) -> list[Tensor]:
    del recipe, weights
    return [state[0].new_empty(*x.shape[:2], state[0].shape[1]), *(value.new_empty(value.shape) for value in state)]


@torch.library.custom_op("rnncli::scan_backward", mutates_args=())
def _scan_backward(
    recipe: str, weights: Sequence[Tensor], x: Tensor, state: Sequence[Tensor], gradients: Sequence[Tensor]
) -> list[Tensor]:
    """The gradients of x, state and weights; it repeats the forward pass, since an operation keeps only its results."""
    with torch.inference_mode(False):  # the public way to switch autograd on inside an operation
        given = [value.detach().requires_grad_(value.is_floating_point()) for value in (x, *state, *weights)]
        x, state, weights = given[0], given[1 : 1 + len(state)], given[1 + len(state) :]
        results = _run(recipe, weights, x, state)
        wanted = [value for value in given if value.requires_grad]
        found = iter(torch.autograd.grad(results, wanted, list(gradients), materialize_grads=True))
        return [next(found).clone() if value.requires_grad else torch.zeros_like(value) for value in given]


@_scan_backward.register_fake
def _gradient_shapes(
    recipe: str, weights: Sequence[Tensor], x: Tensor, state: Sequence[Tensor], gradients: Sequence[Tensor]
) -> list[Tensor]:
    del recipe, gradients
    return [value.new_empty(value.shape) for value in (x, *state, *weights)]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    del output
    ctx.recipe, weights, x, state = inputs
    ctx.fields = len(state)
    ctx.save_for_backward(x, *state, *weights)


def _go_back(ctx: Any, gradients: list[Tensor]) -> tuple[Any, ...]:
    x, *rest = ctx.saved_tensors
    d_x, *d = _scan_backward(ctx.recipe, rest[ctx.fields :], x, rest[: ctx.fields], gradients)
    return None, d[ctx.fields :], d_x, d[: ctx.fields]


_scan.register_autograd(_go_back, setup_context=_keep)
