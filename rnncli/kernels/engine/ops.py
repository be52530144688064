"""The operations: how each is written in a compiled loop, what it costs, its gradient, and torch's names for it."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnncli.kernels.engine.graph import Graph, Untraceable
from rnncli.kernels.engine.trace import RULES, Recorder, Value

Gradients = Callable[[Graph, int, int, tuple[int, ...], Any], tuple[int | None, ...]]
"""From the gradient d of y = op(operands), y itself, the operands and the op's extra: the gradients of the operands."""


class Op(NamedTuple):
    """A pointwise operation."""

    text: str  # of the expression, with {0}, {1}, … for the operands and {x} for the op's extra
    cost: int  # in additions
    gradients: Gradients


def _nothing(graph: Graph, d: int, y: int, operands: tuple[int, ...], extra: Any) -> tuple[int | None, ...]:
    return (None,) * len(operands)


def _unary(slope: Callable[[Graph, int, int, int], int]) -> Gradients:
    """From a function of the graph, d, y and x."""
    return lambda graph, d, y, operands, extra: (slope(graph, d, y, operands[0]),)


def _times(graph: Graph, *factors: int) -> int:
    found = factors[0]
    for each in factors[1:]:
        found = graph.point("mul", found, each)
    return found


def _divided(g: Graph, d: int, y: int, operands: tuple[int, ...], extra: Any) -> tuple[int | None, ...]:
    share = g.point("div", d, operands[1])
    return share, g.point("neg", g.point("mul", share, y))


def _power(g: Graph, d: int, y: int, operands: tuple[int, ...], extra: Any) -> tuple[int | None, ...]:
    p = float(extra)
    return (_times(g, d, g.constant(p), power(g, operands[0], p - 1)),)


def power(g: Graph, x: int, p: float) -> int:
    """x to the power of a number."""
    if p == 0:
        return g.constant(1.0)
    if p == 1:
        return x
    if p == 2:
        return g.point("mul", x, x)
    return g.point("pow", x, extra=p)


def _extreme(compare: str) -> Gradients:
    """Half of the gradient goes to each operand of a tie, as torch's."""

    def gradients(g: Graph, d: int, y: int, operands: tuple[int, ...], extra: Any) -> tuple[int | None, ...]:
        a, b = operands
        half = g.point("mul", d, g.constant(0.5))
        tie = g.point("select", g.point("eq", a, b), half, g.constant(0.0))
        return (
            g.point("select", g.point(compare, a, b), d, tie),
            g.point("select", g.point(compare, b, a), d, tie),
        )

    return gradients


def _selected(g: Graph, d: int, y: int, operands: tuple[int, ...], extra: Any) -> tuple[int | None, ...]:
    zero = g.constant(0.0)
    return None, g.point("select", operands[0], d, zero), g.point("select", operands[0], zero, d)


