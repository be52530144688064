"""The recurrent cells, one per file; `CELLS` is where a new one is registered.

Shapes: T steps, B batch, D input, M hidden. A cell is named `NAME` or `NAME:VARIANT`; one from outside of the package
`PATH.py:Class` or `package.module:Class`, also with a variant.
"""

from typing import TYPE_CHECKING, Any

from rnncli.cells.outside import is_outside, label_of, loaded, outside_cell, use_cell
from rnncli.cells.registry import BUILT_IN, CELLS, CLASSIC
from rnncli.errors import UsageError

if TYPE_CHECKING:
    from rnncli.cells.base import Cell

__all__ = ["BUILT_IN", "CELLS", "CLASSIC", "cell_class", "label_of", "make_cell", "use_cell"]


def cell_class(kind: str) -> "type[Cell[Any]]":
    """Look up the class of a cell by its name, with or without a variant.

    Raises UsageError for an unknown one, and for code from outside that the user has not named.
    """
    name = kind.partition(":")[0]
    if name in CELLS:
        return CELLS[name]
    found = outside_cell(kind)
    if found is None:
        hint = f"; name its class too: {kind}:Class" if kind.endswith(".py") else ""
        raise UsageError(f"unknown cell {kind!r}: choose one of {', '.join(CELLS)}, or your own by PATH.py:Class{hint}")
    return loaded(found)


def make_cell(
    kind: str, input_size: int, hidden_size: int, *, activation: str | None = None, learn_h0: bool = True
) -> "Cell[Any]":
    """Build a cell of `kind` (`gru`, `gru:reset-after`, …) from inputs of size D to M hidden units.

    One from outside is tried out on a step. Raises UsageError for an unknown cell, variant or activation, and for a
    cell from outside that fails.
    """
    Class, found = cell_class(kind), outside_cell(kind)
    _, colon, variant = (found.source, found.variant, found.variant) if found else kind.partition(":")
    own: dict[str, Any] = {"variant": variant if colon else None, "activation": activation, "learn_h0": learn_h0}
    if not is_outside(Class):
        return Class(input_size, hidden_size, **own)
    from rnncli.cells.trial import tried_cell

    return tried_cell(Class, input_size, hidden_size, **own)
