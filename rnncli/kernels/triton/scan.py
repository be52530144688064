"""The scan by a cell's kernels: its arrays, which tier runs the loop, and the matmuls before and after it.

Shapes: T steps, B batch, D input, P projected features, S features of a state's field, K and N of a matmul.
"""

from contextlib import nullcontext
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from rnncli.errors import RnnError
from rnncli.kernels.engine.inputs import computed
from rnncli.kernels.engine.plan import Plan
from rnncli.kernels.graphs import for_graph, in_graph
from rnncli.kernels.precision import type_of_factors
from rnncli.kernels.triton.build import Kernels
from rnncli.kernels.triton.tiers import Launching, Tier, choose_tier
from rnncli.kernels.triton.tile import widths

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])


class Run(NamedTuple):
    """What one call runs on."""

    kernels: Kernels
    tier: Tier
    ends: Tensor  # (B,) int32
    dtype: torch.dtype  # of the matmuls
    keep: bool  # whether a backward pass follows


def unroll(
    kernels: Kernels, cell: Any, x: Tensor, state: StateT, lengths: Tensor | None = None, tier: Tier | None = None
) -> tuple[Tensor, StateT]:
    """Unroll a cell; arguments and results as `scan_reference`. The tier is chosen where none is given."""
    T, B, _ = x.shape
    dtype = type_of_factors(x)
    projected = cell.project(x) if kernels.linear is None else x @ computed(kernels.linear, cell).to(x.dtype)
    weights, vectors = parameters(kernels, cell, x.device, dtype)
    ends = torch.full((B,), T, device=x.device) if lengths is None else lengths
    tier = tier or choose_tier(kernels, dtype, x.device)
    run = Run(kernels, tier, ends.to(x.device, torch.int32), dtype, torch.is_grad_enabled())
    with torch.cuda.device_of(x):  # the kernels launch there
        outputs, *last = Unrolled.apply(  # type: ignore[no-untyped-call]  # torch gives it no types
            run, projected, vectors, len(weights), *weights, *state
        )
    return outputs, type(state)(outputs[-1], *last)


