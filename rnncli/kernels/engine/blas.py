"""Matmuls of the BLAS library inside torch, for compiled code: calls without Python.

Torch's libraries export the BLAS functions `sgemm_` and `dgemm_`, except on some systems, where numpy replaces them.
Shapes: I rows of a product, K rows and J columns of its second factor.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite import binding
from numba import types
from numba.extending import overload

_POINTERS = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)
_NAMES = {"s": "rnncli_sgemm", "d": "rnncli_dgemm"}
"""The names under which compiled code finds the functions, by the letter of their type."""

_REALS: dict[str, Any] = {"s": ctypes.c_float, "d": ctypes.c_double}
_N, _T = ord("N"), ord("T")


def _exported(letter: str) -> int | None:
    """The address of a function of torch's BLAS library, if torch exports it and it comes out right."""
    for file in (Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*"):
        try:
            function = _POINTERS((f"{letter}gemm_", ctypes.CDLL(str(file))))
        except (OSError, AttributeError):
            continue
        if comes_out_right(function, _REALS[letter]):
            return ctypes.cast(function, ctypes.c_void_p).value
    return None


def comes_out_right(function: Any, real: Any) -> bool:
    """Whether a function multiplies two small matrices, given numbers of 64 bits: it may read 32 of them."""
    a, b = np.arange(6, dtype=real).reshape(2, 3), np.arange(12, dtype=real).reshape(3, 4)
    out, factors = np.full((2, 4), np.nan, real), np.array([1, 0], real)
    numbers = np.array([_N, _N, 4, 2, 3, 4, 3, 4], np.int64)
    ta, tb, m, n, k, lda, ldb, ldc = (numbers[place:] for place in range(8))
    function(*(each.ctypes.data for each in (ta, tb, m, n, k, factors, b, lda, a, ldb, factors[1:], out, ldc)))
    return np.array_equal(out, a @ b)


def _by_numpy(real: Any) -> Any:
    """A function with BLAS's arguments that calls numpy, for BLAS's matrices in the order of their columns."""

    def matrix(address: int, step: int, rows: int, columns: int) -> Any:
        values = (real * (step * columns)).from_address(address)
        return np.ctypeslib.as_array(values).reshape(columns, step)[:, :rows].T

    def run(*given: int) -> None:
        ta, tb, m, n, k, lda, ldb, ldc = (ctypes.c_int64.from_address(given[place]).value for place in _NUMBERS)
        a = matrix(given[6], lda, *((k, m) if ta == _T else (m, k)))
        b = matrix(given[8], ldb, *((n, k) if tb == _T else (k, n)))
        matrix(given[11], ldc, m, n)[:] = (a.T if ta == _T else a) @ (b.T if tb == _T else b)

    return _POINTERS(run)


_NUMBERS = (0, 1, 2, 3, 4, 7, 9, 12)
"""The places of whole numbers among the arguments: transA, transB, m, n, k, lda, ldb, ldc."""

_SUBSTITUTES = {letter: _by_numpy(real) for letter, real in _REALS.items()}
_ADDRESSES = {letter: _exported(letter) for letter in _NAMES}
IS_EXPORTED = all(_ADDRESSES.values())
"""Whether torch exports the functions, so that their calls cost next to nothing."""

for _letter, _name in _NAMES.items():
    binding.add_symbol(_name, _ADDRESSES[_letter] or ctypes.cast(_SUBSTITUTES[_letter], ctypes.c_void_p).value)


def gemm(a: Any, b: Any, out: Any) -> None:
    """Set out (I, J) to a (I, K) times b (K, J), in one call; a may be a transposed array."""
    np.matmul(a, b, out=out)


@overload(gemm)
def _gemm_of(a: Any, b: Any, out: Any) -> Callable[..., None]:
    del b, out
    letter = "s" if a.dtype == types.float32 else "d"
    call: Any = types.ExternalFunction(_NAMES[letter], types.void(*[types.voidptr] * 13))

    def run(a: Any, b: Any, out: Any) -> None:
        # BLAS's matrices lie in the order of their columns: it computes the transposed product
        is_transposed = a.strides[1] != a.itemsize
        (count, K), J, size = a.shape, b.shape[1], a.itemsize
        n = np.array([_N, _T if is_transposed else _N, J, count, K, 0, 0, 0], np.int64)
        n[5] = max(J, b.strides[0] // size)
        n[6] = max(count, a.strides[1] // size) if is_transposed else max(K, a.strides[0] // size)
        n[7] = max(J, out.strides[0] // size)
        factors = np.array([1, 0], a.dtype)
        ta, tb, m, columns, k = n[0:].ctypes, n[1:].ctypes, n[2:].ctypes, n[3:].ctypes, n[4:].ctypes
        one, zero, ldb, lda, ldc = factors.ctypes, factors[1:].ctypes, n[5:].ctypes, n[6:].ctypes, n[7:].ctypes
        call(ta, tb, m, columns, k, one, b.ctypes, ldb, a.ctypes, lda, zero, out.ctypes, ldc)

    return run
