"""Building blocks of compiled loops: a vectorisable exponential function, and matmuls of small matrices.

Everything works on arrays of float32 or float64, each in its own precision.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit, types
from numba.core import event
from numba.extending import overload
from numpy.lib.stride_tricks import as_strided

from rnncli.kernels.compiling import COMPILATION
from rnncli.kernels.engine.blas import gemm

GEMM = 30_000
"""Multiplications of a matmul. Below this, BLAS's call costs more than its speed gains."""

Function = TypeVar("Function", bound=Callable[..., Any])


class _Listener(event.Listener):
    """Reports when numba compiles; numba is silent where it finds the code in its cache."""

    def on_start(self, event: Any) -> None:
        del event
        COMPILATION.begin()

    def on_end(self, event: Any) -> None:
        del event
        COMPILATION.end()


_register: Callable[..., None] = event.register
_register("numba:compile", _Listener())


def compiled(function: Function) -> Function:
    """Compile a function for each kind of arguments, once per machine: numba caches the code on disk.

    A division by zero gives inf or nan, as everywhere in numpy: a check would prevent vectorisation.
    """
    options: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True}
    options["no_cfunc_wrapper"] = True  # nothing calls it from C
    made: Function
    try:
        made = njit(cache=True, **options)(function)
    except RuntimeError:  # no folder is writable
        made = njit(**options)(function)
    return made


# e^x = 2^n e^r with |r| <= ln(2)/2. Adding MAGIC leaves n in a number's lowest bits, which then become the exponent
# of 2^n. ln(2) is subtracted in two parts; the first has few enough bits for an exact product with n. Taylor follows.
_LN2_HIGH_32, _LN2_LOW_32 = np.float32(0.693359375), np.float32(math.log(2) - 0.693359375)
_LN2_HIGH_64 = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW_64 = float.fromhex("0x1.a39ef35793c76p-33")  # the bits of ln(2) beyond a float64
_PER_LN2_32, _PER_LN2_64 = np.float32(1 / math.log(2)), 1 / math.log(2)
_MAGIC_32, _MAGIC_64 = np.float32(1.5 * 2**23), 1.5 * 2**52
_BIAS_32, _BIAS_64 = np.int32(127 << 23), np.int64(1023 << 52)
_LIMIT_32, _LIMIT_64 = np.float32(87.0), 708.0  # where e^x and e^-x are still normal numbers
_ONE = np.float32(1)
_B2, _B3, _B4, _B5, _B6, _B7 = (np.float32(1 / math.factorial(k)) for k in range(2, 8))
_C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9, _C10, _C11, _C12, _C13 = (1 / math.factorial(k) for k in range(2, 14))


def exponential(x: Any) -> Any:
    """Split e^x into s + s p, where s is a power of 2, so that e^x - 1 has no cancellation."""
    raise NotImplementedError  # compiled code replaces it


@overload(exponential)
def _exponential_of(x: Any) -> Callable[[Any], Any]:
    def single(x: Any) -> Any:
        x = -_LIMIT_32 if x < -_LIMIT_32 else x  # comparisons in this order keep a NaN
        x = _LIMIT_32 if x > _LIMIT_32 else x
        shifted = np.float32(x * _PER_LN2_32 + _MAGIC_32)
        n = shifted - _MAGIC_32
        r = (x - n * _LN2_HIGH_32) - n * _LN2_LOW_32
        p = r * (_ONE + r * (_B2 + r * (_B3 + r * (_B4 + r * (_B5 + r * (_B6 + r * _B7))))))
        s = np.int32((shifted.view(np.int32) << np.int32(23)) + _BIAS_32)
        return s.view(np.float32), p

    def double(x: Any) -> Any:
        x = -_LIMIT_64 if x < -_LIMIT_64 else x
        x = _LIMIT_64 if x > _LIMIT_64 else x
        shifted = np.float64(x * _PER_LN2_64 + _MAGIC_64)
        n = shifted - _MAGIC_64
        r = (x - n * _LN2_HIGH_64) - n * _LN2_LOW_64
        p = _C7 + r * (_C8 + r * (_C9 + r * (_C10 + r * (_C11 + r * (_C12 + r * _C13)))))
        p = r * (1.0 + r * (_C2 + r * (_C3 + r * (_C4 + r * (_C5 + r * (_C6 + r * p))))))
        s = np.int64((shifted.view(np.int64) << np.int64(52)) + _BIAS_64)
        return s.view(np.float64), p

    return single if x == types.float32 else double


