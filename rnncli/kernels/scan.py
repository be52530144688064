"""The scan: a cell unrolled over T steps, by the chosen backend or the best that fits."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from rnncli.errors import UsageError
from rnncli.kernels import BACKENDS, triton
from rnncli.kernels import precision as precisions
from rnncli.kernels.chooser import Case, preferred
from rnncli.kernels.fused import FusedForm, fused_form, scan_fused, trouble
from rnncli.kernels.graphs import in_graph
from rnncli.kernels.matmul import may_round
from rnncli.kernels.recompute import scan_in_pieces
from rnncli.kernels.reference import SteppedCell, scan_reference
from rnncli.kernels.torch_layers import TorchForm, scan_torch, torch_form

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])


class Recurrence(SteppedCell[StateT], Protocol[StateT]):
    """A cell as the scan sees it: its steps, and what the other backends need to know."""

    hidden_size: int

    @property
    def kind(self) -> str: ...


def choose_backend(
    cell: Recurrence[StateT],
    backend: str = "auto",
    device: str | None = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    packed: bool = False,
    sequences: int | None = None,
    precision: str | None = None,
) -> str:
    """Name the backend that will unroll `cell` over sequences of one length, or of several (`packed`).

    `dtype` is that of the input, `precision` that of the matmuls where it differs, `sequences` the batch size. `auto`
    takes the fastest backend that can run; a device of None is unknown so far. Raises UsageError for an unknown
    backend, or for one that cannot compute this cell, on this device or in this precision.
    """
    case = Case(device or "cpu", cell.kind, cell.hidden_size, precision or name_of(dtype), packed, sequences)
    case = case._replace(amx=precisions.has_amx())
    return _choose(cell, backend, device, dtype, case)[0]


def name_of(dtype: torch.dtype) -> str:
    """Name the precision of matmuls of a type; float32's may be TF32 on CUDA in training."""
    name = str(dtype).removeprefix("torch.")
    return "tf32" if name == "float32" and precisions.in_use() == "tf32" and torch.is_grad_enabled() else name


def _choose(
    cell: Recurrence[StateT], backend: str, device: str | None, dtype: torch.dtype, case: Case
) -> tuple[str, Any]:
    """Return the backend and the cell's form for it; raises as `choose_backend`."""
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    if backend != "auto":
        form = _FORMS[backend](cell, device, dtype)
        if isinstance(form, str):
            raise UsageError(f"{form}; use --backend reference or auto")
        return backend, form
    for name in preferred(case):
        if name == "torch" and case.packed and in_graph():
            continue  # it packs by lengths that it reads on the host
        form = _FORMS[name](cell, device, dtype)
        if not isinstance(form, str):
            return name, form
    raise AssertionError("the reference backend takes every cell")


def _torch_form(cell: Recurrence[StateT], device: str | None, dtype: torch.dtype) -> TorchForm | str:
    del device, dtype
    form = torch_form(cell)
    return f"the torch backend cannot take {cell.kind}: {form}" if isinstance(form, str) else form


def _fused_form(cell: Recurrence[StateT], device: str | None, dtype: torch.dtype) -> FusedForm | str:
    if device not in ("cpu", None):
        return "the fused backend runs only on CPUs"
    if dtype not in (torch.float32, torch.float64) or torch.is_autocast_enabled("cpu"):
        return "the fused backend computes only in float32 and float64"
    if reason := trouble():
        return reason
    form = fused_form(cell)
    return f"the fused backend cannot take {cell.kind}: {form}" if isinstance(form, str) else form


def _triton_form(cell: Recurrence[StateT], device: str | None, dtype: torch.dtype) -> triton.TritonForm | str:
    if reason := triton.trouble(device, dtype):
        return reason
    form = triton.triton_form(cell)
    return f"the triton backend cannot take {cell.kind}: {form}" if isinstance(form, str) else form


_FORMS: dict[str, Callable[[Any, str | None, torch.dtype], Any]] = {
    "reference": lambda _cell, _device, _dtype: None,
    "fused": _fused_form,
    "torch": _torch_form,
    "triton": _triton_form,
}
"""The form of a cell for each backend, or a text that says why the backend cannot run it."""

_SCANS: dict[str, Callable[..., Any]] = {"fused": scan_fused, "torch": scan_torch, "triton": triton.scan_triton}


def scan(
    cell: Recurrence[StateT],
    x: Tensor,
    state: StateT,
    lengths: Tensor | None = None,
    backend: str = "auto",
    *,
    recompute: bool = False,
) -> tuple[Tensor, StateT]:
    """Unroll `cell` over x (T, B, D) from `state`; return h of every step (T, B, M) and the last state.

    lengths (B,), on the CPU, each from 1 to T. Beyond the end of a sequence its state stays constant, and its padding
    is never read. With `recompute` only states are kept, and the backward pass computes the rest again. Both results
    are of the first state's type: under autocast only matmuls are in a smaller one. Raises ValueError for no step at
    all and for lengths out of range, UsageError as `choose_backend`.
    """
    if not len(x):
        raise ValueError("x has no steps: a scan needs at least one")
    if lengths is not None:
        x = blank_padding(x, lengths)
    dtype = precisions.type_of_factors(x)
    rounded = "bfloat16" if may_round(x) else name_of(dtype)
    single = len(x) == 1 and not torch.is_grad_enabled()
    case = Case(x.device.type, cell.kind, state[0].shape[1], rounded, lengths is not None, x.shape[1])
    case = case._replace(single=single, amx=precisions.has_amx())
    name, form = _choose(cell, backend, x.device.type, dtype, case)
    run = _SCANS[name] if name != "reference" else scan_reference
    run = partial(run, cell if name == "reference" else form)
    if recompute and torch.is_grad_enabled():
        outputs, last = scan_in_pieces(run, x, state, lengths)
    else:
        outputs, last = run(x, state, lengths)
    exact = [value.to(first.dtype) for value, first in zip(last, state, strict=True)]
    return outputs.to(state[0].dtype), type(state)(*exact)


def blank_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """Set x (T, B, D) to zero beyond each sequence's end, so that no NaN there reaches a value or a gradient."""
    T = x.shape[0]
    if not in_graph() and (lengths.min() < 1 or lengths.max() > T):  # a graph reads no length on the host
        raise ValueError(f"lengths must lie between 1 and {T}, not {lengths.min()} to {lengths.max()}")
    return x.masked_fill(padding_mask(T, lengths).to(x.device)[:, :, None], 0.0)


def padding_mask(T: int, lengths: Tensor) -> Tensor:
    """Return a mask (T, B), True where a step lies beyond its sequence's end."""
    steps = lengths.new_ones(T).cumsum(0) - 1
    return steps[:, None] >= lengths


def reverse_valid(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse x (T, B, D) in time, each sequence within its own length; the padding stays at the end."""
    if lengths is None:
        return x.flip(0)
    T = x.shape[0]
    steps = (lengths.new_ones(T).cumsum(0) - 1)[:, None]
    order = (lengths - 1 - steps).where(steps < lengths, steps).to(x.device)
    return x.gather(0, order[:, :, None].expand_as(x))
