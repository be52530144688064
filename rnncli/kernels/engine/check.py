"""Checks before a graph is used: it is the same whatever the batch, and equals the step by values and gradients."""

import inspect
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnncli.kernels.engine import cache, rules, scalars
from rnncli.kernels.engine.derive import Derivative, derive
from rnncli.kernels.engine.facts import own_classes
from rnncli.kernels.engine.graph import Graph, Untraceable, build
from rnncli.kernels.engine.ops import OPS
from rnncli.kernels.engine.plan import merged_matmuls
from rnncli.kernels.engine.recipes import run_recipe
from rnncli.kernels.engine.trace import Linear, Trace, linear_projection, tensors_of, trace, twin_of

assert rules  # which the tracer looks up

CLOSE = 1e-6
"""Error of values and gradients, relative to the greatest of each; some gradients of torch have float32's constants."""

STEPS = 3
"""Steps from a cell's first state to one that it is checked with."""

BATCHES = (1, 2, 5, 16, 100)
"""Sizes of batches by which a sequence's step may not differ."""


class Evaluation:
    """Computes the pieces of one step with numpy; `arrays` has the inputs by name."""

    def __init__(self, graph: Graph, derivative: Derivative, arrays: dict[str, Any], weights: Sequence[Any]) -> None:
        self.graph, self.derivative, self.arrays, self.weights = graph, derivative, arrays, weights
        self.found: dict[int, Any] = {}

    def value(self, piece: int) -> Any:
        """A piece, (B, N)."""
        if piece not in self.found:
            self.found[piece] = self.compute(*self.graph.pieces[piece])
        return self.found[piece]

    def compute(self, op: str, operands: tuple[int, ...], _: int, extra: Any) -> Any:
        if op in ("const", "size"):
            return np.full((1, 1), extra)
        if op == "load":
            return self.array(extra.array)[:, extra.slice]
        given = [self.value(each) for each in operands]
        if op in ("sum", "max"):
            B = max(len(each) for each in given)
            sizes = [self.graph.pieces[each].length for each in operands]
            whole = [np.broadcast_to(each, (B, size)) for each, size in zip(given, sizes, strict=True)]
            return getattr(np.concatenate(whole, 1), op)(axis=1, keepdims=True)
        with np.errstate(all="ignore"):
            return eval(
                OPS[op].text.format(*(f"a[{k}]" for k in range(len(given))), x=repr(extra)),
                {"a": given, **vars(scalars)},
            )

    def array(self, name: str) -> Any:
        if name not in self.arrays:
            graph, j = self.graph, 0 if name == "dout" else int(name[1:])
            if name == "dout" or name[0] == "q":
                return np.zeros_like(self.arrays["c0" if name == "dout" else f"c{self.field_of(j)}"])
            if name[0] == "y":
                made = self.packed(graph.matmuls[j].operand, graph.matmuls[j].K) @ self.weights[j]
            else:
                made = self.packed(self.derivative.results[j], graph.matmuls[j].N) @ self.weights[j].T
            self.arrays[name] = made
        return self.arrays[name]

    def field_of(self, j: int) -> str:
        """The number of the field that a matmul multiplies."""
        found: str = self.graph.pieces[self.graph.matmuls[j].operand[0][0]].extra.array[1:]
        return found

    def packed(self, pairs: Sequence[tuple[int, Any]], size: int) -> Any:
        """An array (B, size) of pieces."""
        out = np.zeros((len(self.arrays["projected"]), size))
        for piece, place in pairs:
            out[:, place.slice] = self.value(piece)
        return out


class Checked(NamedTuple):
    """A step that may be used."""

    trace: Trace
    graph: Graph
    derivative: Derivative
    linear: Linear | None  # how the inputs are projected


