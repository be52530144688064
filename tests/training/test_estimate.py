"""The estimate of a training: compilation does not count, and it is announced once."""

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from support.experiments import make_trainer

from rnncli.kernels import compiling, fused
from rnncli.training import estimate
from rnncli.training.estimate import seconds_a_step


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (estimate, compiling):
        monkeypatch.setattr(module, "time", clock)
    return clock


def slowed(trainer: Any, clock: Clock, seconds: list[float], *, compiles: bool) -> Any:
    """Build a trainer whose loss takes these seconds in its first calls, compiling or not, and then none."""
    loss, calls = trainer.experiment.loss, iter(seconds)

    def slow_loss(*arguments: Any) -> Any:
        if compiles:
            estimate.COMPILATION.begin()
        clock.now += next(calls, 0.0)
        if compiles:
            estimate.COMPILATION.end()
        return loss(*arguments)

    trainer.experiment = replace(trainer.experiment, loss=slow_loss)
    return trainer


def test_compilation_is_not_step_time(clock: Clock) -> None:
    assert seconds_a_step(slowed(make_trainer(), clock, [0.1] * 5, compiles=True)) == pytest.approx(0, abs=1e-9)


def test_warm_up_is_not_step_time_but_slow_steps_are(clock: Clock) -> None:
    assert seconds_a_step(slowed(make_trainer(), clock, [0.2, 0.2], compiles=False)) == 0
    assert seconds_a_step(slowed(make_trainer(), clock, [0.02] * 9, compiles=False)) == pytest.approx(0.02)


def test_nested_compilations_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 13.0, 20.0, 21.0])
    monkeypatch.setattr(compiling.time, "perf_counter", lambda: next(now))
    compilation, told = compiling.Compilation(), []
    compilation.announce = lambda: told.append("compiling")
    for depth in (2, 1):
        for _ in range(depth):
            compilation.begin()
        for _ in range(depth):
            compilation.end()
    assert (told, compilation.seconds) == (["compiling"], 4.0)


def test_loading_a_compiler_is_not_step_time_and_is_not_announced(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_check() -> None:
        clock.now += 3.0

    monkeypatch.setitem(sys.modules, "rnncli.kernels.engine.arithmetic", SimpleNamespace(check=slow_check))
    monkeypatch.setattr(estimate.COMPILATION, "announce", pytest.fail)
    before = estimate.COMPILATION.seconds
    assert fused.trouble.__wrapped__() == ""
    assert estimate.COMPILATION.seconds == before + 3.0


def test_numba_reports_compilation() -> None:
    import numpy as np

    njit = pytest.importorskip("numba", reason="waits for numba", exc_type=ImportError).njit

    from rnncli.kernels.engine import arithmetic

    before = estimate.COMPILATION.seconds
    arithmetic.exponentials(np.zeros(3))  # compiled or found in the cache; here it registers its listener
    found = estimate.COMPILATION.seconds
    assert njit(lambda x: x + 1)(1) == 2
    assert estimate.COMPILATION.seconds > found >= before
