"""Large tensors on huge pages: what they share with any tensor, and when their memory serves the next ones."""

import errno
import mmap
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor

from rnncli.cells import make_cell
from rnncli.kernels import memory
from rnncli.kernels.fused import trouble
from rnncli.kernels.scan import scan

LIKE = torch.empty(0, dtype=torch.float64)

huge_pages = pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="this system has no huge pages")


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> memory.Pool:
    """An empty pool that takes tensors of any size."""
    monkeypatch.setattr(memory, "LARGE", 0)
    monkeypatch.setattr(memory, "POOL", memory.Pool())
    return memory.POOL


def test_huge_page_tensor_behaves_like_any_other() -> None:
    found = memory.empty_huge(LIKE, 3, 700, 5)
    assert (found.shape, found.dtype, found.is_contiguous()) == ((3, 700, 5), torch.float64, True)
    assert found.data_ptr() % memory.PAGE == 0
    found.fill_(2.5)
    assert found.sum() == 2.5 * found.numel()


@huge_pages
def test_memory_is_used_again_only_when_no_view_is_left(pool: memory.Pool) -> None:
    first = memory.empty_huge(LIKE, 1000)
    view, place = first[5:].fill_(1.5), first.data_ptr()
    del first
    second = memory.empty_huge(LIKE, 1000).zero_()
    assert second.data_ptr() != place
    assert view.eq(1.5).all()
    del view
    third = memory.empty_huge(LIKE.float(), 500)  # another type, and smaller
    assert (third.data_ptr(), pool.idle) == (place, [])


@huge_pages
def test_idle_blocks_never_exceed_what_was_in_use_at_one_time(pool: memory.Pool) -> None:
    small, large = 1000, 1_000_000
    tensors = [memory.empty_huge(LIKE, small) for _ in range(4)]
    tensors.clear()
    assert len(pool.idle) == 4
    kept = memory.empty_huge(LIKE, large)
    assert len(pool.idle) == 0
    del kept
    assert len(pool.idle) == 1
    for _ in range(3):  # another order of sizes: one of them uses the large block
        tensors = [memory.empty_huge(LIKE, small), memory.empty_huge(LIKE, small)]
        tensors.clear()
        assert sum(map(len, pool.idle)) <= pool.peak
    pool.clear()
    assert (pool.idle, pool.in_use, pool.peak) == ([], 0, 0)


@huge_pages
def test_torch_allocates_where_huge_pages_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **_names: Any) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", fail)
    assert memory.empty_huge(LIKE, 3, 5).shape == (3, 5)


@huge_pages
def test_threads_share_no_memory(pool: memory.Pool) -> None:
    wrong = []

    def run(value: float) -> None:
        for _ in range(200):
            mine = memory.empty_huge(LIKE, 64).fill_(value)
            wrong.append(bool(mine.ne(value).any()))

    threads = [Thread(target=run, args=(float(n),)) for n in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not any(wrong)
    assert pool.in_use == 0


@pytest.mark.skipif(bool(trouble()), reason="waits for numba")
def test_two_nets_and_a_kept_graph_do_not_disturb_each_other(
    plain_loops: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnncli.kernels.engine.scan.SMALL", 0)

    def gradients(backend: str) -> list[Tensor]:
        torch.manual_seed(0)
        one, other = (make_cell(kind, 3, 4).double() for kind in ("elman", "lstm:none"))
        x, found = torch.randn(6, 2, 3, dtype=torch.float64), []
        for step in range(3):
            results: list[Any] = [scan(cell, x + step, cell.initial_state(2), backend=backend) for cell in (one, other)]
            loss = sum(outputs.square().sum() for outputs, _ in results)
            for again in (True, False):
                found += torch.autograd.grad(loss, [one.weight_x, other.weight_h], retain_graph=again)
            found += [outputs.detach() for outputs, _ in results]
        return found

    torch.testing.assert_close(gradients("fused"), gradients("reference"))
