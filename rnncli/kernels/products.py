"""Float32 products on the CPU by the fastest library that torch has, no less accurate than by its own choice."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

_SETTINGS: Any = getattr(torch.backends.mkldnn, "matmul", None)
"""Where torch keeps the switch; a build without it stays as it is."""


@contextmanager
def fast_products() -> Iterator[None]:
    """While inside, float32 products on the CPU go to oneDNN where that is as accurate; entering again is harmless.

    torch's own choice, MKL, is 2 to 3 times slower on AMD's processors. The switch that leads to oneDNN allows it to
    round to bfloat16, which it does on processors with AMX alone: there, and wherever a test product comes out
    rounded, nothing is changed.
    """
    if not _onednn_is_exact():
        yield
        return
    before = _SETTINGS.fp32_precision
    _SETTINGS.fp32_precision = "bf16"
    try:
        yield
    finally:
        _SETTINGS.fp32_precision = before


@cache
def _onednn_is_exact() -> bool:
    """Whether a product under the switch has the error of float32, not that of bfloat16 (4e-3)."""
    if _SETTINGS is None or not torch.backends.mkldnn.is_available():
        return False
    a = (torch.arange(128 * 256) % 251).view(128, 256) / 251
    b = (torch.arange(256 * 128) % 241).view(256, 128) / 241
    before = _SETTINGS.fp32_precision
    _SETTINGS.fp32_precision = "bf16"
    try:
        found = a @ b
    finally:
        _SETTINGS.fp32_precision = before
    wanted = a.double() @ b.double()
    return bool((found - wanted).norm() < 1e-6 * wanted.norm())
