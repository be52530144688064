"""The precision of matmuls in training: one switch for all devices, and what each device supports.

Matmuls are reduced only in training: validation and use stay in float32. States, sums, pointwise work, the loss and the
optimizer are float32 in every precision.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from torch import Tensor

HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""The precisions that have a data type."""

CAPABILITIES = {"tf32": (8, 0), "bfloat16": (8, 0), "float16": (7, 0)}
"""The CUDA compute capability from which tensor cores support a precision (CUDA C++ Programming Guide)."""

_precision: ContextVar[str] = ContextVar("precision", default="float32")


@contextmanager
def using(precision: str | None) -> Iterator[None]:
    """Train in this precision while inside; None keeps the precision of the surrounding context.

    CUDA's float32 matmuls and cuDNN's layers, whose default is TF32, are exact inside: only `training_precision` lets
    them round. Matmuls of the smaller types are summed in float32, which is not torch's default either.
    """
    token = _precision.set(_precision.get() if precision is None else precision)
    try:
        with nullcontext() if precision is None else setting(*_float32("ieee"), *_exact_sums()):
            yield
    finally:
        _precision.reset(token)


def in_use() -> str:
    """Return the precision in which nets train here."""
    return _precision.get()


def training_precision() -> AbstractContextManager[None]:
    """Wrap the forward and backward passes of a training step: TF32 is allowed where it is the precision in use."""
    return setting(*_float32("tf32")) if in_use() == "tf32" else nullcontext()


def forward_pass(device: str) -> AbstractContextManager[Any]:
    """Wrap the forward pass of a training step: torch's autocast on CUDA, where bfloat16 or float16 is in use.

    The backward pass follows automatically and must lie outside.
    """
    dtype = HALVES.get(in_use())
    return nullcontext() if device != "cuda" or dtype is None else torch.autocast(device, dtype)


Setting = tuple[Any, str, Any]
"""An object of torch's, the name of an attribute, and the value to set."""


def _float32(value: str) -> list[Setting]:
    """Set whether CUDA's float32 matmuls and cuDNN's recurrent layers round to TF32 (`tf32`) or not (`ieee`)."""
    owners = (torch.backends.cuda.matmul, getattr(torch.backends.cudnn, "rnn", None))
    return [(owner, "fp32_precision", value) for owner in owners]


def _exact_sums() -> list[Setting]:
    """Keep CUDA from rounding partial sums of a matmul to the smaller type of its factors."""
    names = (f"allow_{name}_reduced_precision_reduction" for name in ("fp16", "bf16"))
    return [(torch.backends.cuda.matmul, name, False) for name in names]


@contextmanager
def setting(*values: Setting) -> Iterator[None]:
    """Give attributes these values while inside; an attribute that this torch lacks is skipped."""
    known = [(owner, name, value) for owner, name, value in values if hasattr(owner, name)]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in known]
    try:
        for each in known:
            setattr(*each)
        yield
    finally:
        for each in before:
            setattr(*each)


def type_of_factors(x: Tensor) -> torch.dtype:
    """Return the type in which x is multiplied: autocast's inside `forward_pass`, else x's own."""
    device = x.device.type
    reduced = x.dtype == torch.float32 and torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if reduced else x.dtype


def trouble(precision: str, device: str) -> str:
    """Say in a few words why a device does not multiply in a precision; empty where it does."""
    if precision == "float32":
        return ""
    if device == "cpu":
        if precision != "bfloat16":
            return f"CPUs support bfloat16 and float32, not {precision}"
        return "" if has_bfloat16() else "this processor has no instructions for it"
    if device != "cuda":
        return f"it is not supported on {device} yet"
    minimum = CAPABILITIES[precision]
    if torch.cuda.get_device_capability() < minimum:
        return f"it needs a CUDA device of compute capability {'.'.join(map(str, minimum))}"
    return ""


@cache
def has_bfloat16() -> bool:
    """Tell whether the CPU has bfloat16 instructions; without them such matmuls are slower than float32's."""
    return bool(capabilities().get("avx512_bf16") or has_amx())


def has_amx() -> bool:
    """Tell whether the CPU multiplies whole tiles in bfloat16."""
    return bool(capabilities().get("amx_bf16"))


@cache
def capabilities() -> dict[str, Any]:
    """Return the CPU's instructions by name; nothing where torch does not tell."""
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return found
