"""The scan of a traced cell: memory for a sequence, the loop over its steps, and the autograd function.

Shapes: T steps, B batch, D input, P projected features, S features of a state's field, K and N of a matmul.
"""

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnncli.errors import RnnError
from rnncli.kernels.engine.emit import BITS, Code
from rnncli.kernels.engine.inputs import Inputs
from rnncli.kernels.engine.matmuls import TRANSPOSE_FROM, StepMatmul, policy, rows, weight_gradient
from rnncli.kernels.engine.plan import Pass, Plan
from rnncli.kernels.engine.sequence import Function
from rnncli.kernels.matmul import matmul, may_round
from rnncli.kernels.memory import empty_huge

SMALL = 250_000
"""Multiplications per step. Below this, one compiled loop is faster than torch's matmuls with their calls."""

SMALL_AND_SHORT = SMALL // 10
"""The same limit for fewer steps, since compiled loops copy every weight."""

STREAMED = 2_000_000
"""Projected features of all steps. From this number on, starting a thread for them pays."""


class Traced:
    """A cell's step, ready to run: its plan, its code, and where its tensors come from."""

    def __init__(self, plan: Plan, source: Code, inputs: Inputs, module: Any) -> None:
        self.plan, self.source, self.inputs, self.module = plan, source, inputs, module
        self.is_linear = len(inputs.views) > plan.recipes
        self.sizes = np.array(source.sizes, np.int64)
        graph = plan.graph
        self.fields = [graph.sizes[f"s{n}"] for n in range(len(graph.fields))]
        self.P = graph.sizes["projected"]
        self.work = sum(m.K * m.N for m in graph.matmuls)
        if self.is_linear:
            self.work = max(self.work, math.prod(inputs.views[-1].shape))


class Run(NamedTuple):
    """What one call runs on."""

    T: int
    B: int
    ends: Any
    rounded: bool


def unroll(traced: Traced, cell: Any, x: Tensor, state: Any, lengths: Tensor | None) -> tuple[Tensor, Any]:
    """Unroll a traced cell; arguments and results as `scan_reference`."""
    T, B, _ = x.shape
    ends = _equal_ends(B, T) if lengths is None else lengths.to(torch.int64).contiguous().numpy()
    given = x if traced.is_linear else cell.project(x)
    work = traced.work or traced.P * x.shape[2]  # that of a projection by the cell's own code is unknown
    is_small = B * work < (SMALL if T >= TRANSPOSE_FROM else SMALL_AND_SHORT)
    apply: Any = SmallScan.apply if is_small else LargeScan.apply
    outputs, *last = apply(traced, Run(T, B, ends, may_round(x)), given, *state, *traced.inputs.of(cell, x.dtype))
    return outputs, type(state)(*last)


