"""Products on the fast path are as accurate as torch's own, and the switch is put back."""

import pytest
import torch
from torch.nn import functional as F

from rnncli.kernels import products
from rnncli.kernels.products import fast_products, may_round, small_products


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
    monkeypatch.setattr(products, "has_bfloat16", lambda: True)
    monkeypatch.setattr(products, "_onednn_is_exact", lambda: False)
    x, settings = torch.zeros(1), torch.backends.mkldnn.matmul
    assert not may_round(x)
    with fast_products("bfloat16"):
        assert may_round(x)
        assert not may_round(x.double())
        assert settings.fp32_precision == "bf16"
        with fast_products():
            assert may_round(x)
        for precise in (fast_products("float32"), small_products()):
            with precise:
                assert not may_round(x)
                assert settings.fp32_precision == "ieee"
        assert may_round(x)
    assert not may_round(x)


def test_small_products_have_one_thread() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with small_products():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
