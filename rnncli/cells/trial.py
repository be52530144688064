"""The trial of a cell from outside: it is built, and takes one step, before anything else uses it.

Shapes: T steps, B batch, D input, P what `project` returns.
"""

import sys
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from rnncli.cells.base import Cell
from rnncli.cells.outside import place_of_error
from rnncli.errors import UsageError

T, B = 3, 2


def tried_cell(Class: type[Cell[Any]], input_size: int, hidden_size: int, **own: Any) -> Cell[Any]:
    """Build a cell, and try a step of a copy; raises UsageError where its code fails or returns wrong shapes.

    On the meta device, where tensors have no values for its code to look at, it is only built.
    """
    try:
        cell = Class(input_size, hidden_size, **own)
        if not cell.get_parameter("h0").is_meta:
            with torch.random.fork_rng([]), torch.no_grad():
                check_step(deepcopy(cell))
    except UsageError:
        raise
    except Exception as error:
        file = getattr(sys.modules.get(Class.__module__), "__file__", None) or Class.__module__
        message = f"{type(error).__name__}: {error}"
        raise UsageError(f"cell {Class.name} fails at {place_of_error(file, error)}: {message}") from error
    return cell


def check_step(cell: Cell[Any]) -> None:
    """Take a step of a cell; raises UsageError for a result of the wrong type or shape."""
    x = cell.get_parameter("h0").new_zeros(T, B, cell.input_size)
    projected = cell.project(x)
    if not isinstance(projected, Tensor) or projected.shape[:2] != (T, B):
        raise UsageError(f"cell {cell.name}: project returns {_shown(projected)} for {T} steps of {B} sequences")
    state = cell.initial_state(B)
    after = cell.step(projected[0], state)
    if not isinstance(after, cell.State):
        raise UsageError(f"cell {cell.name}: step returns {_shown(after)}, not its State {cell.State.__name__}")
    for name, before, value in zip(cell.state_fields, state, after, strict=True):
        if not isinstance(value, Tensor) or value.shape != before.shape:
            wanted = " x ".join(map(str, before.shape))
            raise UsageError(f"cell {cell.name}: step returns {_shown(value)} as {name}, not a tensor of {wanted}")


def _shown(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"a tensor of {' x '.join(map(str, value.shape)) or 'no dimension'}"
