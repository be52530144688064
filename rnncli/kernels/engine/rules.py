"""Torch's operations, as operations of a graph: what the tracer does with each of them.

Each function takes the recorder and the arguments of torch's operation.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from rnncli.kernels.engine.graph import Untraceable
from rnncli.kernels.engine.trace import RULES, Recorder, Value

Rule = TypeVar("Rule", bound=Callable[..., Any])


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def _same(name: str, op: str | None = None) -> None:
    RULES[name] = lambda r, *operands: r.point(op or name, *operands)


for _name in ("sigmoid", "tanh", "relu", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "abs", "sign", "sin", "cos"):
    _same(_name)
for _name in ("erf", "neg", "mul", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge"):
    _same(_name)
for _name, _op in {"where": "select", "logical_and": "mul", "bitwise_and": "mul", "logical_or": "maximum",
                   "bitwise_or": "maximum", "detach": "stop", "multiply": "mul"}.items():  # fmt: skip
    _same(_name, _op)


@_rule("add")
def _add(r: Recorder, a: Any, b: Any, *, alpha: float = 1) -> Value:
    return r.point("add", a, b if alpha == 1 else r.point("mul", b, alpha))


@_rule("sub")
def _sub(r: Recorder, a: Any, b: Any, *, alpha: float = 1) -> Value:
    return r.point("sub", a, b if alpha == 1 else r.point("mul", b, alpha))


@_rule("rsub")
def _rsub(r: Recorder, a: Any, b: Any, alpha: float = 1) -> Value:
    return r.point("sub", b, a if alpha == 1 else r.point("mul", a, alpha))


@_rule("div", "true_divide")
def _div(r: Recorder, a: Any, b: Any, *, rounding_mode: str | None = None) -> Value:
    if rounding_mode is not None:
        raise Untraceable(f"step rounds a division{r.place()}")
    return r.point("div", a, b) if isinstance(b, Tensor | Value) else r.point("mul", a, 1 / b)


@_rule("reciprocal")
def _reciprocal(r: Recorder, a: Any) -> Value:
    return r.point("div", 1.0, a)


@_rule("logical_not", "bitwise_not")
def _logical_not(r: Recorder, a: Any) -> Value:
    return r.point("sub", 1.0, a)


@_rule("lerp")
def _lerp(r: Recorder, a: Any, b: Any, weight: Any) -> Value:
    return r.point("add", a, r.point("mul", weight, r.point("sub", b, a)))


@_rule("addcmul")
def _addcmul(r: Recorder, a: Any, b: Any, c: Any, *, value: float = 1) -> Value:
    return _add(r, a, r.point("mul", b, c), alpha=value)


@_rule("addcdiv")
def _addcdiv(r: Recorder, a: Any, b: Any, c: Any, *, value: float = 1) -> Value:
    return _add(r, a, r.point("div", b, c), alpha=value)


@_rule("pow")
def _pow(r: Recorder, a: Any, p: Any) -> Value:
    if isinstance(p, Tensor) or not isinstance(a, Tensor | Value):
        raise Untraceable(f"step raises to a power that is not a number{r.place()}")
    if p in (0.5, -0.5):
        return r.point("sqrt" if p > 0 else "rsqrt", a)
    if p not in (1, 2, 3):
        return r.point("pow", a, extra=float(p))
    return r.point("mul", a, 1.0 if p == 1 else a if p == 2 else r.point("mul", a, a))


@_rule("clamp", "clamp_min", "clamp_max")
def _clamp(r: Recorder, a: Any, low: Any = None, high: Any = None, **names: Any) -> Value:
    """The gradient passes at the limits themselves, and NaN stays NaN, as torch's."""
    low, high = names.get("min", low), names.get("max", high)
    found = a
    if low is not None:
        found = r.point("select", r.point("lt", a, low), low, found)
    if high is not None:
        found = r.point("select", r.point("gt", found, high), high, found)
    return found if isinstance(found, Value) else r.point("mul", a, 1.0)


