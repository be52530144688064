"""Matmuls of compiled code by torch's BLAS, and by numpy where torch exports none."""

import ctypes
from typing import Any

import numpy as np
import pytest

from rnncli.kernels.fused import trouble

pytestmark = pytest.mark.skipif(bool(trouble()), reason="waits for numba")

SIZES = [(1, 1, 1), (4, 1, 9), (7, 5, 3), (20, 60, 33)]


def pointers(values: Any) -> Any:
    return ctypes.c_void_p(values.ctypes.data)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("letter", ["s", "d"])
@pytest.mark.parametrize(("rows", "inner", "columns"), SIZES)
def test_blas_and_its_substitute_agree(letter: str, rows: int, inner: int, columns: int, transposed: bool) -> None:
    """With BLAS's arguments, for matrices in the order of their columns that are parts of larger ones."""
    from rnncli.kernels.engine import blas

    generator, real = np.random.default_rng(0), np.float32 if letter == "s" else np.float64
    a = generator.standard_normal((rows, inner + 2) if transposed else (inner, rows + 2)).astype(real)
    b = generator.standard_normal((columns, inner + 1)).astype(real)
    numbers = np.array([ord("T" if transposed else "N"), ord("N"), rows, columns, inner, a.shape[1], b.shape[1], rows])
    factors = np.array([1, 0], real)
    wanted = (a[:, :inner] if transposed else a[:, :rows].T) @ b[:, :inner].T
    functions = [blas._SUBSTITUTES[letter]]
    if blas.IS_EXPORTED:
        functions.append(blas._POINTERS(blas._ADDRESSES[letter] or 0))
    for function in functions:
        out = np.full((columns, rows), np.nan, real)
        places = [numbers[place:] for place in range(8)]
        given = [*places[:5], factors, a, places[5], b, places[6], factors[1:], out, places[7]]
        function(*map(pointers, given))
        np.testing.assert_allclose(out.T, wanted, rtol=1e-4, atol=1e-4)


def test_rows_of_one_sequence_lie_a_step_apart() -> None:
    """The stride of a dimension of size 1 may be anything: here it is that of the whole batch."""
    from rnncli.kernels.engine.arithmetic import rows, weight_gradient

    values = np.arange(12.0).reshape(1, 4, 3)
    one = values.transpose(1, 0, 2)
    assert one.flags.c_contiguous
    assert one.strides[1] != one.strides[0]
    for function in (rows, rows.py_func):
        np.testing.assert_array_equal(function(one), values[0])
    d = np.random.default_rng(0).standard_normal((1, 400, 30)).transpose(1, 0, 2)
    np.testing.assert_allclose(weight_gradient(d, d), d[:, 0].T @ d[:, 0])


def test_compiled_matmuls_of_all_layouts() -> None:
    from rnncli.kernels.engine.arithmetic import GEMM, multiply, weight_gradient

    T, B, G, K = 7, 8, 32, 40
    assert B * G * K < GEMM < T * B * G * K
    d, x = (np.random.default_rng(n).standard_normal((T, B, n)).astype(np.float32) for n in (G + 4, K))
    part = d[:, :, 2 : 2 + G]
    wanted = part.reshape(-1, G).T @ x.reshape(-1, K)
    np.testing.assert_allclose(weight_gradient(part, x), wanted, rtol=1e-4, atol=1e-4)
    for rows in (B, T * B):  # by loops, and by BLAS
        out = np.empty((rows, K), np.float32)
        a = np.ascontiguousarray(part.reshape(-1, G)[:rows])
        multiply(a, wanted, out)
        np.testing.assert_allclose(out, a @ wanted, rtol=1e-4, atol=1e-3)


def test_a_function_that_reads_numbers_otherwise_is_not_taken() -> None:
    """Such as the upper half of each, on a machine that stores it first."""
    from rnncli.kernels.engine import blas

    for letter, real in blas._REALS.items():
        assert blas.comes_out_right(blas._SUBSTITUTES[letter], real)
        assert not blas.comes_out_right(blas._POINTERS(lambda *_: None), real)
