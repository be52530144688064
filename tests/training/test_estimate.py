"""The estimate of a training: what kernels take to compile does not count, and the text says what bounds it."""

import time
from dataclasses import replace
from typing import Any

import pytest
from support.experiments import make_trainer

from rnncli.kernels import compiling
from rnncli.training import estimate
from rnncli.training.estimate import seconds_a_step


def slowed(trainer: Any, seconds: list[float], *, compiles: bool) -> Any:
    """A trainer whose loss takes so long at each of its first calls, by compiling or otherwise."""
    loss, calls = trainer.experiment.loss, iter(seconds)

    def slow_loss(*arguments: Any) -> Any:
        if compiles:
            estimate.COMPILATION.begin()
        time.sleep(next(calls, 0.0))
        if compiles:
            estimate.COMPILATION.end()
        return loss(*arguments)

    trainer.experiment = replace(trainer.experiment, loss=slow_loss)
    return trainer


def test_compilation_is_no_step_time() -> None:
    assert seconds_a_step(slowed(make_trainer(), [0.1] * 5, compiles=True)) < 0.05


def test_warming_up_is_no_step_time_and_slow_steps_are() -> None:
    assert seconds_a_step(slowed(make_trainer(), [0.2, 0.2], compiles=False)) < 0.05
    assert seconds_a_step(slowed(make_trainer(), [0.02] * 9, compiles=False)) > 0.02


def test_compilations_inside_of_one_are_counted_and_announced_once(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_numba_tells_when_it_compiles() -> None:
    import numpy as np

    njit = pytest.importorskip("numba", reason="waits for numba", exc_type=ImportError).njit

    from rnncli.kernels.fused import arithmetic

    before = estimate.COMPILATION.seconds
    arithmetic.sigmoid(np.zeros(3))  # compiled or found in the cache; here it registers its listener
    found = estimate.COMPILATION.seconds
    assert njit(lambda x: x + 1)(1) == 2
    assert estimate.COMPILATION.seconds > found >= before
