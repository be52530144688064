"""The recurrent cells, one per file; `CELLS` is where a new one is registered.

Shapes: T steps, B batch, D input, M hidden. A cell is named `NAME` or `NAME:VARIANT`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rnncli.errors import UsageError

if TYPE_CHECKING:
    from rnncli.cells.base import Cell

# name -> module:class, imported on first use, so that listing the names needs no torch
CELLS = {
    "elman": "rnncli.cells.elman:Elman",
    "rated": "rnncli.cells.rated:Rated",
    "gru": "rnncli.cells.gru:GRU",
    "lstm": "rnncli.cells.lstm:LSTM",
}


def cell_class(name: str) -> "type[Cell[Any]]":
    """Look up a cell's class by its registered name; raises UsageError for an unknown one."""
    if name not in CELLS:
        raise UsageError(f"unknown cell {name!r}: choose one of {', '.join(CELLS)}")
    module, _, attribute = CELLS[name].partition(":")
    found: type[Cell[Any]] = getattr(import_module(module), attribute)
    return found


def make_cell(
    kind: str, input_size: int, hidden_size: int, *, activation: str | None = None, learn_h0: bool = True
) -> "Cell[Any]":
    """Build a cell of `kind` (`gru`, `gru:reset-after`, …) from inputs of size D to M hidden units.

    Raises UsageError for an unknown cell, variant or activation.
    """
    name, colon, variant = kind.partition(":")
    return cell_class(name)(
        input_size, hidden_size, variant=variant if colon else None, activation=activation, learn_h0=learn_h0
    )