OPS: dict[str, Op] = {
    "add": Op("{0} + {1}", 1, lambda g, d, y, o, x: (d, d)),
    "sub": Op("{0} - {1}", 1, lambda g, d, y, o, x: (d, g.point("neg", d))),
    "mul": Op("{0} * {1}", 1, lambda g, d, y, o, x: (g.point("mul", d, o[1]), g.point("mul", d, o[0]))),
    "div": Op("{0} / {1}", 4, _divided),
    "neg": Op("-{0}", 1, _unary(lambda g, d, y, x: g.point("neg", d))),
    "sigmoid": Op("sigmoid({0})", 12, _unary(lambda g, d, y, x: _times(g, d, g.point("sub", y, g.point("mul", y, y))))),
    "tanh": Op(
        "tanh({0})", 12, _unary(lambda g, d, y, x: _times(g, d, g.point("sub", g.constant(1.0), g.point("mul", y, y))))
    ),
    "relu": Op(
        "relu({0})",
        1,
        _unary(lambda g, d, y, x: g.point("select", g.point("gt", y, g.constant(0.0)), d, g.constant(0.0))),
    ),
    "exp": Op("exp({0})", 12, _unary(lambda g, d, y, x: g.point("mul", d, y))),
    "expm1": Op("expm1({0})", 12, _unary(lambda g, d, y, x: _times(g, d, g.point("add", y, g.constant(1.0))))),
    "log": Op("log({0})", 40, _unary(lambda g, d, y, x: g.point("div", d, x))),
    "log1p": Op("log1p({0})", 40, _unary(lambda g, d, y, x: g.point("div", d, g.point("add", x, g.constant(1.0))))),
    "softplus": Op("softplus({0})", 50, _unary(lambda g, d, y, x: _times(g, d, g.point("sigmoid", x)))),
    "sqrt": Op("sqrt({0})", 6, _unary(lambda g, d, y, x: g.point("div", d, g.point("add", y, y)))),
    "rsqrt": Op("rsqrt({0})", 8, _unary(lambda g, d, y, x: _times(g, d, g.constant(-0.5), y, g.point("mul", y, y)))),
    "abs": Op("absolute({0})", 1, _unary(lambda g, d, y, x: _times(g, d, g.point("sign", x)))),
    "sign": Op("sign({0})", 1, _nothing),
    "sin": Op("sin({0})", 40, _unary(lambda g, d, y, x: _times(g, d, g.point("cos", x)))),
    "cos": Op("cos({0})", 40, _unary(lambda g, d, y, x: g.point("neg", _times(g, d, g.point("sin", x))))),
    "erf": Op(
        "erf({0})",
        40,
        _unary(
            lambda g, d, y, x: _times(
                g, d, g.constant(2 / math.sqrt(math.pi)), g.point("exp", g.point("neg", g.point("mul", x, x)))
            )
        ),
    ),
    "pow": Op("power({0}, {x})", 60, _power),
    "maximum": Op("maximum({0}, {1})", 1, _extreme("gt")),
    "minimum": Op("minimum({0}, {1})", 1, _extreme("lt")),
    "select": Op("select({0}, {1}, {2})", 1, _selected),
    "stop": Op("{0}", 0, _nothing),
    "copy": Op("{0}", 0, _nothing),
    **{name: Op(f"{name}({{0}}, {{1}})", 1, _nothing) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
}
"""Every pointwise operation of a graph. Truth values are 1 and 0."""


# ---- torch's operations


def _rule(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
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
    simple = {2: ("mul", a, a), 0.5: ("sqrt", a), -0.5: ("rsqrt", a), -1: ("div", 1.0, a), 1: ("mul", a, 1.0)}
    if p == 3:
        return r.point("mul", a, r.point("mul", a, a))
    return r.point(*simple[p]) if p in simple else r.point("pow", a, extra=float(p))


@_rule("clamp", "clamp_min", "clamp_max")
def _clamp(r: Recorder, a: Any, low: Any = None, high: Any = None, **names: Any) -> Value:
    """The gradient passes at the limits themselves, as torch's."""
    low, high = names.get("min", low), names.get("max", high)
    found = a
    if low is not None:
        found = r.point("select", r.point("ge", a, low), found, low)
    if high is not None:
        found = r.point("select", r.point("le", found, high), found, high)
    return found if isinstance(found, Value) else r.point("mul", a, 1.0)


RULES["clamp_max"] = lambda r, a, high: _clamp(r, a, None, high)


@_rule("hardtanh")
def _hardtanh(r: Recorder, a: Any, low: float = -1.0, high: float = 1.0) -> Value:
    """The gradient does not pass at the limits, as torch's."""
    found = r.point("select", r.point("gt", a, low), a, low)
    return r.point("select", r.point("lt", found, high), found, high)


@_rule("hardsigmoid")
def _hardsigmoid(r: Recorder, a: Any) -> Value:
    return _hardtanh(r, r.point("add", r.point("mul", a, 1 / 6), 0.5), 0.0, 1.0)


@_rule("leaky_relu")
def _leaky_relu(r: Recorder, a: Any, slope: float = 0.01) -> Value:
    return r.point("select", r.point("gt", a, 0.0), a, r.point("mul", a, slope))


@_rule("elu")
def _elu(r: Recorder, a: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Value:
    low = r.point("mul", r.point("expm1", r.point("mul", a, input_scale)), alpha)
    return r.point("mul", r.point("select", r.point("gt", a, 0.0), a, low), scale)


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


@_rule("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")
def _filled(r: Recorder, *args: Any, **kwargs: Any) -> Value:
    raise AssertionError("a constant is recorded as such")


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


@_rule("addmm")
def _addmm(r: Recorder, bias: Any, a: Any, weight: Any, *, beta: float = 1, alpha: float = 1) -> Value:
    found = _mm(r, a, weight)
    found = found if alpha == 1 else r.point("mul", found, alpha)
    return r.point("add", found, bias if beta == 1 else r.point("mul", bias, beta))


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
    found = _bmm(r, a, weight)
    found = found if alpha == 1 else r.point("mul", found, alpha)
    return r.point("add", found, bias if beta == 1 else r.point("mul", bias, beta))


@_rule("mv")
def _mv(r: Recorder, a: Any, vector: Any) -> Value:
    return r.reduce("sum", r.point("mul", a, vector), [-1], False)
