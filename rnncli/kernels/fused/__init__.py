"""The fused backend for CPUs: hand-written forward and backward, hoisted matmuls, pointwise work compiled by numba.

Shapes: T steps, B batch, D input, M hidden, G gates. Numba is imported only when a cell gives its form.
"""

from functools import cache
from typing import TypeVar

from torch import Tensor

from rnncli.kernels.forms import FusedForm

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])


def scan_fused(form: FusedForm, x: Tensor, state: StateT, lengths: Tensor | None = None) -> tuple[Tensor, StateT]:
    """Unroll a cell by its fused form; arguments and results as `scan_reference`. It is differentiable once."""
    from rnncli.kernels.fused.scan import unroll

    return unroll(form, x, state, lengths)


@cache
def trouble() -> str:
    """Say in a few words why the backend cannot work on this machine; empty where it can."""
    try:
        from rnncli.kernels.fused.arithmetic import check
    except ImportError as error:
        return f"the fused backend needs numba: {error}".splitlines()[0]
    try:
        check()
    except Exception as error:  # a compiler may raise anything
        return f"numba fails here: {type(error).__name__}"
    return ""
