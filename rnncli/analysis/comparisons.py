"""Comparisons of cells on one task: their runs, the quantity that is matched, and their results."""

import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from rnncli.analysis.curves import ACROSS
from rnncli.cells import CLASSIC, label_of
from rnncli.data.corpora import from_stdin
from rnncli.errors import RnnError, UsageError
from rnncli.files import check_name
from rnncli.home import checkpoints_dir
from rnncli.presets import resolve
from rnncli.restoring import check_header
from rnncli.settings import check_limits, from_plain
from rnncli.task import Task
from rnncli.training.monitoring import less_is_better, shown_metric
from rnncli.training.runs import Run, Summary, all_runs
from rnncli.training.settings import RecurrentSettings

MATCHES = ("hidden", "params", "time")
"""What all nets share: their sizes, the number of parameters of the first cell's net, or its training time."""

MAX_HEADS = 64
"""The most heads of a cell, which divide its units."""


class Member(NamedTuple):
    """A run of a comparison: its settings and its folder."""

    settings: RecurrentSettings
    run: Run

    @property
    def finished(self) -> bool:
        """Whether its training has finished."""
        summary = self.run.summary
        return summary is not None and bool(summary.finished)

    def begun(self) -> bool:
        """Whether it is on disk; raises UsageError if the run on disk has other settings."""
        if self.run not in all_runs(self.run.task):
            return False
        before = self.run.read(lambda header: from_plain(type(self.settings), header["config"]))
        if before is None:
            raise UsageError(f"run {self.run.name} is damaged: `rnn runs delete {self.run.name}`, and compare again")
        for field in fields(self.settings):
            theirs, ours = getattr(before, field.name), getattr(self.settings, field.name)
            if theirs != ours:
                flag = "--" + field.name.replace("_", "-")
                raise UsageError(
                    f"run {self.run.name} of {self.run.task} was trained with {flag} {theirs}, not {ours}: "
                    "give the comparison another --name, or delete that run"
                )
        return True


def nets_of(
    task: Task, flags: Mapping[str, Any], cells: Sequence[str | type], preset: str | None, file: Path | None
) -> list[RecurrentSettings]:
    """The settings of each cell; without cells, those of the model to start from, or else of the four classic ones.

    Raises as `resolve`.
    """
    if not cells:
        settings = resolve(task, flags, preset, file)
        if getattr(settings, "init_from", None):
            return [settings]
    return [resolve(task, {**flags, "cell": each}, preset, file) for each in cells or CLASSIC]


