"""The functions that generated kernels call on tiles, by the names in `engine.ops`. Truth values are 1 and 0."""

import triton
import triton.language as tl

__all__ = [
    "absolute", "cos", "eq", "erf", "exp", "expm1", "ge", "gt", "le", "log", "log1p", "lt", "maximum", "minimum", "ne",
    "power", "relu", "rsqrt", "select", "sigmoid", "sign", "sin", "softplus", "sqrt", "tanh",
]  # fmt: skip


@triton.jit
def sigmoid(x):
    e = tl.exp(-tl.abs(x))  # never overflows
    return tl.where(x >= 0, 1.0, e) / (1.0 + e)


@triton.jit
def tanh(x):
    e = tl.exp(-2.0 * tl.abs(x))
    y = (1.0 - e) / (1.0 + e)
    return tl.where(x < 0, -y, y)


@triton.jit
def relu(x):
    return tl.where(x < 0.0, 0.0, x)  # keeps a NaN


@triton.jit
def exp(x):
    return tl.exp(x)


@triton.jit
def expm1(x):
    """e^x - 1; near 0 by Taylor's series, which has no cancellation."""
    near = 1.0 + x * (1 / 5) * (1.0 + x * (1 / 6) * (1.0 + x * (1 / 7)))
    near = x * (1.0 + x * (1 / 2) * (1.0 + x * (1 / 3) * (1.0 + x * (1 / 4) * near)))
    return tl.where(tl.abs(x) < 0.25, near, tl.exp(x) - 1.0)


@triton.jit
def log(x):
    return tl.log(x)


@triton.jit
def log1p(x):
    """log(1 + x); near 0 by the series of 2 artanh(x / (2 + x))."""
    s = x / (2.0 + x)
    q = s * s
    near = 2.0 * s * (1.0 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9)))))
    return tl.where(tl.abs(x) < 0.25, near, tl.log(1.0 + x))


@triton.jit
def softplus(x):
    return tl.where(x < 0.0, 0.0, x) + log1p(tl.exp(-tl.abs(x)))


@triton.jit
def sqrt(x):
    return tl.sqrt(x)


@triton.jit
def rsqrt(x):
    return 1.0 / tl.sqrt(x)


@triton.jit
def absolute(x):
    return tl.abs(x)


@triton.jit
def sign(x):
    return tl.where(x > 0.0, 1.0, tl.where(x < 0.0, -1.0, x))


@triton.jit
def sin(x):
    return tl.sin(x)


@triton.jit
def cos(x):
    return tl.cos(x)


@triton.jit
def erf(x):
    return tl.erf(x)


@triton.jit
def power(x, p: tl.constexpr):
    """X to a constant power; NaN for a negative x, unless p is a whole number."""
    y = tl.exp(p * tl.log(tl.abs(x)))
    if p % 2 == 1:
        return tl.where(x < 0.0, -y, y)
    elif p % 1 == 0:
        return y
    else:
        return tl.where(x < 0.0, float("nan"), y)


@triton.jit
def maximum(a, b):
    return tl.where((a > b) | (a != a), a, b)


@triton.jit
def minimum(a, b):
    return tl.where((a < b) | (a != a), a, b)


@triton.jit
def select(c, a, b):
    return tl.where(c != 0.0, a, b)


@triton.jit
def eq(a, b):
    return tl.where(a == b, 1.0, 0.0)


@triton.jit
def ne(a, b):
    return tl.where(a != b, 1.0, 0.0)


@triton.jit
def lt(a, b):
    return tl.where(a < b, 1.0, 0.0)


@triton.jit
def le(a, b):
    return tl.where(a <= b, 1.0, 0.0)


@triton.jit
def gt(a, b):
    return tl.where(a > b, 1.0, 0.0)


@triton.jit
def ge(a, b):
    return tl.where(a >= b, 1.0, 0.0)
