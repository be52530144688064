"""Products on the fast path are as accurate as torch's own, and the switch is put back."""

import pytest
import torch
from torch.nn import functional as F

from rnncli.kernels import precision, products
from rnncli.kernels.products import fast_products, may_round, product, repeated, small_products


@pytest.mark.parametrize(("B", "D", "M"), [(1, 4, 4), (20, 200, 800), (64, 512, 512), (700, 200, 3000)])
def test_products_keep_the_accuracy_of_float32(B: int, D: int, M: int) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(B, D), torch.randn(M, D), torch.randn(M)
    with fast_products():
        found = [x @ weight.T, F.linear(x, weight, bias), torch.addmm(bias, x, weight.T)]
    exact = x.double() @ weight.double().T
    for ours, wanted in zip(found, [exact, exact + bias, exact + bias], strict=True):
        assert (ours - wanted).norm() < 1e-6 * wanted.norm()


def test_the_switch_is_put_back_even_after_an_error() -> None:
    before = torch.backends.mkldnn.matmul.fp32_precision
    with pytest.raises(ZeroDivisionError), fast_products(), fast_products():
        raise ZeroDivisionError
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    assert torch.get_float32_matmul_precision() == "highest"


def test_where_the_switch_rounds_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_onednn_is_exact", lambda: False)
    before = torch.backends.mkldnn.matmul.fp32_precision
    with fast_products():
        assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_the_innermost_precision_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(products, "_onednn_is_exact", lambda: False)
    x, settings = torch.zeros(1), torch.backends.mkldnn.matmul
    assert not may_round(x)
    with fast_products("bfloat16"):
        assert may_round(x)
        assert not may_round(x.double())
        assert settings.fp32_precision == "ieee"  # where the switch itself would round, it stays off
        with fast_products():
            assert may_round(x)
        with torch.no_grad():
            assert not may_round(x)
        for precise in (fast_products("float32"), small_products()):
            with precise:
                assert not may_round(x)
                assert settings.fp32_precision == "ieee"
        assert may_round(x)
    assert not may_round(x)


@pytest.mark.parametrize("rounded", [False, True])
def test_a_large_product_may_be_rounded_part_by_part(monkeypatch: pytest.MonkeyPatch, rounded: bool) -> None:
    monkeypatch.setattr(products, "ROUNDED", 90 * 30 * 40)
    monkeypatch.setattr(products, "BLOCK", 1000)
    torch.manual_seed(0)
    a, b, out = torch.randn(90, 30), torch.randn(30, 40), torch.empty(90, 40)
    exact = a.double() @ b.double()
    for found in (product(a, b, rounded=rounded), product(a, b, out, rounded=rounded)):
        error = (found - exact).norm() / exact.norm()
        assert found.dtype == torch.float32
        assert (1e-3 < error < 5e-3) if rounded else (error < 1e-6)
    small = product(a[1:], b, rounded=rounded)
    assert (small - exact[1:]).norm() < 1e-6 * exact.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("way", ["packed", "laid out", "too few"])
def test_a_weight_that_is_used_again_gives_what_it_gives_once(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, way: str
) -> None:
    if way == "laid out":
        monkeypatch.setattr(products, "_packs", lambda dtype: False)
    torch.manual_seed(0)
    x, weight = torch.randn(7, 30).to(dtype), torch.randn(30, 40).to(dtype)
    exact = x.double() @ weight.double()
    for laid in (weight, weight.t().contiguous().t()):
        found = repeated(laid, 7, 2 if way == "too few" else 20)(x)
        assert found.dtype == dtype
        assert (found - exact).norm() < (1e-6 if dtype == torch.float32 else 5e-3) * exact.norm()


def test_where_packing_fails_or_errs_it_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such operation")

    for broken in (fail, None, lambda x, weight, *_: torch.zeros(len(x), 128)):
        monkeypatch.setattr(products, "_PACKED", broken)
        products._packs.cache_clear()
        assert not products._packs(torch.float32)
    products._packs.cache_clear()


def test_small_products_have_one_thread() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with small_products():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
