"""The triton backend for CUDA: kernels that the engine writes from a cell's step, and that triton compiles.

Shapes: T steps, B batch, D input, M hidden. Triton is imported only when the backend is used.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from rnncli.extras import missing
from rnncli.kernels.compiling import COMPILATION

if TYPE_CHECKING:
    from rnncli.kernels.triton.build import Kernels

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class TritonForm(NamedTuple):
    """A cell and its kernels."""

    cell: Any
    kernels: "Kernels"


def triton_form(cell: Any) -> TritonForm | str:
    """Return the cell as the backend runs it, or say in a line why it cannot; imports triton."""
    from rnncli.kernels.triton.build import kernels_of

    kernels = kernels_of(cell)
    return kernels if isinstance(kernels, str) else TritonForm(cell, kernels)


def scan_triton(form: TritonForm, x: Tensor, state: StateT, lengths: Tensor | None = None) -> tuple[Tensor, StateT]:
    """Unroll a cell by its kernels; arguments and results as `scan_reference`. It is differentiable once."""
    from rnncli.kernels.triton.scan import unroll

    return unroll(form.kernels, form.cell, x, state, lengths)


def trouble(device: str | None, dtype: torch.dtype) -> str:
    """Say in a few words why the backend cannot work on this machine, device or precision; empty where it can."""
    try:
        import triton
    except ImportError:
        return missing("triton", what="the triton backend", extra="triton")
    except Exception as error:  # a package for another machine or torch may raise anything
        return f"the triton backend cannot load triton ({_first_line(error)})"
    if not triton.knobs.runtime.interpret and (device not in ("cuda", None) or not torch.cuda.is_available()):
        return "the triton backend needs a CUDA device"
    if dtype not in DTYPES:
        name = str(dtype).removeprefix("torch.")
        return f"the triton backend computes in float32, float16 and bfloat16, not {name}"
    return _trial() if device == "cuda" and not triton.knobs.runtime.interpret else ""


@cache
@COMPILATION.loading()
def _trial() -> str:
    """Say why a small kernel fails on this CUDA device, such as for lack of a C compiler; empty where it works."""
    from rnncli.kernels.triton.trial import comes_out_right

    try:
        return "" if comes_out_right() else "the triton backend computes wrong values on this CUDA device"
    except Exception as error:  # a compiler, a driver or a loader may raise anything
        return f"the triton backend cannot run on this CUDA device ({_first_line(error)})"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
