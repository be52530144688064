"""The floor of a row: its matmuls and nothing else, by the fastest library of this machine.

Shapes: T steps, B batch, D input, M hidden, P projected features, K and N rows and columns of a weight.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnncli.analysis.bench import FLOOR, Contender, Step
from rnncli.cells import make_cell
from rnncli.kernels.fused import fused_form, trouble
from rnncli.kernels.matmul import MIN_REPEATS_CONTIGUOUS, fast_matmul, repeated_matmul, switched

Pair = tuple[Tensor, Tensor]
"""The operands of T matmuls: sources (T, B, K), and a weight (K, N) of all of them."""

Group = Sequence[Pair]
"""The matmuls of a loop over T steps, in the order of a step; a matmul of all steps at once has T = 1."""

TRIALS = 3
"""Timings of a group by each library; the shortest counts."""


class LayerMatmuls(NamedTuple):
    """The weights (K, N) that a layer multiplies by."""

    projection: tuple[int, int] | None  # of the inputs of all steps, where that is one matmul
    steps: list[tuple[int, int]]  # of each step

    def groups(self, T: int, B: int) -> Iterator[Group]:
        """The matmuls of a forward and a backward pass; a cell whose projection is not a matmul has none for it."""
        sources = [torch.randn(T, B, K) for K, _ in self.steps]
        gradients = [torch.randn(T, B, N) for _, N in self.steps]
        weights = [torch.randn(N, K) for K, N in self.steps]
        yield [(source, weight.t()) for source, weight in zip(sources, weights, strict=True)]
        yield list(zip(gradients, weights, strict=True))[::-1]
        for d, source in zip(gradients, sources, strict=True):
            yield [_weight_gradient(d.flatten(0, 1), source.flatten(0, 1))]
        if self.projection:
            yield from linear_groups(T * B, *self.projection)


def linear_groups(count: int, K: int, N: int) -> Iterator[Group]:
    """The matmuls of a linear layer with `count` inputs, forward and backward."""
    x, d, weight = torch.randn(count, K), torch.randn(count, N), torch.randn(N, K)
    yield [(x[None], weight.t())]
    yield [(d[None], weight)]
    yield [_weight_gradient(d, x)]


def _weight_gradient(d: Tensor, x: Tensor) -> Pair:
    return d.t()[None], x


def matmuls_of(kind: str, D: int, M: int) -> LayerMatmuls | None:
    """The matmuls of a cell's trace; None for a cell that the engine cannot trace."""
    form = fused_form(make_cell(kind, D, M))
    if isinstance(form, str):
        return None
    traced: Any = form.traced
    plan = traced.plan
    steps = [(plan.graph.matmuls[j].K, plan.width(j)) for j in plan.run_matmuls()]
    return LayerMatmuls(traced.inputs.views[-1].shape if traced.is_linear else None, steps)


def floor(prepare: Callable[..., Step | None], *arguments: Any) -> dict[str, Contender]:
    """The contender of a row's matmuls; none without numba, since the engine's trace lists them."""
    return {} if trouble() else {FLOOR: partial(prepare, *arguments)}


def of_layer_matmuls(kind: str, shape: tuple[int, int, int, int], precision: str = "float32") -> Step | None:
    """The matmuls of a layer's forward and backward pass; None for a cell that the engine cannot trace."""
    T, B, D, M = shape
    found = matmuls_of(kind, D, M)
    return found and fastest(found.groups(T, B), precision)


def fastest(groups: Iterable[Group], precision: str = "float32") -> Step:
    """A step that computes all groups, each by the library that is fastest here; under bfloat16 also rounded."""
    chosen = [min(_ways(group, precision), key=_shortest) for group in groups]

    def step() -> None:
        for run in chosen:
            run()

    return step


def _shortest(step: Step) -> float:
    found = []
    step()
    for _ in range(TRIALS):
        began = time.perf_counter()
        step()
        found.append(time.perf_counter() - began)
    return min(found)


def _ways(group: Group, precision: str) -> Iterator[Step]:
    """The group by torch's default library, by oneDNN, by oneDNN with packed weights, and in compiled code."""
    default, fast = partial(switched, "ieee"), partial(fast_matmul, "float32")
    yield _loop(group, default, packed=False)
    yield _loop(group, fast, packed=False)
    is_repeated = len(group[0][0]) > 1
    if is_repeated:
        yield _loop(group, fast, packed=True)
    if precision == "bfloat16":
        rounded = [(source.bfloat16(), weight.bfloat16()) for source, weight in group]
        yield _loop(rounded, fast, packed=False)
        if is_repeated:
            yield _loop(rounded, fast, packed=True)
    elif all(_is_small(*pair) for pair in group):
        yield _compiled(group)


def _loop(group: Group, context: Callable[[], Any], *, packed: bool) -> Step:
    """Multiply step by step by torch; weights are packed beforehand."""
    calls = [_packed(*pair) if packed else _plain(*pair) for pair in group]
    T = len(group[0][0])

    def run() -> None:
        with context():
            for t in range(T):
                for call in calls:
                    call(t)

    return run


def _plain(source: Tensor, weight: Tensor) -> Callable[[int], object]:
    sources, out = source.unbind(0), source.new_empty(source.shape[1], weight.shape[1])
    weight = weight.contiguous() if len(source) > 1 else weight
    return lambda t: torch.mm(sources[t], weight, out=out)


def _packed(source: Tensor, weight: Tensor) -> Callable[[int], object]:
    sources, multiply = source.unbind(0), repeated_matmul(weight, source.shape[1], MIN_REPEATS_CONTIGUOUS)
    return lambda t: multiply(sources[t])


def _is_small(source: Tensor, weight: Tensor) -> bool:
    """Whether compiled code may be the fastest, as in the engine."""
    from rnncli.kernels.engine.scan import SMALL

    return source.shape[1] * weight.numel() < SMALL


def _compiled(group: Group) -> Step:
    from rnncli.analysis.compiled_matmuls import multiply_steps

    arrays = [
        (source.numpy(), weight.contiguous().numpy(), source.new_empty(*source.shape[:2], weight.shape[1]).numpy())
        for source, weight in group
    ]

    def run() -> None:
        for source, weight, out in arrays:
            multiply_steps(source, weight, out)

    return run
