"""How a net is worked with: in which precision, by how many threads and which library's products, on what memory."""

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import torch
from torch import nn

from rnncli.errors import UsageError
from rnncli.kernels import precision as precisions
from rnncli.kernels.products import fast_products, small_products
from rnncli.models.feedforward import FeedForward
from rnncli.training.settings import TrainingSettings

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of what can be set, from malloc.h."""

SMALL = 100_000
"""Weights; a smaller net is no faster on several threads, and many times slower when other programs want them."""


@contextmanager
def suited_products(model: nn.Module, precision: str = "float32") -> Iterator[None]:
    """While inside, a small net has one thread, and any other all that torch was given and the fastest products.

    The precision is that of products in training steps; everything else that is done inside is exact to float32.
    """
    with small_products() if is_small(model) else fast_products(precision):
        yield


def is_small(model: nn.Module) -> bool:
    """Whether a net is worked with by one thread, and never in a reduced precision."""
    return multiplied_weights(model) < SMALL


def pick_precision(settings: TrainingSettings, device: str, model: nn.Module, *, given: bool) -> str:
    """The precision to train a net in: that of the settings, or for `auto` the fastest that keeps the task's loss.

    A reduced one that would change nothing here is float32; where the user has given it, that raises UsageError.
    """
    auto = settings.precision == "auto"
    wanted = settings.fast_precision.get(device, "float32") if auto else settings.precision
    reason = precisions.trouble(wanted, device)
    if wanted != "float32" and not reason and is_small(model):
        reason = f"a net of {multiplied_weights(model):,} weights is no faster by it"
    if wanted != "float32" and not reason and device == "cpu" and isinstance(model, FeedForward):
        reason = "no product of a feed-forward net is rounded on a CPU"
    if reason and given and not auto:
        raise UsageError(f"--precision {wanted}: {reason}; leave --precision out")
    return "float32" if reason else wanted


def keep_freed_memory() -> None:
    """Let glibc keep what a step has freed for the next one, up to 512 MB, for as long as the process lives.

    Of itself it gives the end of its heap back and fetches it again page by page: up to 14,000 pages a step of a word
    model. Other C libraries are left as they are.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
        mallopt(M_TRIM_THRESHOLD, 512 << 20)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no more memory, of a device or of the machine.

    For the latter torch has no error of its own, only what its CPU allocator says: as it has said so far, or as it is
    made to say here.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "DefaultCPUAllocator" in str(error) or _without_numbers(error) in _allocator_says()


@cache
def _allocator_says() -> tuple[str, ...]:
    """How torch says that the machine has no more memory, but for numbers: one text, if it is a RuntimeError."""
    try:
        torch.empty(2**62, dtype=torch.uint8)
    except RuntimeError as error:
        return (_without_numbers(error),)
    return ()


def _without_numbers(error: BaseException) -> str:
    return re.sub(r"\d+", "", str(error).partition("\n")[0])


def multiplied_weights(model: nn.Module) -> int:
    """The weights of a net but a reader's lookup tables; of a committee, those of one of its equal members."""
    members: Any = getattr(model, "members", [model])
    return sum(each.numel() for name, each in members[0].named_parameters() if not name.startswith("reader."))
