"""Ours and its rivals timed side by side, in turns; `SOURCES` is where a module with more rows is registered."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module

import torch

from rnncli.errors import UsageError

Step = Callable[[], object]
"""What is timed: one training step, one generated token, …"""

Contender = Callable[[], Step]
"""Prepares a step: weights and inputs are made here, untimed."""

SOURCES = ("rnncli.analysis.bench_cells", "rnncli.analysis.bench_words")
"""Modules with `rows() -> Iterable[Row]`, in the order of the table."""

LONG_ENOUGH = 0.02
"""Seconds; shorter steps are repeated until one timing takes so long."""


@dataclass(frozen=True)
class Row:
    """One row of the table: what is measured, in which shape, and who takes part.

    The first contender is ours; `wanted` is how many times faster it shall be than the second. A row that is all calls
    runs on one `thread`, as training does.
    """

    name: str  # of the cell or the work, for --cell
    shape: str  # for --shape
    contenders: Mapping[str, Contender]
    wanted: float | None = None
    one_thread: bool = False


@dataclass(frozen=True)
class Measured:
    """Medians of a row, in milliseconds a step, by contender."""

    row: Row
    milliseconds: Mapping[str, float]

    @property
    def ratio(self) -> float:
        """The first rival's time over ours."""
        ours, rival, *_ = self.milliseconds.values()
        return rival / ours


def find_rows(name: str | None = None, shape: str | None = None) -> list[Row]:
    """The rows whose names and shapes contain what was asked for; raises UsageError where there is none."""
    everything = [row for source in SOURCES for row in import_module(source).rows()]
    found = [row for row in everything if (name or "") in row.name and (shape or "") in row.shape]
    if not found:
        known = "; ".join(f"{row.name} {row.shape}" for row in everything)
        raise UsageError(f"no row has --cell {name or '(any)'} and --shape {shape or '(any)'}: there are {known}")
    return found


def measure(rows: Iterable[Row], rounds: int) -> Iterator[Measured]:
    """Time each row, all its contenders in turns, `rounds` times."""
    for row in rows:
        with _threads(1 if row.one_thread else None):
            yield Measured(row, _medians(row.contenders, rounds))


def _medians(contenders: Mapping[str, Contender], rounds: int) -> dict[str, float]:
    steps = {name: prepare() for name, prepare in contenders.items()}
    for step in steps.values():
        step()  # compiles, packs, fills caches
    repeats = {name: max(1, round(LONG_ENOUGH / _seconds(step, 2))) for name, step in steps.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            step()  # so that nobody starts on the caches, and beside the idling threads, of the one before
            seconds[name].append(_seconds(step, repeats[name]))
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}


def _seconds(step: Step, repeats: int) -> float:
    began = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - began) / repeats


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """While inside, torch has so many threads; None leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def machine() -> str:
    """What the figures were made on, in one line."""
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{platform.machine()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads, {versions}"