RULES["clamp_max"] = lambda r, a, high: _clamp(r, a, None, high)


@_rule("hardtanh")
def _hardtanh(r: Recorder, a: Any, low: float = -1.0, high: float = 1.0) -> Value:
    """The gradient does not pass at the limits, and NaN stays NaN, as torch's."""
    found = r.point("select", r.point("le", a, low), low, a)
    return r.point("select", r.point("ge", found, high), high, found)


@_rule("hardsigmoid")
def _hardsigmoid(r: Recorder, a: Any) -> Value:
    return _hardtanh(r, r.point("add", r.point("mul", a, 1 / 6), 0.5), 0.0, 1.0)


@_rule("masked_fill")
def _masked_fill(r: Recorder, a: Any, mask: Any, value: Any) -> Value:
    return r.point("select", mask, value, a)


@_rule("leaky_relu")
def _leaky_relu(r: Recorder, a: Any, slope: float = 0.01) -> Value:
    return r.point("select", r.point("gt", a, 0.0), a, r.point("mul", a, slope))


@_rule("elu")
def _elu(r: Recorder, a: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Value:
    below = r.point("select", r.point("gt", a, 0.0), 0.0, a)  # e^x of a large number would be inf
    low = r.point("mul", r.point("expm1", r.point("mul", below, input_scale)), alpha)
    return r.point("mul", r.point("select", r.point("gt", a, 0.0), a, low), scale)


@_rule("celu")
def _celu(r: Recorder, a: Any, alpha: float = 1.0) -> Value:
    return _elu(r, a, alpha, input_scale=1 / alpha)


@_rule("_prelu_kernel")
def _prelu(r: Recorder, a: Any, slope: Any) -> Value:
    return r.point("select", r.point("gt", a, 0.0), a, r.point("mul", a, slope))


@_rule("mish")
def _mish(r: Recorder, a: Any) -> Value:
    return r.point("mul", a, r.point("tanh", r.point("softplus", a)))


@_rule("hardswish")
def _hardswish(r: Recorder, a: Any) -> Value:
    inner = r.point("mul", a, r.point("add", r.point("mul", a, 1 / 6), 0.5))
    return r.point("select", r.point("le", a, -3.0), 0.0, r.point("select", r.point("lt", a, 3.0), inner, a))


@_rule("glu")
def _glu(r: Recorder, a: Any, dim: int = -1) -> Value:
    left, right = r.codes(a).chunk(2, dim)
    return r.point("mul", Value(left), r.point("sigmoid", Value(right)))


@_rule("nan_to_num")
def _nan_to_num(r: Recorder, a: Any, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Value:
    """The gradient passes where nothing is replaced, as torch's."""
    if posinf is None or neginf is None:
        raise Untraceable(f"nan_to_num needs posinf and neginf: their defaults depend on the type{r.place()}")
    replaced = r.point(
        "select", r.point("gt", a, 0.0), posinf, r.point("select", r.point("lt", a, 0.0), neginf, nan or 0.0)
    )
    return r.point("select", r.point("lt", r.point("abs", a), math.inf), a, replaced)


@_rule("logaddexp")
def _logaddexp(r: Recorder, a: Any, b: Any) -> Value:
    same = r.point("eq", a, b)  # also infinite ones, whose difference is no number
    left, right = (r.point("select", same, 0.0, each) for each in (a, b))
    distance = r.point("abs", r.point("sub", left, right))
    return r.point("add", r.point("maximum", a, b), r.point("softplus", r.point("neg", distance)))


@_rule("round", "floor", "ceil", "trunc")
def _round(r: Recorder, *_: Any, **_names: Any) -> Value:
    raise Untraceable(f"step rounds a value{r.place()}")


@_rule("silu")
def _silu(r: Recorder, a: Any) -> Value:
    return r.point("mul", a, r.point("sigmoid", a))


@_rule("gelu")
def _gelu(r: Recorder, a: Any, *, approximate: str = "none") -> Value:
    if approximate == "tanh":
        cube = r.point("mul", a, r.point("mul", a, a))
        inner = r.point("mul", r.point("add", a, r.point("mul", cube, 0.044715)), math.sqrt(2 / math.pi))
        share = r.point("tanh", inner)
    else:
        share = r.point("erf", r.point("mul", a, math.sqrt(0.5)))
    return r.point("mul", r.point("mul", a, 0.5), r.point("add", share, 1.0))


@_rule("softplus")
def _softplus(r: Recorder, a: Any, beta: float = 1.0, threshold: float = 20.0) -> Value:
    scaled = a if beta == 1 else r.point("mul", a, beta)
    found = r.point("softplus", scaled)
    found = found if beta == 1 else r.point("mul", found, 1 / beta)
    return r.point("select", r.point("gt", scaled, threshold), a, found)


@_rule("log_sigmoid_forward")
def _log_sigmoid(r: Recorder, a: Any) -> list[Value]:
    return [r.point("neg", r.point("softplus", r.point("neg", a)))]


@_rule("_to_copy", "to")
def _to_copy(r: Recorder, a: Tensor, *, dtype: torch.dtype | None = None, **_: Any) -> Value:
    if dtype not in (None, torch.float64) or a.dtype not in (torch.bool, torch.float64):
        raise Untraceable(f"step changes the type of a value{r.place()}")
    return Value(r.codes(a))


# reductions


@_rule("sum")
def _sum(r: Recorder, a: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Value:
    return r.reduce("sum", a, _axes(dim), keepdim)


def _axes(dim: Any) -> list[int]:
    return [] if dim is None else [dim] if isinstance(dim, int) else list(dim)


@_rule("mean")
def _mean(r: Recorder, a: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Value:
    total = r.reduce("sum", a, _axes(dim), keepdim)
    shape = r.codes(a).shape
    count = math.prod(shape[axis] for axis in _axes(dim)) if _axes(dim) else shape.numel()
    return r.point("div", total, Value(r.number(count, "size")))


@_rule("amax")
def _amax(r: Recorder, a: Any, dim: Any = (), keepdim: bool = False) -> Value:
    return r.reduce("max", a, _axes(dim), keepdim)


@_rule("amin")
def _amin(r: Recorder, a: Any, dim: Any = (), keepdim: bool = False) -> Value:
    return r.point("neg", r.reduce("max", r.point("neg", a), _axes(dim), keepdim))


@_rule("max")
def _max(r: Recorder, a: Any, dim: Any = None, keepdim: bool = False) -> list[Value]:
    """The greatest values, not their places; equal ones share the gradient, as amax's."""
    return [r.reduce("max", a, _axes(dim), keepdim)]


@_rule("min")
def _min(r: Recorder, a: Any, dim: Any = None, keepdim: bool = False) -> list[Value]:
    return [_amin(r, a, _axes(dim), keepdim)]


@_rule("var")
def _var(r: Recorder, a: Any, dim: Any = None, *, correction: float | None = None, keepdim: bool = False) -> Value:
    centred = r.point("sub", a, _mean(r, a, dim, True))
    total = r.reduce("sum", r.point("mul", centred, centred), _axes(dim), keepdim)
    shape = r.codes(a).shape
    count = math.prod(shape[axis] for axis in _axes(dim)) if _axes(dim) else shape.numel()
    return r.point("div", total, Value(r.number(count - (1 if correction is None else correction), "size")))


@_rule("std")
def _std(r: Recorder, a: Any, dim: Any = None, **names: Any) -> Value:
    return r.point("sqrt", _var(r, a, dim, **names))


@_rule("linalg_vector_norm")
def _norm(r: Recorder, a: Any, order: float = 2, dim: Any = None, keepdim: bool = False, **_: Any) -> Value:
    if order == 1:
        return r.reduce("sum", r.point("abs", a), _axes(dim), keepdim)
    if order != 2:
        raise Untraceable(f"the engine has no rule for a norm of order {order}{r.place()}")
    return r.point("sqrt", r.reduce("sum", r.point("mul", a, a), _axes(dim), keepdim))


@_rule("_softmax")
def _softmax(r: Recorder, a: Any, dim: int, half: bool) -> Value:
    del half
    powers = r.point("exp", r.point("sub", a, r.point("stop", r.reduce("max", a, [dim], True))))
    return r.point("div", powers, r.reduce("sum", powers, [dim], True))


@_rule("_log_softmax")
def _log_softmax(r: Recorder, a: Any, dim: int, half: bool) -> Value:
    del half
    centred = r.point("sub", a, r.point("stop", r.reduce("max", a, [dim], True)))
    return r.point("sub", centred, r.point("log", r.reduce("sum", r.point("exp", centred), [dim], True)))


@_rule("logsumexp")
def _logsumexp(r: Recorder, a: Any, dim: Any, keepdim: bool = False) -> Value:
    greatest = r.point("stop", r.reduce("max", a, _axes(dim), True))
    total = r.point("log", r.reduce("sum", r.point("exp", r.point("sub", a, greatest)), _axes(dim), True))
    found = r.point("add", greatest, total)
    assert found.codes is not None
    if keepdim:
        return found
    return Value(found.codes.squeeze([axis % found.codes.dim() for axis in _axes(dim)]))


@_rule("native_layer_norm")
def _layer_norm(r: Recorder, a: Any, shape: Any, weight: Any, bias: Any, eps: float) -> list[Value]:
    axes = list(range(-len(shape), 0))
    centred = r.point("sub", a, _mean(r, a, axes, True))
    spread = _mean(r, r.point("mul", centred, centred), axes, True)
    found = r.point("mul", centred, r.point("rsqrt", r.point("add", spread, eps)))
    found = found if weight is None else r.point("mul", found, weight)
    return [found if bias is None else r.point("add", found, bias)]


# products


def _recipe(r: Recorder, weight: Any) -> Any:
    if not isinstance(weight, Tensor) or not r.is_prepared(weight):
        raise Untraceable(f"step multiplies two matrices that both depend on the state{r.place()}")
    return r.value(weight).recipe


@_rule("mm")
def _mm(r: Recorder, a: Any, weight: Any) -> Value:
    recipe = _recipe(r, weight)
    codes = r.codes(a)
    if len(codes) == r.B:
        return r.matmul(Value(codes), recipe, weight.shape[1])
    groups = codes.view(r.B, -1, codes.shape[1]).unbind(1)  # torch folds (B, n, K) to (B * n, K)
    found = [r.matmul(Value(each), recipe, weight.shape[1]).codes for each in groups]
    return Value(torch.stack([each for each in found if each is not None], 1).flatten(0, 1))


def _with_bias(r: Recorder, product: Value, bias: Any, beta: float, alpha: float) -> Value:
    """Return beta bias + alpha product."""
    return _add(r, product if alpha == 1 else r.point("mul", product, alpha), bias, alpha=beta)


@_rule("addmm")
def _addmm(r: Recorder, bias: Any, a: Any, weight: Any, *, beta: float = 1, alpha: float = 1) -> Value:
    return _with_bias(r, _mm(r, a, weight), bias, beta, alpha)


@_rule("bmm")
def _bmm(r: Recorder, a: Any, weight: Any) -> Value:
    """A block-diagonal product: (G, B, K) by (G, K, N)."""
    _recipe(r, weight)
    codes, found = r.codes(a), []
    for place in range(len(codes)):
        recipe = r.part(weight, place)
        found.append(r.matmul(Value(codes[place]), recipe, weight.shape[2]).codes)
    return Value(torch.stack([each for each in found if each is not None]))


@_rule("baddbmm")
def _baddbmm(r: Recorder, bias: Any, a: Any, weight: Any, *, beta: float = 1, alpha: float = 1) -> Value:
    return _with_bias(r, _bmm(r, a, weight), bias, beta, alpha)


@_rule("mv")
def _mv(r: Recorder, a: Any, vector: Any) -> Value:
    return r.reduce("sum", r.point("mul", a, vector), [-1], False)
