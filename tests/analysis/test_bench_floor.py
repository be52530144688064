"""The floor of the bench: the matmuls of a cell, all of them and nothing else."""

from collections.abc import Iterator
from functools import partial
from math import prod

import numpy as np
import pytest
import torch

from rnncli.analysis import bench_floor
from rnncli.analysis.bench import Step
from rnncli.analysis.bench_floor import Group, LayerMatmuls, fastest, floor, linear_groups, matmuls_of

pytest.importorskip("numba", reason="waits for numba, which the engine's trace needs")

D, M = 5, 8

EXPECTED = {
    "elman": LayerMatmuls((D, M), [(M, M)]),
    "gru:reset-before": LayerMatmuls((D, 3 * M), [(M, 2 * M), (M, M)]),
    "lstm:none": LayerMatmuls((D, 4 * M), [(M, 4 * M)]),
    "lstm:full": LayerMatmuls((D, 4 * M), [(M, 4 * M), (M, 3 * M)]),
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_matmuls_of_a_cell_are_those_of_its_equations(kind: str) -> None:
    assert matmuls_of(kind, D, M) == EXPECTED[kind]


def test_cell_that_cannot_be_traced_has_no_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_floor, "fused_form", lambda cell: "it asks for values")
    assert matmuls_of("elman", D, M) is None
    assert bench_floor.of_layer_matmuls("elman", (3, 2, D, M)) is None


def test_no_row_has_a_floor_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    assert floor(bench_floor.of_layer_matmuls, "elman", (3, 2, D, M)).keys() == {"floor"}
    monkeypatch.setattr(bench_floor, "trouble", lambda: "no numba")
    assert floor(bench_floor.of_layer_matmuls, "elman", (3, 2, D, M)) == {}


def test_backward_pass_multiplies_twice_as_much_as_the_forward_pass() -> None:
    T, B = 3, 2
    forward = T * B * (D * 4 * M + M * 4 * M + M * 3 * M)
    groups = EXPECTED["lstm:full"].groups(T, B)
    assert sum(source.numel() * weight.shape[1] for group in groups for source, weight in group) == 3 * forward


def test_linear_layer_has_three_matmuls_of_equal_work() -> None:
    shapes = [(*source.shape, weight.shape[1]) for ((source, weight),) in linear_groups(6, D, M)]
    assert shapes == [(1, 6, D, M), (1, 6, M, D), (1, M, 6, D)]
    assert len({prod(shape) for shape in shapes}) == 1


def test_each_group_runs_the_fastest_way(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def ways(group: Group, precision: str) -> Iterator[Step]:
        for name in ("slow", "quick", "slower"):
            yield partial(ran.append, f"{precision} {len(group)} {name}")

    seconds = iter((2.0, 1.0, 3.0, 1.0, 2.0, 3.0))
    monkeypatch.setattr(bench_floor, "_ways", ways)
    monkeypatch.setattr(bench_floor, "_shortest", lambda step: next(seconds))
    pair = (torch.ones(1, 2, 3), torch.ones(3, 4))
    fastest([[pair], [pair, pair]], "bfloat16")()
    assert ran == ["bfloat16 1 quick", "bfloat16 2 slow"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_way_runs(precision: str) -> None:
    repeated = [(torch.ones(3, 2, D), torch.ones(D, M)), (torch.ones(3, 2, M), torch.ones(M, M))]
    ways = list(bench_floor._ways(repeated, precision))
    assert len(ways) == {"float32": 4, "bfloat16": 5}[precision]
    for way in ways:
        way()


def test_compiled_steps_multiply() -> None:
    from rnncli.analysis.compiled_matmuls import multiply_steps

    generator = np.random.default_rng(0)
    sources, weight = generator.standard_normal((3, 2, D)), generator.standard_normal((D, M))
    found = np.empty((3, 2, M))
    multiply_steps(sources, weight, found)
    np.testing.assert_allclose(found, sources @ weight)