@dataclass(frozen=True)
class Comparison:
    """The same task, data, order and budget for each cell, each size and each seed."""

    task: Task
    name: str
    nets: Sequence[RecurrentSettings]  # of each cell; where a default does not suit a cell, they differ; the first seed
    sizes: Sequence[str]  # as `RecurrentSettings.hidden`
    seeds: int
    match: str = "hidden"

    @property
    def settings(self) -> RecurrentSettings:
        """The settings of the first cell."""
        return self.nets[0]

    @property
    def cells(self) -> list[str]:
        """The cells, the one that others match first."""
        return [each.cell for each in self.nets]

    def check(self) -> None:
        """Raise UsageError for invalid settings before any training."""
        from rnncli.models.outline import outline
        from rnncli.models.stack import Stack

        check_name(self.name)
        if self.seeds < 1:
            raise UsageError(f"--seeds must be at least 1, not {self.seeds}")
        if self.match not in MATCHES:
            raise UsageError(f"--match must be one of {', '.join(MATCHES)}, not {self.match!r}")
        if self.settings.label != label_of(self.settings.cell):
            raise UsageError(f"a net of kind {self.settings.label} has no cell to compare")
        if any(map(from_stdin, getattr(self.settings, "corpus", ()))):
            raise UsageError("--corpus -: standard input serves only one run; name a file")
        check_limits(replace(self.settings, seed=self.settings.seed + self.seeds - 1))
        kinds: list[tuple[type, str]] = []
        for each in self.nets:
            smallest = replace(each, hidden=str(smallest_size(each.cell)))
            net: Any = Stack(1, smallest.shape, self.settings.backend)
            kind = type(net.cells[0]), net.cells[0].variant
            if kind in kinds:
                raise UsageError(f"--cell {','.join(self.cells)} compares {net.cells[0].kind} with itself")
            kinds.append(kind)
        for size in self.sizes:
            for each in self.nets[:1] if self.match == "params" else self.nets:
                shape = replace(each, hidden=size).shape
                outline(partial(Stack, 1, shape, "reference"), sys.maxsize)  # refuses sizes that heads do not divide
            for each in self.nets if getattr(self.settings, "init_from", None) else ():
                self.task.resolved(replace(each, hidden=size))  # refuses another cell or size than that model's
        known = self if self.match == "hidden" else replace(self, nets=self.nets[:1])  # the others depend on these
        for member in known.members():
            member.begun()

    def members(self) -> Iterator[Member]:
        """Every run, the first cell's first; with `match`, they must be trained in this order."""
        known = set()
        for net in self.nets:
            for size in self.sizes:
                hidden = self._matched_size(net, size)
                if (net.cell, hidden) not in known:  # two sizes may give the same net
                    known.add((net.cell, hidden))
                    yield from (self._member(net, size, hidden, seed) for seed in self._numbers)

    @property
    def _numbers(self) -> range:
        return range(self.settings.seed, self.settings.seed + self.seeds)

    def _member(self, net: RecurrentSettings, size: str, hidden: str, seed: int) -> Member:
        settings = replace(net, hidden=hidden, seed=seed)
        if self.match == "time" and net.cell != self.settings.cell:
            seconds = self._first(size, seed).read(lambda header: float(header["progress"]["seconds"]))
            settings = replace(settings, epochs=0, max_time=_known(seconds))
        return Member(self.task.resolved(settings), self._run(net.cell, hidden, seed))

    def _run(self, cell: str, hidden: str, seed: int) -> Run:
        net = f"{self._called(cell).replace(':', '-')}-{hidden.replace(',', '+')}"
        return Run(checkpoints_dir() / self.task.name / f"{self.name}-{net}-{seed}")

    def _called(self, cell: str) -> str:
        """The name of a cell in those of its runs: further classes of the same name get a number."""
        label = label_of(cell)
        number = [each for each in self.cells if label_of(each) == label].index(cell) + 1
        return label if number == 1 else f"{label}.{number}"

    def _first(self, size: str, seed: int) -> Run:
        """The run of the first cell that the others match."""
        return self._run(self.settings.cell, size, seed)

    def _matched_size(self, net: RecurrentSettings, size: str) -> str:
        """The sizes of another cell's layers, in the same proportions, with the nearest number of parameters."""
        if self.match != "params" or net.cell == self.settings.cell:
            return size
        payload = _known(_sound_header(self.task, self._first(size, self.settings.seed)))["payload"]
        layers, unit = replace(net, hidden=size).sizes, smallest_size(net.cell)

        def stretched(first: int) -> str:
            return ",".join(str(unit * max(1, round(each * first / layers[0]))) for each in layers)

        def count(first: int) -> int:
            return count_parameters(self.task, replace(net, hidden=stretched(first)), payload)

        wanted = count_parameters(self.task, replace(self.settings, hidden=size), payload)
        return stretched(nearest(cache(count), wanted))


def smallest_size(cell: str) -> int:
    """The least number of units of a cell; it takes all multiples, such as those of its heads."""
    from rnncli.cells import make_cell

    for size in range(1, MAX_HEADS):
        with suppress(UsageError):
            make_cell(cell, 1, size)
            return size
    make_cell(cell, 1, MAX_HEADS)  # raises what is wrong, if it is not the size
    return MAX_HEADS


def _known(value: Any) -> Any:
    if value is None:
        raise RnnError("the run that others match cannot be read: compare again")
    return value


def nearest(count: Callable[[int], int], wanted: int) -> int:
    """The size, from 1, whose count is nearest to `wanted`, the smaller of two; counts must grow with sizes."""
    low, high = 0, 1  # count(low) < wanted <= count(high)
    while count(high) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < wanted else (low, middle)
    return min((size for size in (low, high) if size), key=lambda size: abs(count(size) - wanted))


def count_parameters(task: Task, settings: RecurrentSettings, payload: Mapping[str, Any]) -> int:
    """The number of trainable parameters of a net with these settings."""
    model = task.build_model(replace(settings, backend="auto"), payload)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


class Point(NamedTuple):
    """A validation: its step, time and metric."""

    step: int
    seconds: float
    value: float


@dataclass(frozen=True)
class Outcome:
    """The result of a run."""

    run: str
    corpus: str
    fingerprint: str | None  # of the training text, if it is a text
    cell: str
    hidden: str
    seed: int
    parameters: int
    metric: str
    best: float | None  # None if no validation gave a number
    steps: int
    seconds: float  # of training, validations included
    tokens_a_second: float | None  # of training steps only; None for old runs
    restarts: int
    finished: str  # why it ended; empty for a run that failed
    curve: list[Point]

    def first(self, target: float) -> Point | None:
        """The first validation that was as good as the target."""
        return next((point for point in self.curve if reaches(self.metric, point.value, target)), None)


def reaches(metric: str, value: float, target: float) -> bool:
    """Whether a metric is as good as a target."""
    return value <= target if less_is_better(metric) else value >= target


def _sound_header(task: Task, run: Run) -> dict[str, Any] | None:
    """The newest valid header of a run, with its summary; None if there is none."""

    def checked(header: Mapping[str, Any]) -> dict[str, Any]:
        check_header(task.Config, task.keeps, header, run.folder)
        return {"summary": Summary.of(header), **header}

    return run.read(checked)