class SmallScan(torch.autograd.Function):
    """A traced cell over time, entirely in compiled code."""

    @staticmethod
    def forward(ctx: Any, traced: Traced, run: Run, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        count = len(traced.fields)
        x = x.contiguous()
        given = [value.contiguous().detach().numpy() for value in (x, *rest)]
        made = [torch.from_numpy(value) for value in traced.module.forward(run.ends, traced.sizes, *given)]
        ctx.traced, ctx.run, ctx.projected = traced, run, 1 + len(rest)  # its place among the saved tensors
        ctx.save_for_backward(x, *rest[count:], *made)
        return (made[0][1:], *(value[run.T] for value in made[:count]))

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, *d_last: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_second()
        traced, run = ctx.traced, ctx.run
        saved = [value.detach().numpy() for value in ctx.saved_tensors]
        if traced.plan.in_place and _graph_is_kept():
            saved[ctx.projected] = saved[ctx.projected].copy()
        of_x = ctx.needs_input_grad[2]
        d = [d_outputs.contiguous().numpy(), *(value.numpy().copy() for value in d_last)]
        found = traced.module.backward(run.ends, traced.sizes, of_x, *saved, *d)
        d_x, *others = (torch.from_numpy(value) for value in found)
        return None, None, d_x if of_x else None, *others


class LargeScan(torch.autograd.Function):
    """A traced cell over time, as compiled stages between torch's matmuls."""

    @staticmethod
    def forward(ctx: Any, traced: Traced, run: Run, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        count = len(traced.fields)
        x, inputs = x.contiguous(), rest[count:]
        memory = Memory(traced, run, x, inputs)
        memory.begin(rest[:count])
        memory.forward()
        ctx.traced, ctx.run, ctx.count = traced, run, len(inputs)
        ctx.names = [name for name in ("projected", "kept", *memory.states, *memory.operands) if name in memory.tensors]
        ctx.save_for_backward(x, *inputs, *(memory.tensors[name] for name in ctx.names))
        states = [memory.tensors[name] for name in memory.states]
        return (states[0][1:], *(value[run.T] for value in states))

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, *d_last: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_second()
        traced: Traced = ctx.traced
        x, *saved = ctx.saved_tensors
        inputs = saved[: ctx.count]
        memory = Memory(traced, ctx.run, x, inputs)
        memory.tensors = dict(zip(ctx.names, saved[ctx.count :], strict=True))
        if traced.plan.in_place and _graph_is_kept():
            memory.tensors["projected"] = memory.tensors["projected"].clone()
        memory.backward(d_outputs, d_last)
        d_x, d_prepared = memory.gradients(ctx.needs_input_grad[2])
        first = [memory.tensors[f"c{n}"] for n in range(len(traced.fields))]
        return None, None, d_x, *first, *traced.inputs.gather(inputs, d_prepared)


def _refuse_second() -> None:
    if torch.is_grad_enabled():
        raise RnnError("the fused backend has no second derivatives: use --backend reference")


class Memory:
    """The arrays of one sequence, by the names of `plan`."""

    def __init__(self, traced: Traced, run: Run, x: Tensor, inputs: Sequence[Tensor]) -> None:
        self.traced, self.plan, self.graph, self.run, self.x = traced, traced.plan, traced.plan.graph, run, x
        self.prepared = traced.inputs.prepared(inputs)
        self.tensors: dict[str, Tensor] = {}
        self.states = [f"s{n}" for n in range(len(traced.fields))]
        self.operands = [
            name for j, name in enumerate(self.plan.operands) if name[0] == "x" and j not in self.plan.again
        ]

    def empty(self, name: str, *shape: int) -> Tensor:
        self.tensors[name] = empty_huge(self.x, *shape)
        return self.tensors[name]

    def weight(self, j: int) -> Tensor:
        """The weight (K, N) of a matmul that is run."""
        parts = [self.prepared[k] for k in self.plan.weights(j)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def begin(self, first: Sequence[Tensor]) -> None:
        """Allocate what the forward pass works on, and project the inputs."""
        (T, B), traced, plan = self.run[:2], self.traced, self.plan
        for name, value in zip(self.states, first, strict=True):
            self.empty(name, T + 1, B, value.shape[1])[0] = value
        if traced.is_linear:
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
        if self.plan.streams:
            self.stream(self.traced.source.forward.steps)
            return
        rounded = self.run.rounded
        matmuls = {j: StepMatmul(self.operand(j), self.weight(j), rounded) for j in self.plan.run_matmuls()}
        results = {}
        for j, by in self.plan.derivative.merged.items():
            results[f"y{by}"] = matmuls[by].bits(matmul(self.operand(j)[0], matmuls[by].weight))
        if self.in_one_call(matmuls.values()):
            self.loop(self.traced.source.forward.steps, matmuls, results)
        else:
            self.steps(self.plan.forward, self.traced.source.forward.stages, matmuls, range(self.run.T), "y", results)

    def in_one_call(self, matmuls: Iterable[StepMatmul]) -> bool:
        """Whether compiled code should run all steps, their matmuls too."""
        return self.run.T >= TRANSPOSE_FROM and all(each.suits_blas for each in matmuls)

    def loop(self, function: Function, matmuls: dict[int, StepMatmul], results: dict[str, Any]) -> None:
        """Run all steps and their matmuls in one call; the last results of the matmuls remain in `results`."""
        given = []
        for name in function.arrays:
            if name[0] == "w":
                given.append(matmuls[int(name[1:])].weight.contiguous().numpy())
            elif name[0] in BITS:
                given.append(results.setdefault(name, matmuls[int(name[1:])].empty()))
            else:
                given.append(self.tensors[name].detach().numpy())
        getattr(self.traced.module, function.name)(self.run.ends, self.traced.sizes, *given)

    def stream(self, function: Function) -> None:
        """Run all steps of a cell without matmuls, in threads if that pays, each for some of the sequences."""
        call, B = getattr(self.traced.module, function.name), self.run.B
        threads = min(torch.get_num_threads(), B, max(1, self.run.T * B * self.traced.P // STREAMED))
        bounds = [B * n // threads for n in range(threads + 1)]

        def run(first: int, last: int) -> None:
            spare = np.empty(self.traced.source.spare, self.tensors["spare"].numpy().dtype)
            arrays = [spare if name == "spare" else self.tensors[name].detach().numpy() for name in function.arrays]
            call(first, last, self.run.ends, self.traced.sizes, *arrays)

        if threads == 1:
            run(0, B)
            return
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, bounds, bounds[1:]))

    def states_of(self, name: str) -> Tensor:
        """The old or new states of a field, (T, B, S)."""
        whole = self.tensors[f"s{name[1:]}"]
        return whole[:-1] if name[0] == "s" else whole[1:]

    def steps(
        self,
        found: Pass,
        functions: Sequence[Function],
        matmuls: dict[int, StepMatmul],
        order: range,
        result: str,
        results: dict[str, Any],
    ) -> None:
        """Run the stages and matmuls of all steps; the last results of the matmuls remain in `results`."""
        multiplied = {j: each.prepare(self.run.T) for j, each in matmuls.items()}
        plan: list[Any] = []
        for stage, function in zip(found.stages, functions, strict=True):
            plan += [(f"{result}{j}", multiplied[j], None, None) for j in stage.matmuls]
            moving = [(place, name) for place, name in enumerate(function.arrays) if name[0] in BITS]
            given = [None if name[0] in BITS else self.tensors[name].detach().numpy() for name in function.arrays]
            plan.append((None, getattr(self.traced.module, function.name), given, moving))
        plan += [(f"q{j}", multiplied[j], None, None) for j in found.last]
        ends, sizes = self.run.ends, self.traced.sizes
        with policy(matmuls.values()):
            for t in order:
                for name, call, given, moving in plan:
                    if name:
                        results[name] = call(t)
                    else:
                        for place, each in moving:
                            given[place] = results[each]
                        call(t, ends, sizes, *given)

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
        for j, m in enumerate(graph.matmuls):
            if own := plan.own_gradients(j):
                self.empty(f"d{j}", T, B, own)
            if plan.has_copy(j) and j not in plan.derivative.merged:
                self.empty(f"e{j}", B, plan.width(j)).zero_()
            if j in plan.again:
                self.empty(f"x{j}", T, B, m.K)
        if plan.vectors:
            self.tensors["acc"] = self.x.new_zeros(B, sum(graph.sizes[name] for name in plan.vectors))
        self.common(plan.backward)
        if plan.streams:
            self.stream(self.traced.source.backward.steps)
        else:
            self.run_back()

    def run_back(self) -> None:
        plan, merged, matmuls = self.plan, self.plan.derivative.merged, {}
        for j in plan.run_matmuls():
            source = self.tensors[f"e{j}" if plan.has_copy(j) else plan.d_parts[j][0].array]
            source = source if source.dim() == 3 else source[None]
            matmuls[j] = StepMatmul(source, self.weight(j).t(), self.run.rounded)
        nothing = {j: self.x.new_zeros(self.run.B, matmuls[j].weight.shape[1]) for j in plan.backward.last}
        results = {f"q{j}": matmuls[j].bits(value) for j, value in nothing.items()}
        if self.in_one_call(matmuls.values()):
            self.loop(self.traced.source.backward.steps, matmuls, results)
        else:
            order = range(self.run.T - 1, -1, -1)
            self.steps(plan.backward, self.traced.source.backward.stages, matmuls, order, "r", results)
        for j in plan.backward.last:
            self.tensors[f"c{plan.operands[j][1:]}"] += matmuls[j].values(results[f"q{j}"])
        for j, by in merged.items():
            begin = self.graph.matmuls[by].N
            d, weight = self.tensors[f"e{by}"][:, begin:], matmuls[by].weight[begin:]
            self.tensors[f"c{plan.operands[j][1:]}"] += matmul(d, weight)

    def gradients(self, of_x: bool) -> tuple[Tensor | None, list[Tensor | None]]:
        """The gradients of the input and of the prepared tensors."""
        traced, plan, graph = self.traced, self.plan, self.graph
        found: list[Tensor | None] = [None] * len(self.prepared)
        for j, m in enumerate(graph.matmuls):
            places = [(self.tensors[place.array], place.start, place.start + place.length) for place in plan.d_parts[j]]
            parts = [self.weight_gradient(d[:, :, begin:end], self.operand(j)) for d, begin, end in places]
            whole = parts[0] if len(parts) == 1 else torch.cat(parts)
            for k, part in zip(m.weights, whole.split([self.prepared[k].shape[1] for k in m.weights]), strict=True):
                _accumulate(found, k, part.t())
        self.vector_gradients(found)
        dp = self.tensors["dp"]
        if not traced.is_linear:
            return dp, found
        d_x = None
        if of_x:
            d_x = self.empty("dx", *self.x.shape)
            matmul(rows(dp), self.prepared[-1].t(), out=rows(d_x), rounded=self.run.rounded)
        _accumulate(found, len(found) - 1, self.weight_gradient(dp, self.x).t())
        return d_x, found

    def weight_gradient(self, d: Tensor, x: Tensor) -> Tensor:
        return weight_gradient(d, x, rounded=self.run.rounded)

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

    def operand(self, j: int) -> Tensor:
        name = self.plan.operands[j]
        return self.tensors[name] if name[0] == "x" else self.states_of(name)


def _accumulate(found: list[Tensor | None], k: int, d: Tensor) -> None:
    known = found[k]
    found[k] = d if known is None else known + d


@lru_cache
def _equal_ends(B: int, T: int) -> Any:
    return np.full(B, T)


def _graph_is_kept() -> bool:
    """Tell whether the backward pass may run again (`retain_graph`); assume so where torch does not tell.

    Torch has no public way to ask. A wrong yes only costs the copies.
    """
    autograd: Any = getattr(getattr(torch, "_C", None), "_autograd", None)
    tell = getattr(autograd, "_get_current_graph_task_keep_graph", None)
    return tell is None or bool(tell())
