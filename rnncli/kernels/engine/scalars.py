"""The functions that generated code calls on single values, here as numpy computes them; `functions` has numba's.

Each is a function of its own, since numba tells them apart by the function that generated code calls.
"""

import math
from typing import Any

import numpy as np

__all__ = [
    "absolute", "cos", "eq", "erf", "exp", "expm1", "ge", "gt", "le", "log", "log1p", "lt", "maximum", "minimum", "ne",
    "power", "relu", "rsqrt", "select", "sigmoid", "sign", "sin", "softplus", "sqrt", "tanh",
]  # fmt: skip


def exp(x: Any) -> Any:
    return np.exp(x)


def expm1(x: Any) -> Any:
    return np.expm1(x)


def log(x: Any) -> Any:
    return np.log(x)


def log1p(x: Any) -> Any:
    return np.log1p(x)


def sqrt(x: Any) -> Any:
    return np.sqrt(x)


def sin(x: Any) -> Any:
    return np.sin(x)


def cos(x: Any) -> Any:
    return np.cos(x)


def tanh(x: Any) -> Any:
    return np.tanh(x)


def absolute(x: Any) -> Any:
    return np.abs(x)


def sign(x: Any) -> Any:
    return np.sign(x)


def maximum(a: Any, b: Any) -> Any:
    return np.maximum(a, b)


def minimum(a: Any, b: Any) -> Any:
    return np.minimum(a, b)


def power(x: Any, p: Any) -> Any:
    return np.power(x, p)


def select(c: Any, a: Any, b: Any) -> Any:
    """Return a where c is not 0, else b."""
    return np.where(c, a, b)


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-x))


def softplus(x: Any) -> Any:
    """Return log(1 + e^x)."""
    return np.logaddexp(x, 0)


def rsqrt(x: Any) -> Any:
    """Return 1 / sqrt(x)."""
    return 1 / np.sqrt(x)


def relu(x: Any) -> Any:
    """Return x, or 0 if x is negative."""
    return np.maximum(x, 0)


def erf(x: Any) -> Any:
    """Return the error function."""
    return np.vectorize(math.erf, otypes=[float])(x)


def eq(a: Any, b: Any) -> Any:
    """Return 1 where a = b, else 0; the other comparisons are alike."""
    return (a == b) * 1.0


def ne(a: Any, b: Any) -> Any:
    return (a != b) * 1.0


def lt(a: Any, b: Any) -> Any:
    return (a < b) * 1.0


def le(a: Any, b: Any) -> Any:
    return (a <= b) * 1.0


def gt(a: Any, b: Any) -> Any:
    return (a > b) * 1.0


def ge(a: Any, b: Any) -> Any:
    return (a >= b) * 1.0