def outcome(task: Task, member: Member) -> Outcome:
    """Read the result of a run from its newest valid header; raises RnnError if there is none."""
    header = _sound_header(task, member.run)
    if header is None:
        raise RnnError(f"run {member.run.name} is damaged: `rnn runs delete {member.run.name}`, and compare again")
    summary, progress, settings = header["summary"], header["progress"], member.settings
    records: list[dict[str, Any]] = progress["history"]
    metric = shown_metric(header["monitor"], records[-1] if records else {})
    stepping = progress.get("stepping")
    return Outcome(
        run=member.run.name,
        corpus=header["payload"]["corpus"],
        fingerprint=header["payload"].get("fingerprint"),
        cell=settings.cell,
        hidden=settings.hidden,
        seed=settings.seed,
        parameters=count_parameters(task, settings, header["payload"]),
        metric=metric,
        best=summary.best,
        steps=summary.steps,
        seconds=round(progress["seconds"], 3),
        tokens_a_second=progress["predictions"] / stepping if stepping else None,
        restarts=progress["restarts"],
        finished=summary.finished,
        curve=[
            Point(record["step"], record["seconds"], record[metric])
            for record in records
            if record.get(metric) is not None
        ],
    )


class Row(NamedTuple):
    """A net of a comparison: means over its finished runs; None without numbers."""

    cell: str
    hidden: str
    parameters: int
    ended: dict[str, int]  # number of runs by the reason why they ended
    mean: float | None
    spread: float | None  # sample standard deviation; None for one run
    steps: float | None
    tokens_a_second: float | None
    seconds: float | None
    reached: int  # runs that reached the target; the next two are medians over them
    steps_to_target: float | None
    seconds_to_target: float | None


def check_alike(outcomes: Sequence[Outcome]) -> None:
    """Raise UsageError if the text changed between two runs."""
    first = outcomes[0]
    for each in outcomes:
        if each.fingerprint != first.fingerprint:
            raise UsageError(
                f"runs {first.run} and {each.run} were trained on different texts: give the comparison another --name"
            )


def default_target(outcomes: Sequence[Outcome]) -> float | None:
    """The best value of the weakest run, which all runs reach; None without numbers."""
    found = [each.best for each in outcomes if each.best is not None and each.finished]
    if not found:
        return None
    return max(found) if less_is_better(outcomes[0].metric) else min(found)


def rows(outcomes: Sequence[Outcome], target: float | None) -> list[Row]:
    """One row per net, in the order of the runs."""
    nets: dict[tuple[str, str], list[Outcome]] = {}
    for each in outcomes:
        nets.setdefault((each.cell, each.hidden), []).append(each)
    return [_row([each for each in net if each.finished], net[0], target) for net in nets.values()]


def _row(ended: Sequence[Outcome], net: Outcome, target: float | None) -> Row:
    found = [each.best for each in ended if each.best is not None]
    speeds = [each.tokens_a_second for each in ended if each.tokens_a_second is not None]
    firsts = [point for each in ended if target is not None and (point := each.first(target))]
    return Row(
        cell=net.cell,
        hidden=net.hidden,
        parameters=net.parameters,
        ended=dict(Counter(each.finished for each in ended)),
        mean=_mean(found),
        spread=statistics.stdev(found) if len(found) > 1 else None,
        steps=_mean([each.steps for each in ended]),
        tokens_a_second=_mean(speeds),
        seconds=_mean([each.seconds for each in ended]),
        reached=len(firsts),
        steps_to_target=statistics.median(point.step for point in firsts) if firsts else None,
        seconds_to_target=statistics.median(point.seconds for point in firsts) if firsts else None,
    )


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


class Band(NamedTuple):
    """The metric of a net during training: mean, minimum and maximum over its runs."""

    cell: str
    hidden: str
    at: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def bands(outcomes: Sequence[Outcome], across: str) -> list[Band]:
    """One band per net over `steps` or `seconds`; runs are interpolated linearly and extended with their last value."""
    import numpy as np

    nets: dict[tuple[str, str], list[list[Point]]] = {}
    for each in outcomes:
        if each.curve:
            nets.setdefault((each.cell, each.hidden), []).append(each.curve)
    found = []
    for net, curves in nets.items():
        places = [[float(getattr(point, ACROSS[across])) for point in curve] for curve in curves]
        begin = max(place[0] for place in places)
        at = sorted({each for place in places for each in place if each >= begin})
        values = np.array(
            [np.interp(at, place, [p.value for p in curve]) for place, curve in zip(places, curves, strict=True)]
        )
        found.append(Band(*net, at, values.mean(0).tolist(), values.min(0).tolist(), values.max(0).tolist()))
    return found
