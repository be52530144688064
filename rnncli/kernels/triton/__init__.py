"""The triton backend for CUDA: kernels that hold a cell's recurrent weights on chip, or take one launch a step.

Shapes: T steps, B batch, D input, M hidden, G gates. Triton is imported only when the backend is asked for.
"""

from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class TritonForm(NamedTuple):
    """A cell in this backend's terms: the name of its recipe, its activation, and its weights."""

    recipe: str
    activation: str
    weights: tuple[Tensor, ...]  # Wx (G*M, D), b (G*M,), then in the recipe's order (n*M, M) matrices, (k*M,) vectors


ACTIVATIONS = ("tanh", "sigmoid", "relu")


def scan_triton(form: TritonForm, x: Tensor, state: StateT, lengths: Tensor | None = None) -> tuple[Tensor, StateT]:
    """Unroll a cell by its recipe; arguments and results as `scan_reference`. It can be differentiated once."""
    from rnncli.kernels.triton.scan import unroll

    return unroll(form, x, state, lengths)


def trouble(device: str | None, dtype: torch.dtype) -> str:
    """Why the backend cannot work on this machine, device or precision, in a few words; empty where it can."""
    try:
        import triton
    except ImportError:
        return "the triton backend needs triton (pip install 'rnncli[triton]')"
    if not triton.knobs.runtime.interpret and (device not in ("cuda", None) or not torch.cuda.is_available()):
        return "the triton backend needs a CUDA device"
    if dtype not in DTYPES:
        name = str(dtype).removeprefix("torch.")
        return f"the triton backend computes in float32, float16 and bfloat16, not {name}"
    return ""
