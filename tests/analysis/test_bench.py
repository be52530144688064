"""The bench: turns of the contenders, medians, every row, peak memory and growth."""

import sys
from collections.abc import Iterator

import pytest
import torch

from rnncli.analysis import bench, bench_cells, bench_costs
from rnncli.analysis.bench import Measured, Row, find_rows, measure
from rnncli.errors import UsageError

SMALL = bench_cells.Shape(3, 2, 4, 4)


def test_contenders_take_turns_and_medians_count(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    clock: Iterator[float] = iter(float(number**2) for number in range(1000))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(clock))
    row = Row("a", "s", {"ours": lambda: lambda: order.append("ours"), "rival": lambda: lambda: order.append("rival")})
    (found,) = measure([row], rounds=3)
    assert order[-12:] == ["ours", "ours", "rival", "rival"] * 3
    # the clock shows squares, so that the n-th timing takes 4 n + 1 seconds; the first two set the repeats
    assert found.milliseconds == {"ours": 17_000.0, "rival": 21_000.0}
    assert found.ratio == 21 / 17


def test_one_thread_rows_run_on_one_thread_and_restore_the_rest() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen: list[int] = []
        step = {"ours": lambda: lambda: seen.append(torch.get_num_threads())}
        list(measure([Row("a", "s", step, one_thread=True), Row("b", "s", step)], rounds=1))
        assert (seen[0], seen[-1], torch.get_num_threads()) == (1, 2, 2)
    finally:
        torch.set_num_threads(before)


def test_rows_are_found_by_parts_of_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_cells, "has_bfloat16", lambda: False)
    assert {row.name for row in find_rows("gru")} == {"gru:reset-before"}
    assert len(find_rows("lstm", "B20")) == 4
    monkeypatch.setattr(bench_cells, "has_bfloat16", lambda: True)
    assert {row.name for row in find_rows("gru")} == {"gru:reset-before", "gru:reset-before, bfloat16"}
    assert len(find_rows("lstm", "B20")) == 8
    with pytest.raises(UsageError, match="no row has --cell flute and --shape"):
        find_rows("flute")


KINDS = [
    each if each == "elman" else pytest.param(each, marks=pytest.mark.slow) for each in (*bench_cells.KINDS, "rated")
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*bench_cells.KINDS, "rated"])
def test_every_contender_of_a_cell_runs(kind: str) -> None:
    bench_cells.of_cell(kind, SMALL)()
    if kind != "rated":
        bench_cells.of_layer(bench_cells.RIVALS[kind.partition(":")[0]], SMALL)()


@pytest.mark.parametrize("kind", KINDS)
def test_every_compiled_cell_runs(kind: str) -> None:
    bench_cells.of_compiled(kind, SMALL)()


@pytest.mark.parametrize("kind", bench_cells.KINDS)
def test_jax_computes_the_same_equations(kind: str) -> None:
    pytest.importorskip("jax", reason="waits for JAX, which only the bench uses")
    bench_cells.of_jax(kind, SMALL)()


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is measured on Linux only")
def test_costs_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_costs, "STEPS", (2, 4))
    monkeypatch.setattr(bench_costs, "BATCHES", (1, 2))
    monkeypatch.setattr(bench_costs, "SHAPES", (bench_cells.Shape(40, 64, 128, 128),))
    monkeypatch.setattr(bench, "LONG_ENOUGH", 0.0)
    by_T, by_B = bench_costs.growth("elman", 4, rounds=1)
    assert [size for size, _ in by_T] == [2, 4]
    assert [size for size, _ in by_B] == [1, 2]
    ((_, ours, less, theirs),) = bench_costs.memory("lstm:none")
    min_bytes = 40 * 64 * 128 * 4 * 5  # bytes of the gates and of h, at least
    assert ours > min_bytes
    assert theirs > min_bytes
    assert less < ours


def test_the_ratio_is_to_the_first_rival() -> None:
    row = Row("a", "s", {})
    assert Measured(row, {"ours": 2.0, "torch": 3.0, "other": 9.0}).ratio == 1.5


def test_our_time_is_also_shown_over_the_floor() -> None:
    row = Row("a", "s", {})
    assert Measured(row, {"ours": 3.0, "torch": 6.0, "floor": 2.0}).over_floor == 1.5
    assert Measured(row, {"ours": 3.0, "torch": 6.0}).over_floor is None


def test_contender_that_has_nothing_to_time_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "LONG_ENOUGH", 0.0)
    row = Row("a", "s", {"ours": lambda: lambda: None, "rival": lambda: lambda: None, "floor": lambda: None})
    (found,) = measure([row], rounds=1)
    assert found.milliseconds.keys() == {"ours", "rival"}
