"""Fast allocation of large tensors."""

import contextlib
import math
import mmap
import sys

import torch
from torch import Tensor

LARGE = 8 << 20
"""Bytes. The C library keeps smaller blocks for reuse; it may return larger ones to the system in between."""

PAGE = 2 << 20
"""Bytes of a huge page."""


def empty_huge(like: Tensor, *shape: int) -> Tensor:
    """Allocate an uninitialised tensor of `like`'s type and device; large ones on huge pages where the system has them.

    With common pages of 4 kB, the first touch costs several times as much as writing a matmul's result.
    """
    count = math.prod(shape)
    size = count * like.element_size()
    memory = _huge_pages(size + PAGE) if size > LARGE and like.device.type == "cpu" else None
    if memory is None:
        return like.new_empty(shape)
    values = torch.frombuffer(memory, dtype=like.dtype)
    start = -values.data_ptr() % PAGE // like.element_size()
    return values[start : start + count].view(shape)


def _huge_pages(size: int) -> mmap.mmap | None:
    """Map `size` bytes on huge pages; None where the system has none."""
    if sys.platform != "win32" and hasattr(mmap, "MADV_HUGEPAGE"):
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with contextlib.suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
            return memory
    return None
