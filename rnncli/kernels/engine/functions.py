"""Everything that generated code calls; importing it tells numba how to compile the functions of `scalars`."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from rnncli.kernels.engine import scalars
from rnncli.kernels.engine.arithmetic import (
    added,
    compiled,
    exponential,
    multiply,
    rows,
    state_buffer,
    to_float,
    total,
    weight_gradient,
)
from rnncli.kernels.engine.scalars import *  # noqa: F403  # generated code imports them from here

__all__ = [
    "add_row", "added", "compiled", "gather_columns", "gather_rows", "gather_vector", "multiply", "row_max", "row_sum",
    "rows", "scatter_rows", "scatter_vector", "state_buffer", "to_float", "total", "weight_gradient", *scalars.__all__,
]  # fmt: skip


def _one(x: Any) -> Any:
    """The 1 of a numba type."""
    return np.float32(1) if x == types.float32 else np.float64(1)


def _numba(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    made: Callable[[Callable[..., Any]], Callable[..., Any]] = overload(function)
    return made


@_numba(scalars.sigmoid)
def _sigmoid(x: Any) -> Any:
    one = _one(x)

    def compute(x: Any) -> Any:
        s, p = exponential(-x)
        return one / (one + (s + s * p))

    return compute


@_numba(scalars.tanh)
def _tanh(x: Any) -> Any:
    one = _one(x)

    def compute(x: Any) -> Any:
        s, p = exponential(x + x)
        e = (s - one) + s * p
        return e / (e + one + one)

    return compute


@_numba(scalars.exp)
def _exp(x: Any) -> Any:
    def compute(x: Any) -> Any:
        s, p = exponential(x)
        return s + s * p

    return compute


@_numba(scalars.expm1)
def _expm1(x: Any) -> Any:
    one = _one(x)

    def compute(x: Any) -> Any:
        s, p = exponential(x)
        return (s - one) + s * p

    return compute


@_numba(scalars.softplus)
def _softplus(x: Any) -> Any:
    """max(x, 0) + log(1 + e^-|x|)."""
    zero = _one(x) - _one(x)

    def compute(x: Any) -> Any:
        s, p = exponential(-abs(x))
        return (zero if x < zero else x) + math.log1p(s + s * p)

    return compute


@_numba(scalars.rsqrt)
def _rsqrt(x: Any) -> Any:
    one = _one(x)

    def compute(x: Any) -> Any:
        return one / math.sqrt(x)

    return compute


@_numba(scalars.relu)
def _relu(x: Any) -> Any:
    zero = _one(x) - _one(x)

    def compute(x: Any) -> Any:
        return zero if x < zero else x

    return compute


@_numba(scalars.sign)
def _sign(x: Any) -> Any:
    one = _one(x)
    zero = one - one

    def compute(x: Any) -> Any:
        return one if x > zero else (-one if x < zero else x)

    return compute


@_numba(scalars.select)
def _select(c: Any, a: Any, b: Any) -> Any:
    zero = _one(c) - _one(c)

    def compute(c: Any, a: Any, b: Any) -> Any:
        return b if c == zero else a

    return compute


@_numba(scalars.maximum)
def _maximum(a: Any, b: Any) -> Any:

    def compute(a: Any, b: Any) -> Any:
        return a if a > b or a != a else b

    return compute


@_numba(scalars.minimum)
def _minimum(a: Any, b: Any) -> Any:

    def compute(a: Any, b: Any) -> Any:
        return a if a < b or a != a else b

    return compute


def _same(function: Callable[..., Any], name: str) -> None:
    """Compile a function of one value as that of the standard library."""
    compute = getattr(math, name)
    overload(function)(lambda x: lambda x: compute(x))


for _name in ("log", "log1p", "sqrt", "sin", "cos", "erf"):
    _same(getattr(scalars, _name), _name)
overload(scalars.absolute)(lambda x: lambda x: abs(x))
overload(scalars.power)(lambda x, p: lambda x, p: x**p)


@_numba(scalars.eq)
def _eq(a: Any, b: Any) -> Any:
    one = _one(a)
    zero = one - one

    def compute(a: Any, b: Any) -> Any:
        return one if a == b else zero

    return compute


@_numba(scalars.ne)
def _ne(a: Any, b: Any) -> Any:
    one = _one(a)
    zero = one - one

    def compute(a: Any, b: Any) -> Any:
        return one if a != b else zero

    return compute


@_numba(scalars.lt)
def _lt(a: Any, b: Any) -> Any:
    one = _one(a)
    zero = one - one

    def compute(a: Any, b: Any) -> Any:
        return one if a < b else zero

    return compute


@_numba(scalars.le)
def _le(a: Any, b: Any) -> Any:
    one = _one(a)
    zero = one - one

    def compute(a: Any, b: Any) -> Any:
        return one if a <= b else zero

    return compute


@_numba(scalars.gt)
def _gt(a: Any, b: Any) -> Any:
    one = _one(a)
    zero = one - one

    def compute(a: Any, b: Any) -> Any:
        return one if a > b else zero

    return compute


@_numba(scalars.ge)
def _ge(a: Any, b: Any) -> Any:
    one = _one(a)
    zero = one - one

    def compute(a: Any, b: Any) -> Any:
        return one if a >= b else zero

    return compute


@njit(cache=True, error_model="numpy", fastmath={"contract", "reassoc"}, nogil=True)
def row_sum(a: Any) -> Any:
    """Return the sum of a (N,)."""
    found = a.dtype.type(0)
    for n in range(a.size):
        found += a[n]
    return found


@compiled
def row_max(a: Any) -> Any:
    """Return the greatest value of a (N,)."""
    found = a[0]
    for n in range(1, a.size):
        found = a[n] if a[n] > found or a[n] != a[n] else found
    return found


@compiled
def add_row(a: Any, b: Any) -> None:
    """Add a matmul's result (N,) to b."""
    for n in range(b.size):
        b[n] += to_float(a[n])


@compiled
def gather_columns(weight: Any, source: Any, rows: int, columns: int, K: int, N: int, begin: int) -> None:
    """Copy (K, N) values of `source`, `rows` and `columns` apart, to the columns of a weight from `begin` on."""
    for k in range(K):
        for n in range(N):
            weight[k, begin + n] = source[k * rows + n * columns]


@compiled
def gather_rows(weight: Any, source: Any, rows: int, columns: int, K: int, N: int, begin: int) -> None:
    """Copy the transpose of the same values to the rows of a weight from `begin` on."""
    for n in range(N):
        for k in range(K):
            weight[begin + n, k] = source[k * rows + n * columns]


@compiled
def scatter_rows(gradient: Any, target: Any, rows: int, columns: int, K: int, N: int, begin: int) -> None:
    """Add the rows of a gradient (…, K) from `begin` on to (K, N) values of `target`."""
    for n in range(N):
        for k in range(K):
            target[k * rows + n * columns] += gradient[begin + n, k]


@compiled
def gather_vector(source: Any, target: Any, begin: int, N: int) -> None:
    """Copy N values to those of `target` from `begin` on."""
    for n in range(N):
        target[begin + n] = source[n]


@compiled
def scatter_vector(source: Any, target: Any, begin: int, N: int) -> None:
    """Add N values of `source` from `begin` on to `target`."""
    for n in range(N):
        target[n] += source[begin + n]
