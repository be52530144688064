"""The trial of a cell from outside: it is built, and takes a few steps with gradients, before anything else uses it.

Shapes: T steps, B batch, D input, P what `project` returns.
"""

import sys
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from rnncli.cells.base import Cell
from rnncli.cells.outside import place_of_error
from rnncli.errors import UsageError

T, B = 3, 2


def tried_cell(Class: type[Cell[Any]], input_size: int, hidden_size: int, **own: Any) -> Cell[Any]:
    """Build a cell, and try a copy; raises UsageError where its code fails, or returns wrong shapes or types.

    On the meta device, where tensors have no values for its code to look at, it is only built.
    """
    try:
        cell = Class(input_size, hidden_size, **own)
        if any(map(is_lazy, cell.parameters())):
            raise UsageError(f"cell {cell.name} has lazy modules: give them the size of their input")
        if not cell.get_parameter("h0").is_meta:
            with torch.random.fork_rng([]), torch.enable_grad(), torch.autocast("cpu", enabled=False):
                check_steps(cell)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        file = getattr(sys.modules.get(Class.__module__), "__file__", None) or Class.__module__
        message = f"{type(error).__name__}: {error}"
        raise UsageError(f"cell {Class.name} fails at {place_of_error(file, error)}: {message}") from error
    return cell


def check_steps(cell: Cell[Any]) -> None:
    """Take the steps of two sequences, one after the other, and their gradients, with a copy of a cell.

    Raises UsageError for a result of the wrong type or shape, and for a step that keeps a tensor of the first sequence.
    """
    copied = deepcopy(cell)
    for sequence in range(2):
        total = _last_state(copied)[0].sum()
        try:
            if total.requires_grad:
                total.backward()
        except RuntimeError as error:
            if sequence and "backward through the graph a second time" in str(error):
                keeps = f"cell {cell.name}: step keeps tensors of an earlier sequence outside of its state"
                raise UsageError(f"{keeps}: make them fields of its State, or detach them") from None
            raise


def _last_state(cell: Cell[Any]) -> Any:
    """The state after T steps; raises UsageError for a result of the wrong type or shape."""
    x = cell.get_parameter("h0").new_zeros(T, B, cell.input_size)
    projected = cell.project(x)
    if not isinstance(projected, Tensor) or projected.shape[:2] != (T, B):
        raise UsageError(f"cell {cell.name}: project returns {_shown(projected)} for {T} steps of {B} sequences")
    state = cell.initial_state(B)
    for each in projected.unbind():
        after = cell.step(each, state)
        if not isinstance(after, cell.State):
            raise UsageError(f"cell {cell.name}: step returns {_shown(after)}, not its State {cell.State.__name__}")
        for name, before, value in zip(cell.state_fields, state, after, strict=True):
            if not isinstance(value, Tensor) or value.shape != before.shape:
                wanted = " x ".join(map(str, before.shape))
                raise UsageError(f"cell {cell.name}: step returns {_shown(value)} as {name}, not a tensor of {wanted}")
            if value.dtype != before.dtype:
                raise UsageError(f"cell {cell.name}: step returns {name} as {value.dtype}, not as {before.dtype}")
        state = after
    return state


def _shown(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"a tensor of {' x '.join(map(str, value.shape)) or 'no dimension'}"
