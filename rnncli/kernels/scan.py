"""The scan: a cell unrolled over T steps, by the backend asked for or the best that fits."""

from typing import Protocol, TypeVar

from torch import Tensor

from rnncli.errors import UsageError
from rnncli.kernels import BACKENDS
from rnncli.kernels.library import VendorForm, scan_library
from rnncli.kernels.reference import Steps, scan_reference

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])


class Recurrence(Steps[StateT], Protocol[StateT]):
    """A cell as the scan sees it: its steps, and torch's form of it where there is one."""

    @property
    def kind(self) -> str: ...
    def vendor_form(self) -> VendorForm | None: ...


def choose_backend(cell: Recurrence[StateT], backend: str = "auto") -> str:
    """Name the backend that will unroll `cell`.

    `auto` takes torch's layer wherever the equations coincide: it was faster at every shape measured.
    Raises UsageError for an unknown backend, or for one that cannot compute this cell.
    """
    return "reference" if _vendor_form(cell, backend) is None else "library"


def _vendor_form(cell: Recurrence[StateT], backend: str) -> VendorForm | None:
    """The cell in torch's terms, or None where the reference is to unroll it; raises as `choose_backend`."""
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    if backend == "reference":
        return None
    form = cell.vendor_form()
    if form is None and backend == "library":
        raise UsageError(f"torch has no layer with the equations of {cell.kind}: use --backend reference or auto")
    return form


def scan(
    cell: Recurrence[StateT],
    x: Tensor,
    state: StateT,
    lengths: Tensor | None = None,
    backend: str = "auto",
) -> tuple[Tensor, StateT]:
    """Unroll `cell` over x (T, B, D) from `state`; returns h of every step (T, B, M) and the last state.

    lengths (B,), on the CPU, each from 1 to T: past its end a sequence's state stands still and its padding is
    never looked at. Raises ValueError for lengths out of range, UsageError as `choose_backend`.
    """
    if lengths is not None:
        x = blank_padding(x, lengths)
    form = _vendor_form(cell, backend)
    if form is None:
        return scan_reference(cell, x, state, lengths)
    return scan_library(form, x, state, lengths)


def blank_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """Zero x (T, B, D) past each sequence's end, so that not even a NaN there reaches a value or a gradient."""
    T = x.shape[0]
    if lengths.min() < 1 or lengths.max() > T:
        raise ValueError(f"lengths must lie between 1 and {T}, not {lengths.min()} to {lengths.max()}")
    return x.masked_fill(padding_mask(T, lengths).to(x.device)[:, :, None], 0.0)


def padding_mask(T: int, lengths: Tensor) -> Tensor:
    """True (T, B) where a step lies past its sequence's end."""
    steps = lengths.new_ones(T).cumsum(0) - 1
    return steps[:, None] >= lengths


def reverse_valid(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse x (T, B, D) in time, each sequence within its own length; the padding stays behind."""
    if lengths is None:
        return x.flip(0)
    T = x.shape[0]
    steps = (lengths.new_ones(T).cumsum(0) - 1)[:, None]
    order = (lengths - 1 - steps).where(steps < lengths, steps).to(x.device)
    return x.gather(0, order[:, :, None].expand_as(x))
