"""Peak memory of a step: blocks of known sizes, by each library that allocates."""

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from rnncli.analysis.peak_memory import peak
from rnncli.errors import RnnError
from rnncli.kernels.memory import empty_huge

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is measured on Linux only")

BLOCK = 4 << 20
"""A block of 4 MB: a peak is exact to about 0.3 MB."""


def tensor(size: int) -> object:
    return torch.ones(size, dtype=torch.uint8)


def array(size: int) -> object:
    return np.ones(size, np.uint8)


def huge_tensor(size: int) -> object:
    return empty_huge(torch.empty(0, dtype=torch.uint8), size).fill_(1)


def compiled_array(size: int) -> object:
    arithmetic = pytest.importorskip("rnncli.kernels.engine.arithmetic", reason="waits for numba")
    found = arithmetic.state_buffer(np.ones((1, 1), np.float32), size // 4 - 1)
    found[:] = 1
    return found


@linux_only
@pytest.mark.parametrize("make", [tensor, array, huge_tensor, compiled_array])
def test_peak_is_the_sum_of_blocks_alive_at_one_time(make: Callable[[int], object]) -> None:
    def step() -> None:
        first, second = make(10 * BLOCK), make(5 * BLOCK)
        del first
        third = make(7 * BLOCK)
        del second, third

    assert peak(lambda: step) == pytest.approx(15 * BLOCK, rel=0.03)


@linux_only
def test_block_that_a_step_frees_and_uses_again_counts_once() -> None:
    def step() -> None:
        for _ in range(5):
            tensor(6 * BLOCK)

    assert peak(lambda: step) == pytest.approx(6 * BLOCK, rel=0.03)


@linux_only
def test_memory_that_was_freed_before_counts_again() -> None:
    blocks = [tensor(BLOCK // 16) for _ in range(320)]
    del blocks
    assert peak(lambda: lambda: [tensor(BLOCK // 16) for _ in range(320)]) == pytest.approx(20 * BLOCK, rel=0.03)


def test_system_that_reports_no_peak_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    with pytest.raises(RnnError, match="peak memory can be measured only on Linux"):
        peak(lambda: lambda: None)