class Samples:
    """Projected inputs and states to check a copy of a cell with, from `sizes` of both.

    States are random numbers. Where a step makes no finite numbers of those, such as a logarithm of a state that is
    always positive, they are states that the copy reaches from the first state of the cell itself.
    """

    def __init__(self, cell: Any, twin: Any, sizes: Sequence[int], generator: torch.Generator) -> None:
        self.cell, self.twin, self.sizes, self.generator = cell, twin, sizes, generator

    def random(self, B: int) -> tuple[Tensor, Any]:
        """Random numbers for B sequences: the projected inputs (B, P), and the state."""
        made = [torch.randn(B, size, generator=self.generator, dtype=torch.float64) * 0.7 for size in self.sizes]
        return made[0], self.cell.State(*made[1:])

    def of(self, B: int) -> tuple[Tensor, Any]:
        """The same with a state of which a step makes finite numbers, if there is one."""
        projected, state = self.random(B)
        first = [value.detach().to(projected) for value in self.cell.initial_state(B) if not value.is_meta]
        with torch.no_grad():
            if first and not all(value.isfinite().all() for value in self.twin.step(projected, state)):
                state = self.cell.State(*first)
                for _ in range(STEPS):
                    state = self.twin.step(self.random(B)[0], state)
        return projected, state


def traced(cell: Any, sizes: Sequence[int]) -> Checked:
    """Trace, derive and check a cell with fields of these sizes; raises Untraceable."""
    generator = torch.Generator().manual_seed(20)
    twin = twin_of(cell, generator)
    x = torch.randn(2, cell.input_size, generator=generator, dtype=torch.float64)
    linear = linear_projection(twin, x)
    bias = linear.bias if linear else None
    try:
        projected = twin.project(x[None]).shape[-1]
    except Exception as error:  # whatever a user's code raises
        raise Untraceable(f"project fails in double precision: {_line(error)}") from None

    samples = Samples(cell, twin, (projected, *sizes), generator)
    try:
        traces = [trace(twin, *samples.random(B), bias) for B in (2, 3, 3)]
    except Untraceable:
        raise
    except Exception as error:  # whatever a user's step raises
        raise Untraceable(f"step fails in double precision: {_line(error)}") from None
    first, *others = (each.canonical() for each in traces)
    if others[0] != others[1]:
        raise Untraceable("two calls of step compute different operations")
    if first != others[0]:
        raise Untraceable("step computes different operations for different batches")
    _check_batches(twin, samples)
    graph = build(traces[0].nodes, traces[0].outputs, traces[0].sizes)
    derivative = derive(graph, merged_matmuls(graph))
    kind: Any = type(cell)
    facts = repr(first), repr(linear), _source(kind)
    if not cache.is_known(*facts):
        try:
            compare(twin, traces[0], graph, derivative, linear, *samples.of(3))
        except RuntimeError as error:  # of autograd
            raise Untraceable(f"step has no gradients in double precision: {_line(error)}") from None
        cache.note(*facts)
    return Checked(traces[0], graph, derivative, linear)


def _check_batches(twin: Any, samples: Samples) -> None:
    """Compare the steps of a batch and of its first sequences; raises Untraceable where they differ."""
    with torch.no_grad():
        try:
            projected, state = samples.of(max(BATCHES))
            whole = twin.step(projected, state)
            parts = [(B, twin.step(projected[:B], type(state)(*(value[:B] for value in state)))) for B in BATCHES]
        except Exception as error:  # whatever a user's step raises
            raise Untraceable(f"step fails for some batches: {_line(error)}") from None
    for B, found in parts:
        if not all(torch.allclose(a, b[:B], equal_nan=True) for a, b in zip(found, whole, strict=True)):
            raise Untraceable("step computes different operations for different batches")


