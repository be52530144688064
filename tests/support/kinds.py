"""Every cell with every variant and activation, the backends of each, and those that work on this CPU.

All are in the registry except the bare cell at the end, which `conftest` registers for tests of that `kind`. Variants
that need a number of units with certain divisors, the heads of sLSTM, have tests of their own.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from rnncli.cells import CELLS, CLASSIC, cell_class, make_cell
from rnncli.cells.base import Cell
from rnncli.errors import UsageError
from rnncli.kernels.fused import trouble
from support.bare import NAME as BARE
from support.bare import Leaky


def _every_kind() -> Iterator[str]:
    for name in CELLS:
        for variant in cell_class(name).variants:
            kind = f"{name}:{variant}".rstrip(":")
            with suppress(UsageError):
                make_cell(kind, 1, 1)
                yield kind


CLASSES: dict[str, type[Cell[Any]]] = {**{kind: cell_class(kind) for kind in _every_kind()}, BARE: Leaky}
KINDS = list(CLASSES)
FIRST_KINDS = [next(kind for kind in KINDS if kind.partition(":")[0] == name) for name in (*CLASSIC, BARE)]
"""One variant of each classic cell, and the bare one."""
KINDS_WITH_ACTIVATIONS = [(kind, activation) for kind in KINDS for activation in CLASSES[kind].activations]


def _compiled(kinds: Iterable[str]) -> list[Any]:
    fast = ("elman", "gru:reset-before", "lstm:full")
    return [pytest.param(kind, marks=[] if kind in fast else [pytest.mark.slow]) for kind in kinds]


COMPILED = _compiled(KINDS)
"""Kinds whose loops a test compiles: all of them, but only three in the fast suite."""
ROUNDED = _compiled(kind for kind in KINDS if CLASSES[kind].recurrent)
"""Those of them whose step multiplies by a matrix, which a precision may round."""
OF_TORCH = ("elman", "gru:reset-after", "lstm:none")
"""The kinds whose equations torch has a layer for, with their first activation."""

CPU_BACKENDS = ("reference", *([] if trouble() else ["fused"]), "torch")
"""Without numba there is no `fused`."""


def with_activations(kinds: list[str]) -> list[tuple[str, str]]:
    """Pair these kinds with every activation of each."""
    return [(kind, activation) for kind, activation in KINDS_WITH_ACTIVATIONS if kind in kinds]
