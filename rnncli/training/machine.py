"""Settings that suit a net on this machine: precision, threads and library of its matmuls, and memory."""

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
from rnncli.kernels.matmul import fast_matmul, small_matmul
from rnncli.models.feedforward import FeedForward
from rnncli.training.distributed import world
from rnncli.training.experiment import Experiment
from rnncli.training.settings import TrainingSettings

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt, from malloc.h."""

FEW_LENGTHS = 8
"""Sentences are padded to a multiple of this number of steps where steps are recorded: each length needs a graph."""

SMALL = 100_000
"""Weights. A smaller net gains nothing from several threads, and loses much when other programs use the cores."""


@contextmanager
def matmul_policy(model: nn.Module, precision: str = "float32") -> Iterator[None]:
    """Give a small net one thread while inside; a larger net gets all threads of torch and the fastest matmuls.

    Training steps round their matmuls to the precision; everything else inside is exact to float32.
    """
    with small_matmul() if is_small(model) else fast_matmul(precision):
        yield


def is_small(model: nn.Module) -> bool:
    """Tell whether a net runs on one thread, and never in a reduced precision."""
    return multiplied_weights(model) < SMALL


def pick_precision(settings: TrainingSettings, device: str, model: nn.Module, *, given: bool) -> str:
    """Choose the training precision: that of the settings, or for `auto` the fastest that keeps the task's loss.

    A reduced precision without effect becomes float32. Raises UsageError where the user has `given` it.
    """
    auto = settings.precision == "auto"
    wanted = settings.fast_precision.get(device, "float32") if auto else settings.precision
    reason = precisions.trouble(wanted, device)
    if wanted != "float32" and not reason and is_small(model):
        reason = f"it does not speed up a net of {multiplied_weights(model):,} weights"
    if wanted != "float32" and not reason and device == "cpu" and isinstance(model, FeedForward):
        reason = "matmuls of a feed-forward net are not rounded on a CPU"
    if reason and given and not auto:
        raise UsageError(f"--precision {wanted}: {reason}; leave --precision out")
    return "float32" if reason else wanted


def pick_graphs(settings: TrainingSettings, device: str, experiment: Experiment, *, given: bool) -> str:
    """Return why training steps are not recorded as CUDA graphs; empty where they are.

    Raises UsageError where the user has `given` --graphs, but they cannot be.
    """
    if settings.graphs == "off":
        return "--no-graphs"
    reason = _without_graphs(device) or experiment.no_graphs
    if getattr(settings, "recompute", False):
        reason = reason or "--recompute restores random generators, which a graph cannot"
    if reason and given and settings.graphs == "on":
        raise UsageError(f"--graphs: {reason}; leave --graphs out")
    return reason


def batch_multiple(settings: TrainingSettings, device: str) -> int:
    """Return a number of which the steps of sentences' batches are to be a multiple: CUDA graphs want few lengths."""
    return 1 if settings.graphs == "off" or _without_graphs(device) else FEW_LENGTHS


def _without_graphs(device: str) -> str:
    if device != "cuda":
        return "only CUDA has graphs"
    return "several processes exchange their gradients within a step" if world() > 1 else ""


def keep_freed_memory() -> None:
    """Let glibc keep up to 512 MB of freed memory for the next step, until the process ends.

    By default it returns the end of its heap and fetches it again page by page: up to 14,000 pages per step of a word
    model. Other C libraries are not affected.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
        mallopt(M_TRIM_THRESHOLD, 512 << 20)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that a device or the machine has no memory left.

    torch has no class for the machine's case: the text of its CPU allocator is compared with the known text and with
    the one it gives here.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "DefaultCPUAllocator" in str(error) or _without_numbers(error) in _allocator_says()


@cache
def _allocator_says() -> tuple[str, ...]:
    """Return torch's text, without numbers, for more memory than any machine has; empty for another error."""
    try:
        torch.empty(2**62, dtype=torch.uint8)
    except RuntimeError as error:
        return (_without_numbers(error),)
    return ()


def _without_numbers(error: BaseException) -> str:
    return re.sub(r"\d+", "", str(error).partition("\n")[0])


def multiplied_weights(model: nn.Module) -> int:
    """Count the weights of a net without a reader's lookup tables; of a committee, those of one member."""
    members: Any = getattr(model, "members", [model])
    return sum(each.numel() for name, each in members[0].named_parameters() if not name.startswith("reader."))
