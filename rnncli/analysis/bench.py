"""Ours and its rivals timed side by side, in turns; `SOURCES` is where a module with more rows is registered."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from rnncli.errors import UsageError
from rnncli.kernels.matmul import fast_matmul
from rnncli.kernels.precision import has_bfloat16

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
    return f"{_processor()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads, {versions}"


def _processor() -> str:
    """The processor's name, with family and model, for some go by the same name; its kind where nothing tells more."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    if "model name" not in told:
        return platform.machine()
    return f"{told['model name']} (family {told.get('cpu family')}, model {told.get('model')})"


def product_rates() -> dict[str, float]:
    """10^9 operations a second of a product that is large enough for any library, (700, 650) by (650, 2600).

    A multiplication and its addition are two; `bfloat16` is there where the processor has instructions for it.
    """
    a, b = torch.randn(700, 650), torch.randn(650, 2600)

    def fast() -> Tensor:
        with fast_matmul("float32"):
            return torch.mm(a, b)

    ways: dict[str, Contender] = {"float32, torch's choice": lambda: lambda: torch.mm(a, b), "float32": lambda: fast}
    if has_bfloat16():
        c, d = a.bfloat16(), b.bfloat16()
        ways["bfloat16"] = lambda: lambda: torch.mm(c, d)
    operations = 2 * a.shape[0] * b.numel()
    return {name: operations / found / 1e6 for name, found in _medians(ways, 5).items()}