@compiled
def multiply(a: Any, weight: Any, out: Any) -> None:
    """Set out (B, N) to a (B, K) times weight (K, N)."""
    if a.shape[0] * weight.size >= GEMM:
        gemm(a, weight, out)
        return
    K = a.shape[1]
    whole = K - K % 4
    for b in range(a.shape[0]):
        row = out[b]
        row[:] = 0
        for k in range(0, whole, 4):  # four at a time: the row is read and written a quarter as often
            a0, a1, a2, a3 = a[b, k], a[b, k + 1], a[b, k + 2], a[b, k + 3]
            w0, w1, w2, w3 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
            for n in range(row.size):
                row[n] += a0 * w0[n] + a1 * w1[n] + a2 * w2[n] + a3 * w3[n]
        for k in range(whole, K):
            factor, column = a[b, k], weight[k]
            for n in range(row.size):
                row[n] += factor * column[n]


def to_float(value: Any) -> Any:
    """Convert a matmul's result to float32: it is either that already, or the bits of a bfloat16."""
    raise NotImplementedError  # compiled code replaces it


@overload(to_float)
def _to_float_of(value: Any) -> Callable[[Any], Any]:
    def of_bits(value: Any) -> Any:
        return np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)

    def as_it_is(value: Any) -> Any:
        return value

    return of_bits if value == types.uint16 else as_it_is


@compiled
def to_bf16(a: Any, out: Any) -> None:
    """Round float32 a (B, K) to the nearest bfloat16, ties to even; their bits go to out (B, K)."""
    half, last, nan = np.uint32(0x7FFF), np.uint32(1), np.uint32(0x7FC0)
    for b in range(a.shape[0]):
        row, bits = a[b].view(np.uint32), out[b]
        for k in range(row.size):
            value = row[k]
            near = np.uint32(value + half + ((value >> np.uint32(16)) & last)) >> np.uint32(16)
            bits[k] = near if (value & np.uint32(0x7FFFFFFF)) <= np.uint32(0x7F800000) else nan


@compiled
def added(a: Any, b: Any) -> Any:
    """Add b to a, both (B, M), in place; return a."""
    for row in range(a.shape[0]):
        for m in range(a.shape[1]):
            a[row, m] += b[row, m]
    return a


@compiled
def state_buffer(first: Any, T: int) -> Any:
    """Allocate a state's field for all T steps, (T+1, B, M); only its first value (B, M) is filled in."""
    values = np.empty((T + 1, first.shape[0], first.shape[1]), first.dtype)
    for b in range(first.shape[0]):  # the assignment of an array would take seconds more to compile
        for m in range(first.shape[1]):
            values[0, b, m] = first[b, m]
    return values


@compiled
def rows(a: Any) -> Any:
    """View the first two dimensions of a contiguous a (T, B, N) as one."""
    return a.reshape(a.shape[0] * a.shape[1], a.shape[2])


@compiled
def _strided_rows(a: Any) -> Any:
    """The same for an a (T, B, N), all of whose rows lie at the same distance."""
    distance = a.strides[1] if a.shape[1] > 1 else a.strides[0]  # the stride of one row means nothing
    return as_strided(a, (a.shape[0] * a.shape[1], a.shape[2]), (distance, a.strides[2]))


@compiled
def weight_gradient(d: Any, x: Any) -> Any:
    """Return the gradient (G, D) of a weight that maps x (T, B, D) to values whose gradient is d (T, B, G)."""
    out = np.zeros((d.shape[2], x.shape[2]), d.dtype)
    if d.size * x.shape[2] >= GEMM:
        gemm(_strided_rows(d).T, _strided_rows(x[: len(d)]), out)
        return out
    for t in range(d.shape[0]):
        for b in range(d.shape[1]):
            row = x[t, b]
            for g in range(d.shape[2]):
                factor, target = d[t, b, g], out[g]
                for k in range(row.size):
                    target[k] += factor * row[k]
    return out


@compiled
def total(d: Any) -> Any:
    """Return the sum (G,) of d (T, B, G) over time and batch."""
    out = np.zeros(d.shape[2], d.dtype)
    for t in range(d.shape[0]):
        for b in range(d.shape[1]):
            row = d[t, b]
            for g in range(row.size):
                out[g] += row[g]
    return out


@compiled
def exponentials(a: Any) -> None:
    """Replace each value of a (N,) by e to its power."""
    for n in range(a.size):
        s, p = exponential(a[n])
        a[n] = s + s * p


def check() -> None:
    """Compile and try the part that most depends on the machine; raises whatever the compiler raises."""
    a = np.zeros(1, dtype=np.float32)
    exponentials(a)
    assert a[0] == 1