@lru_cache
def _source(cell_class: type) -> str:
    """The text of a cell's class and its bases; where there is none, something new."""
    try:
        return "".join(map(inspect.getsource, own_classes(cell_class)))
    except (OSError, TypeError):
        return os.urandom(16).hex()


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def compare(
    twin: Any, made: Trace, graph: Graph, derivative: Derivative, linear: Linear | None, projected: Tensor, state: Any
) -> None:
    """Compare graph and step by values and gradients; raises Untraceable where they differ."""
    leaves = {leaf: value for leaf, value in tensors_of(twin).items() if value.is_floating_point()}
    given = [projected, *state]
    for value in (*given, *leaves.values()):
        value.requires_grad_(value.is_leaf)
    hoisted = linear.bias if linear else None
    bias = None if hoisted is None else run_recipe(hoisted, lambda leaf: tensors_of(twin)[leaf])
    after = twin.step(projected if bias is None else projected + bias, state)
    weigh = [torch.linspace(-1, 1, value.numel(), dtype=torch.float64).view_as(value) for value in after]
    wanted = _gradients(after, weigh, [*given, *leaves.values()])
    prepared = [run_recipe(recipe, lambda leaf: tensors_of(twin)[leaf]).double() for recipe in made.prepared]
    weights = [np.concatenate([prepared[each].detach().numpy() for each in m.weights], 1) for m in graph.matmuls]
    names = ("projected", *(f"s{n}" for n in range(len(state))))
    arrays = {name: value.detach().numpy() for name, value in zip(names, given, strict=True)}
    arrays |= {f"c{n}": value.numpy() for n, value in enumerate(weigh)}
    arrays |= {f"v{n}": value.detach().numpy().reshape(1, -1) for n, value in enumerate(prepared)}
    found = Evaluation(graph, derivative, arrays, weights)
    for number, (value, packed) in enumerate(zip(after, graph.fields, strict=True)):
        _agree(found.packed(packed, value.shape[1]), value, f"field {number} of the new state")
    d_prepared = _prepared_gradients(found, prepared)
    mine = _inputs_gradients(found, names)
    used = [place for place, value in enumerate(prepared) if value.requires_grad]
    mine += _gradients([prepared[k] for k in used], [d_prepared[k] for k in used], list(leaves.values()))
    for name, ours, theirs in zip([*names, *(leaf.name for leaf in leaves)], mine, wanted, strict=True):
        _agree(ours, theirs, f"the gradient of {name}")


def _gradients(outputs: Any, weigh: Any, inputs: list[Tensor]) -> list[Any]:
    pairs = [(each, d) for each, d in zip(outputs, weigh, strict=True) if each.requires_grad]
    if not pairs:
        return [torch.zeros_like(each) for each in inputs]
    wanted = [each for each in inputs if each.requires_grad]
    made = iter(
        torch.autograd.grad(
            [p for p, _ in pairs], wanted, [d for _, d in pairs], allow_unused=True, materialize_grads=True
        )
    )
    return [next(made) if each.requires_grad else torch.zeros_like(each) for each in inputs]


def _inputs_gradients(found: Evaluation, names: Sequence[str]) -> list[Any]:
    """The gradients of the projected input and of the state, with those that matmuls carry."""
    sizes, derivative = found.graph.sizes, found.derivative
    made = []
    for name in names:
        d = found.packed(derivative.inputs[name], sizes[name])
        for j in derivative.carried:
            if f"s{found.field_of(j)}" == name:
                d = d + found.array(f"r{j}")
        made.append(d)
    return made


def _prepared_gradients(found: Evaluation, prepared: Sequence[Tensor]) -> list[Tensor]:
    made = [torch.zeros_like(value) for value in prepared]
    for number, packed in found.derivative.inputs.items():
        if number[0] == "v":
            total = found.packed(packed, found.graph.sizes[number]).sum(0)
            made[int(number[1:])] += torch.from_numpy(total).view_as(made[int(number[1:])])
    for m, results in zip(found.graph.matmuls, found.derivative.results, strict=True):
        whole = torch.from_numpy(found.packed(m.operand, m.K).T @ found.packed(results, m.N))
        parts = whole.split([prepared[each].shape[1] for each in m.weights], 1)
        for each, part in zip(m.weights, parts, strict=True):
            made[each] += part
    return made


def _agree(ours: Any, theirs: Tensor, what: str) -> None:
    ours = torch.as_tensor(ours)
    if theirs.isnan().any():
        raise Untraceable(f"step cannot be checked: {what} is NaN for random numbers")
    scale = max(1.0, float(theirs.detach().abs().max())) if theirs.numel() else 1.0
    if not (ours - theirs.detach()).abs().le(CLOSE * scale).all():
        raise Untraceable(f"the graph of step does not compute what step does: {what} differs")
