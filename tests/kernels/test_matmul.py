"""Fast matmuls are as accurate as torch's own, and the switch is restored."""

import pytest
import torch
from torch.nn import functional as F

from rnncli.kernels import matmul, precision
from rnncli.kernels.matmul import fast_matmul, may_round, repeated_matmul, small_matmul


@pytest.mark.parametrize(("B", "D", "M"), [(1, 4, 4), (20, 200, 800), (64, 512, 512), (700, 200, 3000)])
def test_fast_matmuls_keep_float32_accuracy(B: int, D: int, M: int) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(B, D), torch.randn(M, D), torch.randn(M)
    with fast_matmul():
        found = [x @ weight.T, F.linear(x, weight, bias), torch.addmm(bias, x, weight.T)]
    exact = x.double() @ weight.double().T
    for ours, wanted in zip(found, [exact, exact + bias, exact + bias], strict=True):
        assert (ours - wanted).norm() < 1e-6 * wanted.norm()


def test_switch_is_restored_even_after_an_error() -> None:
    before = torch.backends.mkldnn.matmul.fp32_precision
    with pytest.raises(ZeroDivisionError), fast_matmul(), fast_matmul():
        raise ZeroDivisionError
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    assert torch.get_float32_matmul_precision() == "highest"


def test_switch_stays_off_where_it_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "_onednn_is_exact", lambda: False)
    before = torch.backends.mkldnn.matmul.fp32_precision
    with fast_matmul():
        assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_innermost_precision_applies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(matmul, "_onednn_is_exact", lambda: False)
    x, settings = torch.zeros(1), torch.backends.mkldnn.matmul
    assert not may_round(x)
    with fast_matmul("bfloat16"):
        assert may_round(x)
        assert not may_round(x.double())
        assert settings.fp32_precision == "ieee"  # where the switch itself would round, it stays off
        with fast_matmul():
            assert may_round(x)
        with torch.no_grad():
            assert not may_round(x)
        for precise in (fast_matmul("float32"), small_matmul()):
            with precise:
                assert not may_round(x)
                assert settings.fp32_precision == "ieee"
        assert may_round(x)
    assert not may_round(x)


@pytest.mark.parametrize("rounded", [False, True])
def test_large_matmul_is_rounded_block_by_block(monkeypatch: pytest.MonkeyPatch, rounded: bool) -> None:
    monkeypatch.setattr(matmul, "ROUND_FROM", 90 * 30 * 40)
    monkeypatch.setattr(matmul, "BLOCK", 1000)
    torch.manual_seed(0)
    a, b, out = torch.randn(90, 30), torch.randn(30, 40), torch.empty(90, 40)
    exact = a.double() @ b.double()
    for found in (matmul.matmul(a, b, rounded=rounded), matmul.matmul(a, b, out, rounded=rounded)):
        error = (found - exact).norm() / exact.norm()
        assert found.dtype == torch.float32
        assert (1e-3 < error < 5e-3) if rounded else (error < 1e-6)
    small = matmul.matmul(a[1:], b, rounded=rounded)
    assert (small - exact[1:]).norm() < 1e-6 * exact.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("way", ["packed", "laid out", "too few"])
def test_repeated_matmul_equals_a_single_one(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, way: str) -> None:
    if way == "laid out":
        monkeypatch.setattr(matmul, "_packs", lambda dtype: False)
    torch.manual_seed(0)
    x, weight = torch.randn(7, 30).to(dtype), torch.randn(30, 40).to(dtype)
    exact = x.double() @ weight.double()
    for laid in (weight, weight.t().contiguous().t()):
        found = repeated_matmul(laid, 7, 2 if way == "too few" else 20)(x)
        assert found.dtype == dtype
        assert (found - exact).norm() < (1e-6 if dtype == torch.float32 else 5e-3) * exact.norm()


def test_failing_or_wrong_packing_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such operation")

    for broken in (fail, None, lambda x, weight, *_: torch.zeros(len(x), 128)):
        monkeypatch.setattr(matmul, "_PACKED", broken)
        matmul._packs.cache_clear()
        assert not matmul._packs(torch.float32)
    matmul._packs.cache_clear()


def test_small_matmul_uses_one_thread() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with small_matmul():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