def parameters(kernels: Kernels, cell: Any, device: torch.device, dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    """The weights (N, K) of all matmuls in the type of the factors, and all vectors in float32, under autograd."""
    plan, graph = kernels.plan, kernels.plan.graph
    with torch.autocast(device.type, enabled=False):
        prepared = [computed(recipe, cell) for recipe in kernels.recipes]
    weights = []
    for m in graph.matmuls:
        parts = [prepared[k].to(dtype).t() for k in m.weights]
        weights.append((parts[0] if len(parts) == 1 else torch.cat(parts)).contiguous())
    vectors = [prepared[int(name[1:])].float().reshape(-1) for name in plan.vectors]
    nothing = torch.zeros(0, device=device)
    return weights, torch.cat([nothing, *vectors])


class Memory:
    """The arrays of one sequence, by the names of `plan`."""

    def __init__(self, run: Run, T: int, B: int, arrays: dict[str, Tensor]) -> None:
        self.run, self.T, self.B, self.arrays = run, T, B, arrays
        self.plan: Plan = run.kernels.plan
        self.widths = widths(self.plan)
        self.device = run.ends.device

    def launching(self, is_backward: bool) -> Launching:
        return Launching(self.run.kernels, self.run.tier, is_backward, self.T, self.B, self.run.keep)

    def empty(self, name: str, *rows: int, dtype: torch.dtype = torch.float32) -> Tensor:
        self.arrays[name] = torch.empty(*rows, self.widths[name], dtype=dtype, device=self.device)
        return self.arrays[name]

    def states(self, first: tuple[Tensor, ...]) -> None:
        """Allocate the states of all steps: h in the type of the matmuls, the others in float32."""
        for n, value in enumerate(first):
            dtype = torch.float32 if n else self.run.dtype
            self.empty(f"s{n}", self.T + 1, self.B, dtype=dtype)[0] = value

    def forward(self) -> None:
        """Allocate what the kernels need besides, and launch them."""
        launching, T = self.launching(is_backward=False), self.T if self.run.keep else 1
        for name in launching.arrays:
            if name == "kept" or (name[0] == "x" and name[1:].isdigit()):
                again = name != "kept" and int(name[1:]) in self.plan.again
                self.empty(name, 1 if again else T, self.B, dtype=self.run.dtype)
            elif name[0] == "y" or name == "scratch":
                self.empty(name, self.B)
        launching.launch(self.arrays, self.run.ends, written=("s", "kept", "x"))

    def backward(self, d_outputs: Tensor, d_last: tuple[Tensor, ...]) -> None:
        """Launch the kernels of the gradient; that of the first state is then in row 0 of `c0`, `c1`, …"""
        launching, T, B = self.launching(is_backward=True), self.T, self.B
        self.arrays["dout"] = d_outputs.contiguous()
        for n, value in enumerate(d_last):
            self.empty(f"c{n}", 2, B)[:] = value
        self.gradient("dp", self.arrays["projected"].dtype)
        for j in range(len(self.plan.graph.matmuls)):
            if self.plan.own_gradients(j):
                self.gradient(f"d{j}", self.run.dtype)
            if j in self.plan.again:
                self.empty(f"x{j}", T, B, dtype=self.run.dtype)
        if self.plan.vectors:
            self.empty("acc", B).zero_()
        for name in launching.arrays:
            if name[0] in "rq" or name == "scratch":
                self.empty(name, B)
        launching.launch(self.arrays, self.run.ends, written=("c", "d", "x", "acc"))
        if not launching.is_whole:
            self.first_step()

    def gradient(self, name: str, dtype: torch.dtype) -> None:
        """Allocate a gradient of all steps, and zeros in place of one more."""
        self.empty(name, self.T + 1, self.B, dtype=dtype)[self.T] = 0

    def first_step(self) -> None:
        """Add to the first state's gradient what the launches of one step more would add."""
        for n in range(len(self.plan.graph.fields)):
            for j in self.plan.derivative.carried_by(self.plan.graph, n):
                weights = self.arrays[f"w{j}"].float()
                for (d, _), weight in zip(self.parts(j), weights.split([w for _, w in self.parts(j)]), strict=True):
                    self.arrays[f"c{n}"][0] += d[0].float() @ weight

    # after the loop

    def parts(self, j: int) -> list[tuple[Tensor, int]]:
        """The gradients (T + 1, B, n) of the parts of a matmul's result, and their widths."""
        return [
            (self.arrays[array][:, :, start : start + length], length)
            for array, start, length, _ in self.plan.d_parts[j]
        ]

    def operand(self, j: int) -> Tensor:
        """The operand of a matmul at all steps, (T, B, K)."""
        name = self.plan.operands[j]
        if name[0] == "x":
            return self.arrays[name]
        states = self.arrays[f"s{name[1:]}"]
        return states[1:] if name[0] == "n" else states[:-1]

    def weight_gradients(self) -> list[Tensor]:
        """The gradients (N, K) of all weights, one matmul for neighbours that see the same operand."""
        found = []
        for j in range(len(self.plan.graph.matmuls)):
            x = self.operand(j).to(self.run.dtype).flatten(0, 1)
            parts = [d[:-1].to(self.run.dtype).flatten(0, 1).t() @ x for d, _ in self.parts(j)]
            found.append(parts[0] if len(parts) == 1 else torch.cat(parts))
        return found

    def vector_gradients(self) -> Tensor:
        """The gradients of all vectors: sums over sequences, and of those that another array has, over steps too."""
        if not self.plan.vectors:
            return torch.zeros(0, device=self.device)
        found = self.arrays["acc"].sum(0)
        for target, source in self.plan.sums:
            d = self.arrays[source.array][:-1, :, source.start : source.start + source.stride * source.length]
            found[_slice(target)] = d[:, :, :: source.stride].sum((0, 1), dtype=torch.float32)
        return found


def _slice(place: Any) -> slice:
    return slice(place.start, place.start + place.stride * place.length, place.stride)


class Unrolled(torch.autograd.Function):
    """The loop under autograd; the matmuls with the inputs are outside."""

    @staticmethod
    def forward(
        ctx: Any, run: Run, projected: Tensor, vectors: Tensor, count: int, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        """Return outputs (T, B, M), then the other fields of the last state."""
        weights, state = rest[:count], rest[count:]
        T, B, _ = projected.shape
        arrays = {"projected": projected.contiguous(), "v": vectors, **{f"w{j}": w for j, w in enumerate(weights)}}
        memory = Memory(run, T, B, arrays)
        memory.states(state)
        memory.forward()
        if run.keep:
            wanted = set(memory.launching(is_backward=True).arrays) | set(run.kernels.plan.operands)
            wanted |= {f"w{j}" for j in range(count)} | {f"s{n}" for n in range(len(state))} | {"projected"}
            names = [name for name in memory.arrays if name in wanted and name[0] not in "y" and name != "scratch"]
            ctx.run, ctx.size, ctx.count, ctx.names = run, (T, B), count, names
            ctx.around = for_graph if in_graph() else nullcontext  # torch takes another thread for the backward pass
            ctx.dtypes = [value.dtype for value in state]
            ctx.save_for_backward(*(memory.arrays[name] for name in names))
        h, *others = (memory.arrays[f"s{n}"] for n in range(len(state)))
        return h[1:], *(value[-1].to(first.dtype, copy=True) for value, first in zip(others, state[1:], strict=True))

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, *d_last: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # else a second derivative would silently be zero
            raise RnnError("the triton backend has no second derivatives: use --backend reference")
        arrays = dict(zip(ctx.names, ctx.saved_tensors, strict=True))
        T, B = ctx.size
        memory = Memory(ctx.run, T, B, arrays)
        nothing = d_outputs.new_zeros(d_outputs.shape[1:])  # the last output holds it
        with ctx.around():
            memory.backward(d_outputs, (nothing, *d_last))
        d_first = (memory.arrays[f"c{n}"][0].to(dtype) for n, dtype in enumerate(ctx.dtypes))
        return None, memory.arrays["dp"][:-1], memory.vector_gradients(), None, *memory.weight_gradients(), *d_first
