"""Every cell with every variant and activation, the backends of each, and those that work on this CPU.

All are in the registry except the bare cell at the end, which `conftest` registers for tests of that `kind`.
"""

from typing import Any

import pytest

from rnncli.cells import CELLS, cell_class
from rnncli.cells.base import Cell
from rnncli.kernels.fused import trouble
from support.bare import NAME as BARE
from support.bare import Leaky

CLASSES: dict[str, type[Cell[Any]]] = {
    **{f"{name}:{variant}".rstrip(":"): cell_class(name) for name in CELLS for variant in cell_class(name).variants},
    BARE: Leaky,
}
KINDS = list(CLASSES)
FIRST_KINDS = list({kind.partition(":")[0]: kind for kind in reversed(KINDS)}.values())[::-1]
"""One variant of each cell."""
KINDS_WITH_ACTIVATIONS = [(kind, activation) for kind in KINDS for activation in CLASSES[kind].activations]

COMPILED = [
    pytest.param(kind, marks=[] if kind in ("elman", "gru:reset-before", "lstm:full") else [pytest.mark.slow])
    for kind in KINDS
]
"""Kinds whose loops a test compiles: all of them, but only three in the fast suite."""

CPU_BACKENDS = ("reference", *([] if trouble() else ["fused"]), "torch")
"""Without numba there is no `fused`."""


def with_activations(kinds: list[str]) -> list[tuple[str, str]]:
    """Pair these kinds with every activation of each."""
    return [(kind, activation) for kind, activation in KINDS_WITH_ACTIVATIONS if kind in kinds]
