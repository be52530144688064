"""From a cell's trace to its kernels."""

from math import inf
from typing import Any

from rnncli.kernels.engine import build
from rnncli.kernels.engine.cache import load_kernels
from rnncli.kernels.engine.check import Checked
from rnncli.kernels.engine.derive import derive
from rnncli.kernels.engine.graph import build as build_graph
from rnncli.kernels.engine.plan import CHEAP, make_plan
from rnncli.kernels.engine.recipes import Recipe
from rnncli.kernels.triton.emit import emit
from rnncli.kernels.triton.whole import is_streamed


class Kernels:
    """A cell's step as kernels: its plan, its source, and how its weights are computed from the cell."""

    def __init__(self, found: Checked) -> None:
        trace = found.trace
        graph = build_graph(trace.nodes, trace.outputs, dict(trace.sizes))
        derivative = derive(graph, {})  # no matmul a step ahead: a launch has all that it needs
        self.recipes: list[Recipe] = trace.prepared
        self.linear = None if found.linear is None else found.linear.weight
        cheap = inf if is_streamed(graph) else CHEAP  # memory is slower than arithmetic
        self.plan = make_plan(graph, derivative, len(self.recipes), owned=False, cheap=cheap)
        self.source = emit(self.plan)
        self.module: Any = load_kernels(self.source.text)


def kernels_of(cell: Any) -> Kernels | str:
    """The kernels of a cell, or the reason why it has none."""
    return build.form_of(cell, "triton", Kernels)
