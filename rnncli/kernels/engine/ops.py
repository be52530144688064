"""The pointwise operations of a graph: how each is written in a compiled loop, what it costs, and its gradient."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from rnncli.kernels.engine.graph import Graph

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
    """X to the power of a number."""
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
