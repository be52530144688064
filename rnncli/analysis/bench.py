"""Time our code and its rivals in turns; `SOURCES` registers modules with more rows."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
"""The timed work: one training step, one generated token, …"""

Contender = Callable[[], Step | None]
"""Prepares a step: weights and inputs are made here, untimed; None where there is nothing to time."""

FLOOR = "floor"
"""The contender that computes only the matmuls of a row."""

SOURCES = ("rnncli.analysis.bench_cells", "rnncli.analysis.bench_words")
"""Modules with `rows() -> Iterable[Row]`, in the order of the table."""

LONG_ENOUGH = 0.02
"""Seconds per timing, at least: shorter steps are repeated."""


@dataclass(frozen=True)
class Row:
    """One row of the table: the work, its shape, and the contenders.

    The first contender is ours. Rows of tiny calls run on one thread (`one_thread`), as training does.
    """

    name: str  # of the cell or the work, for --cell
    shape: str  # for --shape
    contenders: Mapping[str, Contender]
    one_thread: bool = False


@dataclass(frozen=True)
class Measured:
    """Medians of a row, in milliseconds per step, by contender."""

    row: Row
    milliseconds: Mapping[str, float]

    @property
    def ratio(self) -> float:
        """The first rival's time over ours."""
        ours, rival, *_ = self.milliseconds.values()
        return rival / ours

    @property
    def over_floor(self) -> float | None:
        """Our time over that of the matmuls, where the row has them."""
        ours, *_ = self.milliseconds.values()
        return ours / self.milliseconds[FLOOR] if FLOOR in self.milliseconds else None


def find_rows(name: str | None = None, shape: str | None = None, own: Sequence[Row] = ()) -> list[Row]:
    """The rows whose names and shapes contain `name` and `shape`, among `own` ones or those of all sources.

    Raises UsageError if there is none.
    """
    everything = own or [row for source in SOURCES for row in import_module(source).rows()]
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
    prepared = {name: prepare() for name, prepare in contenders.items()}
    steps = {name: step for name, step in prepared.items() if step}
    for step in steps.values():
        step()  # compiles, packs, fills caches
    repeats = {name: max(1, round(LONG_ENOUGH / _seconds(step, 2))) for name, step in steps.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            step()  # no contender starts with the caches and idle threads of the previous one
            seconds[name].append(_seconds(step, repeats[name]))
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}


def _seconds(step: Step, repeats: int) -> float:
    began = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - began) / repeats


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Run with `count` threads of torch; None leaves their number unchanged."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def machine() -> str:
    """Describe the machine of the figures in one line."""
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{_processor()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads, {versions}"


def _processor() -> str:
    """The processor's name with family and model, since names are ambiguous; else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    if "model name" not in facts:
        return platform.machine()
    return f"{facts['model name']} (family {facts.get('cpu family')}, model {facts.get('model')})"


MATMUL = (700, 650, 2600)
"""M, K and N of the matmul whose rate is measured."""


def matmul_rates() -> dict[str, float]:
    """10^9 operations per second of a large matmul, (M, K) by (K, N).

    A multiplication with its addition counts as two; `bfloat16` is included if the processor has instructions for it.
    """
    M, K, N = MATMUL
    a, b = torch.randn(M, K), torch.randn(K, N)

    def fast() -> Tensor:
        with fast_matmul("float32"):
            return torch.mm(a, b)

    ways: dict[str, Contender] = {"float32, torch's choice": lambda: lambda: torch.mm(a, b), "float32": lambda: fast}
    if has_bfloat16():
        c, d = a.bfloat16(), b.bfloat16()
        ways["bfloat16"] = lambda: lambda: torch.mm(c, d)
    operations = 2 * a.shape[0] * b.numel()
    return {name: operations / found / 1e6 for name, found in _medians(ways, 5).items()}
