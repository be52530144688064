"""The peak memory of a step: all bytes that are allocated and used at one time, by whatever library."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rnncli.analysis.bench import Contender
from rnncli.errors import RnnError
from rnncli.kernels.memory import POOL

M_MMAP_THRESHOLD = -3
"""The option of `mallopt` that says from which size on a block is mapped from the system, and unmapped when freed."""

MAPPED_FROM, USUAL = 64 << 10, 32 << 20
"""That size while measuring, and the size that glibc arrives at by itself in a program of large blocks."""

PR_SET_THP_DISABLE = 41
"""The option of `prctl` that forbids huge pages to this process."""


def peak(prepare: Contender) -> int:
    """The most bytes that a step holds at one time, beyond what is alive before and after it.

    The process grows and shrinks by exactly the blocks in use, because each block of 64 kB or more is mapped by itself
    and no freed one is used again. Linux records the peak. Smaller blocks and what a library keeps from step to step
    (the first step is not measured) do not count, nor does memory that is never touched. Raises RnnError on a system
    that does not report its peak.
    """
    try:
        with _mapped_blocks():
            step = prepare()
            assert step is not None
            step()
            gc.collect()
            POOL.clear()  # what our layers keep from step to step counts
            ctypes.CDLL(None).malloc_trim(0)  # returns what was freed before
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets the peak
            before = _status("VmRSS")
            step()
            return _status("VmHWM") - before
    except (OSError, AttributeError, TypeError):  # a system without /proc, or a C library other than glibc
        raise RnnError("peak memory can be measured only on Linux") from None


@contextmanager
def _mapped_blocks() -> Iterator[None]:
    """Map each large block by itself while inside, on pages of the usual size."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
    libc.mallopt(M_MMAP_THRESHOLD, MAPPED_FROM)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_THRESHOLD, USUAL)
        libc.prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024
