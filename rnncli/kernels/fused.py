"""The fused backend for CPUs: a cell's step and its gradient in loops that the engine writes and numba compiles.

Numba is imported only when a cell is traced. Shapes: T steps, B batch, D input, M hidden.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from torch import Tensor

from rnncli.errors import UsageError
from rnncli.kernels.compiling import COMPILATION

if TYPE_CHECKING:
    from rnncli.kernels.engine.scan import Traced

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])


class FusedForm(NamedTuple):
    """A cell and what the engine made of it."""

    cell: Any
    traced: "Traced"


def fused_form(cell: Any) -> FusedForm | str:
    """Return the cell as the engine runs it, or say in a line why it cannot; imports numba."""
    from rnncli.kernels.engine.build import traced_form

    traced = traced_form(cell)
    return traced if isinstance(traced, str) else FusedForm(cell, traced)


def code_of(cell: Any) -> str:
    """Return the source of the loops that the engine writes for a cell; raises UsageError if it writes none."""
    form = trouble() or fused_form(cell)
    if isinstance(form, str):
        raise UsageError(f"there are no loops for {cell.kind}: {form}")
    return form.traced.source.text


def scan_fused(form: FusedForm, x: Tensor, state: StateT, lengths: Tensor | None = None) -> tuple[Tensor, StateT]:
    """Unroll a cell by its fused form; arguments and results as `scan_reference`. It is differentiable once."""
    from rnncli.kernels.engine.scan import unroll

    return unroll(form.traced, form.cell, x, state, lengths)


@cache
@COMPILATION.loading()
def trouble() -> str:
    """Say in a few words why the backend cannot work on this machine; empty where it can."""
    try:
        from rnncli.kernels.engine.arithmetic import check
    except ImportError as error:
        return f"the fused backend needs numba: {error}".splitlines()[0]
    try:
        check()
    except Exception as error:  # a compiler may raise anything
        return f"numba fails here: {type(error).__name__}"
    return ""
