"""Fast allocation of large tensors: huge pages, which are kept for the tensors of the next step."""

import contextlib
import math
import mmap
import sys
from threading import RLock
from weakref import finalize

import torch
from torch import Tensor

LARGE = 8 << 20
"""Bytes. The C library keeps smaller blocks for reuse; it may return larger ones to the system in between."""

PAGE = 2 << 20
"""Bytes of a huge page."""


class Pool:
    """Blocks of huge pages of tensors that nobody holds any more, for the next ones.

    In use and idle together, they never take more memory than those in use took at one time. The system may take the
    pages of idle blocks when it needs memory.
    """

    def __init__(self) -> None:
        self.idle: list[mmap.mmap] = []  # longest idle first
        self.in_use, self.peak = 0, 0  # bytes
        self.lock = RLock()  # a tensor may die, and its block return, while a block is taken

    def take(self, size: int) -> memoryview | None:
        """A block of at least `size` bytes, which returns when the view is no longer used; None without huge pages."""
        with self.lock:
            fitting = [block for block in self.idle if len(block) >= size]
            block = min(fitting, key=len, default=None)
            if block is not None:
                self.idle.remove(block)
            else:
                while self.idle and self.in_use + sum(map(len, self.idle)) + size > self.peak:
                    self.idle.pop(0)
                block = _huge_pages(size)
                if block is None:
                    return None
            self.in_use += len(block)
            self.peak = max(self.peak, self.in_use)
            view = memoryview(block)
            finalize(view, self.put, block).atexit = False
            return view

    def put(self, block: mmap.mmap) -> None:
        """Keep a block that is no longer used."""
        with self.lock, contextlib.suppress(OSError, AttributeError):  # a system that cannot take idle pages
            self.in_use -= len(block)
            self.idle.append(block)
            block.madvise(mmap.MADV_FREE)

    def clear(self) -> None:
        """Return all idle blocks to the system."""
        with self.lock:
            self.idle.clear()
            self.peak = self.in_use


POOL = Pool()
"""The blocks of this process."""


def empty_huge(like: Tensor, *shape: int) -> Tensor:
    """Allocate an uninitialised tensor of `like`'s type and device; large ones on huge pages where the system has them.

    With common pages of 4 kB, the first touch costs several times as much as writing a matmul's result.
    """
    count = math.prod(shape)
    size = count * like.element_size()
    memory = POOL.take(size + PAGE) if size > LARGE and like.device.type == "cpu" else None
    if memory is None:
        return like.new_empty(shape)
    values = torch.frombuffer(memory, dtype=like.dtype, count=len(memory) // like.element_size())
    start = -values.data_ptr() % PAGE // like.element_size()
    return values[start : start + count].view(shape)


def _huge_pages(size: int) -> mmap.mmap | None:
    """Map `size` bytes on huge pages; None where the system has none, or lacks memory."""
    if sys.platform != "win32" and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them, or no memory, which torch then reports
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            memory.madvise(mmap.MADV_HUGEPAGE)
            return memory
    return None
