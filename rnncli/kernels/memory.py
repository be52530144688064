"""Room for large tensors that is quickly had."""

import math
import mmap

import torch
from torch import Tensor

LARGE = 8 << 20
"""Bytes; smaller room the C library keeps and gives again, larger room it may return to the system in between."""

PAGE = 2 << 20
"""Bytes of a huge page."""


def room(like: Tensor, *shape: int) -> Tensor:
    """An uninitialised tensor, of `like`'s type and device; a large one on huge pages where the system has them.

    On common pages of 4 kB, first touches cost several times what a product's result costs to write.
    """
    count = math.prod(shape)
    size = count * like.element_size()
    if size <= LARGE or like.device.type != "cpu" or not hasattr(mmap, "MADV_HUGEPAGE"):
        return like.new_empty(shape)
    memory = mmap.mmap(-1, size + PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a kernel without them
        return like.new_empty(shape)
    values = torch.frombuffer(memory, dtype=like.dtype)
    start = -values.data_ptr() % PAGE // like.element_size()
    return values[start : start + count].view(shape)
