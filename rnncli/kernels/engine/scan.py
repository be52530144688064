"""The scan of a traced cell: memory for a sequence, the loop over its steps, and the autograd function.

Shapes: T steps, B batch, D input, P projected features, S features of a state's field, K and N of a matmul.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnncli.errors import RnnError
from rnncli.kernels.engine.emit import Function, Source
from rnncli.kernels.engine.plan import Pass, Plan
from rnncli.kernels.engine.trace import Call, Leaf, Linear, Recipe, run_recipe
from rnncli.kernels.fused.arithmetic import weight_gradient
from rnncli.kernels.fused.scan import SMALL, SMALL_AND_SHORT, _equal_ends, _graph_is_kept
from rnncli.kernels.fused.time_loop import TRANSPOSE_FROM, LoopStage, TimeLoop, rows
from rnncli.kernels.matmul import matmul, may_round
from rnncli.kernels.memory import empty_huge


class Traced:
    """A cell's step, ready to run: its plan, its code, and where its tensors come from."""

    def __init__(self, plan: Plan, source: Source, recipes: Sequence[Recipe], linear: Linear | None, module: Any) -> None:
        self.plan, self.source, self.linear, self.module = plan, source, linear, module
        self.recipes = [*recipes, *([linear.weight] if linear else [])]
        self.leaves = list(dict.fromkeys(leaf for recipe in self.recipes for leaf in [viewed(recipe)] if leaf))
        self.computed = [k for k, recipe in enumerate(self.recipes) if viewed(recipe) is None]
        self.sizes = np.array(source.sizes, np.int64)
        graph = plan.graph
        self.fields = [graph.sizes[f"s{n}"] for n in range(len(graph.fields))]
        self.P = graph.sizes["projected"]
        self.work = sum(m.K * m.N for m in graph.matmuls)

    def inputs(self, cell: Any) -> list[Tensor]:
        """The tensors that the autograd function takes: those of the cell, and those computed from them."""
        found = {leaf: held(cell, leaf) for leaf in self.leaves}
        return [*found.values(), *(run_recipe(self.recipes[k], lambda leaf: held(cell, leaf)) for k in self.computed)]

    def prepared(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Every prepared tensor, from those inputs."""
        leaves = dict(zip(self.leaves, inputs, strict=False))
        computed = dict(zip(self.computed, inputs[len(leaves) :], strict=True))
        return [
            computed[k] if k in computed else run_recipe(recipe, leaves.__getitem__)
            for k, recipe in enumerate(self.recipes)
        ]

    def spread(self, inputs: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The gradients of the inputs, from those of the prepared tensors."""
        found: list[Tensor | None] = []
        for leaf, value in zip(self.leaves, inputs, strict=False):
            mine = [(r, d) for r, d in zip(self.recipes, gradients, strict=True) if d is not None and viewed(r) == leaf]
            found.append(_gathered(value, leaf, mine))
        return found + [gradients[k] for k in self.computed]

    def function(self, name: str) -> Any:
        """A function of the code, compiled."""
        return getattr(self.module, name)

    @cached_property
    def calls(self) -> tuple[list[Any], list[Any]]:
        """The stages' functions, forward and backward."""
        return tuple([self.function(each.name) for each in part] for part in (self.source.forward, self.source.backward))


def viewed(recipe: Recipe) -> Leaf | None:
    """The tensor that a recipe only views, if it does nothing else."""
    while isinstance(recipe, Call):
        if str(recipe.function).split(".")[-2:-1] and str(recipe.function).split(".")[1] not in VIEWS:
            return None
        recipe = recipe.args[0]
    return recipe if isinstance(recipe, Leaf) else None


VIEWS = frozenset({"t", "transpose", "permute", "slice", "select", "view", "unsqueeze", "squeeze", "split", "alias"})


def held(cell: Any, leaf: Leaf) -> Tensor:
    """A tensor of the cell."""
    owner = cell.get_submodule(leaf.module) if leaf.module else cell
    found: Tensor = getattr(owner, leaf.name)
    return found


def _gathered(value: Tensor, leaf: Leaf, parts: Sequence[tuple[Recipe, Tensor]]) -> Tensor | None:
    """The gradient of a tensor, from those of its views."""
    if not parts:
        return None
    (recipe, d), *others = parts
    if not others and recipe == leaf:
        return d.view_as(value)
    if not others and isinstance(recipe, Call) and recipe.args == (leaf,) and str(recipe.function).startswith("aten.t."):
        return d.t()
    found = torch.zeros_like(value, memory_format=torch.contiguous_format)
    for recipe, d in parts:
        view = run_recipe(recipe, lambda _: found)
        view += d.view_as(view) if d.shape != view.shape else d
    return found


class Sequence_(NamedTuple):
    """What one call runs on."""

    T: int
    B: int
    ends: Any
    rounded: bool


def unroll(traced: Traced, cell: Any, x: Tensor, state: Any, lengths: Tensor | None) -> tuple[Tensor, Any]:
    """Unroll a traced cell; arguments and results as `scan_reference`."""
    T, B, _ = x.shape
    ends = _equal_ends(B, T) if lengths is None else lengths.to(torch.int64).contiguous().numpy()
    run = Sequence_(T, B, ends, may_round(x))
    apply: Any = TracedScan.apply
    given = x if traced.linear else cell.project(x)
    inputs = [value if value.dtype == x.dtype else value.to(x.dtype) for value in traced.inputs(cell)]
    outputs, *last = apply(traced, run, given, *state, *inputs)
    return outputs, type(state)(*last)


class TracedScan(torch.autograd.Function):
    """A traced cell over time, with the gradient that the engine derived."""

    @staticmethod
    def forward(ctx: Any, traced: Traced, run: Sequence_, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        count = len(traced.fields)
        x, inputs = x.contiguous(), rest[count:]
        prepared = traced.prepared(inputs)
        limit = SMALL if run.T >= TRANSPOSE_FROM else SMALL_AND_SHORT
        small = run.B * max(traced.work, traced.P * x.shape[2] if traced.linear else 0) < limit
        memory = Memory(traced, run, x, prepared, small)
        memory.begin(rest[:count])
        memory.forward()
        ctx.traced, ctx.run, ctx.small = traced, run, small
        ctx.names = [name for name in ("projected", "kept", *memory.states, *memory.operands) if name in memory.tensors]
        ctx.count = len(inputs)
        ctx.save_for_backward(x, *inputs, *(memory.tensors[name] for name in ctx.names))
        states = [memory.tensors[name] for name in memory.states]
        return (states[0][1:], *(value[run.T] for value in states))

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, *d_last: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RnnError("the fused backend has no second derivatives: use --backend reference")
        traced: Traced = ctx.traced
        x, *saved = ctx.saved_tensors
        inputs, tensors = saved[: ctx.count], dict(zip(ctx.names, saved[ctx.count :], strict=True))
        memory = Memory(traced, ctx.run, x, traced.prepared(inputs), ctx.small)
        memory.tensors = tensors
        if traced.plan.in_place and _graph_is_kept():
            tensors["projected"] = tensors["projected"].clone()
        memory.backward(d_outputs, d_last)
        d_x, d_prepared = memory.gradients(ctx.needs_input_grad[2])
        first = [memory.tensors[f"c{n}"] for n in range(len(traced.fields))]
        return None, None, d_x, *first, *traced.spread(inputs, d_prepared)


class Memory:
    """The arrays of one sequence, by the names of `plan`."""

    def __init__(self, traced: Traced, run: Sequence_, x: Tensor, prepared: Sequence[Tensor], small: bool) -> None:
        self.traced, self.plan, self.graph, self.run, self.x = traced, traced.plan, traced.plan.graph, run, x
        self.prepared, self.small = prepared, small
        self.tensors: dict[str, Tensor] = {}
        self.states = [f"s{n}" for n in range(len(traced.fields))]
        self.operands = [name for j, name in enumerate(self.plan.operands) if name[0] == "x" and j not in self.plan.again]
        self.loop = TimeLoop(run.T, run.ends, 0, run.rounded)

    def empty(self, name: str, *shape: int) -> Tensor:
        made = self.x.new_empty(shape) if self.small else empty_huge(self.x, *shape)
        self.tensors[name] = made
        return made

    def weight(self, j: int) -> Tensor:
        """The weight (K, N) of a matmul."""
        parts = [self.prepared[k] for k in self.graph.matmuls[j].weights]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def begin(self, first: Sequence[Tensor]) -> None:
        """Allocate what the forward pass works on, and project the inputs."""
        (T, B), traced, plan = self.run[:2], self.traced, self.plan
        for name, value in zip(self.states, first, strict=True):
            self.empty(name, T + 1, B, value.shape[1])[0] = value
        if traced.linear:
            projected = self.empty("projected", T, B, traced.P)
            matmul(rows(self.x), self.prepared[-1], out=rows(projected), rounded=self.run.rounded)
        else:
            self.tensors["projected"] = self.x
        if plan.kept:
            self.empty("kept", T, B, plan.kept)
        for j, name in enumerate(plan.operands):
            if name[0] == "x":
                self.empty(name, T, B, self.graph.matmuls[j].K)
        self.common(plan.forward)

    def common(self, found: Pass) -> None:
        """What both directions need."""
        if self.plan.vectors:
            parts = [self.prepared[int(name[1:])].reshape(-1) for name in self.plan.vectors]
            self.tensors["v"] = parts[0].contiguous() if len(parts) == 1 else torch.cat(parts)
        self.empty("scratch", self.run.B, found.scratch)
        self.empty("spare", self.traced.source.spare)

    def forward(self) -> None:
        graph = self.graph
        if self.small:
            for j, m in enumerate(graph.matmuls):
                self.tensors[f"w{j}"] = self.weight(j).contiguous()
                self.empty(f"y{j}", self.run.B, m.N)
            self.call("forward", self.traced.source.all_forward)
            return
        sources = [(self.tensors[name] if name[0] == "x" else self.states_of(name), self.weight(j)) for j, name in enumerate(self.plan.operands)]
        self.steps(self.plan.forward, self.traced.source.forward, self.traced.calls[0], sources, range(self.run.T), "y")

    def states_of(self, name: str) -> Tensor:
        """The old or new states of a field, (T, B, S)."""
        whole = self.tensors[f"s{name[1:]}"]
        return whole[:-1] if name[0] == "s" else whole[1:]

    def call(self, name: str, arrays: Sequence[str]) -> None:
        given = [self.tensors[each].detach().numpy() for each in arrays]
        self.traced.function(name)(self.run.ends, self.traced.sizes, *given)

    def steps(
        self,
        found: Pass,
        functions: Sequence[Function],
        calls: Sequence[Any],
        sources: Sequence[tuple[Tensor, Tensor]],
        order: range,
        result: str,
    ) -> dict[str, Any]:
        """Run the stages and matmuls of all steps; return the last results of the matmuls."""
        results: dict[str, Any] = {}
        for j in found.last:
            results[f"q{j}"] = self.zeros(sources[j])
        multiplied = [self.loop._matmul(LoopStage(_nothing, (), *each)) for each in sources]
        plan: list[Any] = []
        for stage, function, call in zip(found.stages, functions, calls, strict=True):
            plan += [(f"{result}{j}", multiplied[j], None, None) for j in stage.matmuls]
            given = [None if name[0] in "yrq" else self.tensors[name].detach().numpy() for name in function.arrays]
            moving = [(place, name) for place, name in enumerate(function.arrays) if name[0] in "yrq"]
            plan.append((None, call, given, moving))
        plan += [(f"q{j}", multiplied[j], None, None) for j in found.last]
        ends, sizes = self.run.ends, self.traced.sizes
        with self.loop.policy(sources):
            for t in order:
                for name, call, given, moving in plan:
                    if name:
                        results[name] = call(t)
                    else:
                        for place, each in moving:
                            given[place] = results[each]
                        call(t, ends, sizes, *given)
        return results

    def zeros(self, source: tuple[Tensor, Tensor]) -> Any:
        found = self.x.new_zeros(self.run.B, source[1].shape[1])
        return (found.bfloat16().view(torch.uint16) if self.rounds(source) else found).numpy()

    def rounds(self, source: tuple[Tensor, Tensor]) -> bool:
        return self.loop._rounds(LoopStage(_nothing, (), *source))

    def backward(self, d_outputs: Tensor, d_last: Sequence[Tensor]) -> None:
        """Run back, and leave the gradients of the first state in `c0`, `c1`, …"""
        (T, B), plan, graph = self.run[:2], self.plan, self.graph
        self.tensors["dout"] = d_outputs.contiguous()
        for n, value in enumerate(d_last):
            self.tensors[f"c{n}"] = value.clone(memory_format=torch.contiguous_format)
        for n in plan.copies:
            self.empty(f"b{n}", B, self.traced.fields[n])
        if plan.in_place:
            self.tensors["dp"] = self.tensors["projected"]
        else:
            self.empty("dp", T, B, self.traced.P)
        for j, (m, begin) in enumerate(zip(graph.matmuls, plan.d_places, strict=True)):
            if begin is None:
                self.empty(f"d{j}", T, B, m.N)
            elif m.N < self.traced.P:
                self.empty(f"e{j}", B, m.N)
            if j in plan.again:
                self.empty(f"x{j}", T, B, m.K)
        if plan.vectors:
            self.tensors["acc"] = self.x.new_zeros(B, sum(graph.sizes[name] for name in plan.vectors))
        self.common(plan.backward)
        if self.small:
            self.small_backward()
        else:
            self.large_backward()

    def small_backward(self) -> None:
        for j, m in enumerate(self.graph.matmuls):
            self.tensors[f"w{j}"] = self.weight(j).t().contiguous()
            name = f"q{j}" if j in self.plan.derivative.carried else f"r{j}"
            self.tensors[name] = self.x.new_zeros(self.run.B, m.K)
        self.call("backward", self.traced.source.all_backward)
        for j in self.plan.derivative.carried:
            self.tensors[f"c{self.plan.operands[j][1:]}"] += self.tensors[f"q{j}"]

    def large_backward(self) -> None:
        plan = self.plan
        sources = []
        for j, (m, begin) in enumerate(zip(self.graph.matmuls, plan.d_places, strict=True)):
            name = f"d{j}" if begin is None else "dp" if m.N == self.traced.P else f"e{j}"
            source = self.tensors[name]
            sources.append((source if source.dim() == 3 else source[None], self.weight(j).t()))
        order = range(self.run.T - 1, -1, -1)
        results = self.steps(plan.backward, self.traced.source.backward, self.traced.calls[1], sources, order, "r")
        for j in plan.derivative.carried:
            found = torch.from_numpy(results[f"q{j}"])
            found = found.view(torch.bfloat16).float() if self.rounds(sources[j]) else found
            self.tensors[f"c{plan.operands[j][1:]}"] += found

    def gradients(self, of_x: bool) -> tuple[Tensor | None, list[Tensor | None]]:
        """The gradients of the input and of the prepared tensors."""
        traced, plan, graph = self.traced, self.plan, self.graph
        found: list[Tensor | None] = [None] * len(self.prepared)
        for j, m in enumerate(graph.matmuls):
            d, x = self.result_gradient(j), self.operand(j)
            parts = d.split([self.prepared[k].shape[1] for k in m.weights], -1) if len(m.weights) > 1 else [d]
            for k, part in zip(m.weights, parts, strict=True):
                _accumulate(found, k, self.weight_gradient(part, x).t())
        self.vector_gradients(found)
        dp = self.tensors["dp"]
        if not traced.linear:
            return dp, found
        d_x = None
        if of_x:
            d_x = self.empty("dx", *self.x.shape)
            matmul(rows(dp), self.prepared[-1].t(), out=rows(d_x), rounded=self.run.rounded)
        _accumulate(found, len(found) - 1, self.weight_gradient(dp, self.x).t())
        return d_x, found

    def weight_gradient(self, d: Tensor, x: Tensor) -> Tensor:
        if self.small:
            return torch.from_numpy(weight_gradient(d.detach().numpy(), x.detach().numpy()))
        return self.loop.weight_gradient(d, x)

    def vector_gradients(self, found: list[Tensor | None]) -> None:
        plan = self.plan
        if not plan.vectors:
            return
        summed = self.tensors["acc"].sum(0)
        totals: dict[str, Tensor] = {}
        for target, place in plan.sums:
            if place.array not in totals:
                totals[place.array] = rows(self.tensors[place.array]).sum(0)
            part = totals[place.array][place.start : place.start + place.stride * place.length : place.stride]
            summed[target.start : target.start + target.stride * target.length : target.stride] = part
        for name, begin in plan.vectors.items():
            k = int(name[1:])
            _accumulate(found, k, summed[begin : begin + self.graph.sizes[name]].view_as(self.prepared[k]))

    def result_gradient(self, j: int) -> Tensor:
        begin = self.plan.d_places[j]
        return self.tensors[f"d{j}"] if begin is None else self.tensors["dp"][:, :, begin : begin + self.graph.matmuls[j].N]

    def operand(self, j: int) -> Tensor:
        name = self.plan.operands[j]
        return self.tensors[name] if name[0] == "x" else self.states_of(name)


def _accumulate(found: list[Tensor | None], k: int, d: Tensor) -> None:
    known = found[k]
    found[k] = d if known is None else known + d


def _nothing(*_: Any) -> None: ...
