"""The functions of the library, except `load`: train, compare, list runs, download corpora, and hold corpora."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, get_type_hints

import torch
from torch import nn

from rnncli.analysis.cards import card, clipped, image, lines, shown, table
from rnncli.analysis.comparisons import (
    Comparison,
    Member,
    Outcome,
    Row,
    bands,
    check_alike,
    default_target,
    nets_of,
    outcome,
    rows,
)
from rnncli.analysis.curves import read_records
from rnncli.analysis.history import Choice, History
from rnncli.analysis.plots import bands_figure
from rnncli.api import Model, Training, load
from rnncli.cells import label_of
from rnncli.data.corpora import registered
from rnncli.data.from_python import CorpusLike, corpus_specs
from rnncli.errors import Interrupted, UsageError, warn
from rnncli.kernels.compiling import COMPILATION
from rnncli.kinds import as_kind, check_kind, checked, plain_value
from rnncli.launch import LAUNCHED
from rnncli.presets import remarks_on, resolve, size_of
from rnncli.settings import canonical, did_you_mean, respelled
from rnncli.task import Task
from rnncli.tasks import named_task
from rnncli.terminal import write_message
from rnncli.training import runs as on_disk
from rnncli.training.loop import Event, NotFinite
from rnncli.training.progress import Bar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Callback: TypeAlias = Callable[[Event], object]
"""A function of each event of a training; if it returns True, the training ends: validated, saved and resumable."""

Option: TypeAlias = str | float | bool | Path | type[nn.Module] | CorpusLike | Sequence[str] | Sequence[int] | None
"""The value of any option."""


@checked
def train(
    task: str | Task,
    /,
    *,
    name: str | None = None,
    preset: str | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    callbacks: Iterable[Callback] = (),
    progress: bool = True,
    **options: Option,
) -> Model:
    """Train a model of a task, and return the best one: the one that the run's `best.safetensors` holds.

    `options` are those of `rnn train TASK`, with underscores. `corpus` also takes texts, pairs, or a data set. `name`
    names the run; with `resume` the run of that name, or the newest unfinished one, continues. `config` is a TOML file
    of options. Each of the `callbacks` receives every event; if one returns True, the training ends, and the run is
    saved and can be resumed. `progress` shows the text, the net and a bar on standard error.

    Raises UsageError for an unknown or invalid option, RnnError for a text that cannot be read or a loss that is not
    finite, and KeyboardInterrupt, after everything is saved, for Ctrl-C.
    """
    _refuse_launch("train")
    declared = _task_of(task)
    given = _plain_options(declared, options)
    if resume:
        if preset or config:
            raise UsageError("resume continues with the settings of the run: leave preset and config out")
        run = on_disk.newest_unfinished(declared.name) if name is None else on_disk.find_run(name, declared.name)
        training = Training.resume(run, given)
        remarks: list[str] = []
    else:
        settings = resolve(declared, given, preset, None if config is None else Path(config))
        training = Training.start(declared.name, settings, name)
        remarks = remarks_on(declared, settings, preset)
        if size := size_of(declared, vars(settings), preset):
            remarks += [size.describe(training.config), *filter(None, [size.note])]
    try:
        _follow(training, tuple(callbacks), remarks, shown=progress)
    except Interrupted as stop:
        again = f"rnncli.train({declared.name!r}, name={training.run.name!r}, resume=True)"
        raise _stopped(stop, f"stopped and saved at step {training.trainer.progress.step:,}: {again}") from None
    return load(training.run, declared.name, device=training.device)


def _stopped(stop: Interrupted, what: str) -> BaseException:
    """The error after a signal: Python's own for Ctrl-C."""
    text = f"{what} continues from here"
    number = stop.exit_code - 128
    return KeyboardInterrupt(text) if number == signal.SIGINT else Interrupted(text, number)


@contextmanager
def _silent(silent: bool) -> Iterator[None]:
    """Inside, do not print that kernels are compiled, if `silent`."""
    announce = COMPILATION.announce
    COMPILATION.announce = (lambda: None) if silent else announce
    try:
        yield
    finally:
        COMPILATION.announce = announce


def _follow(training: Training, callbacks: Sequence[Callback], remarks: Sequence[str] = (), *, shown: bool) -> None:
    """Run a training with callbacks, and show it on standard error; raises as `Training.train`."""
    if slow := training.slow_because:
        warn(slow)
    if shown:
        for line in (f"{training.task.name} on {training.experiment.about}", training.net, *remarks, training.begun):
            if line:
                write_message(line)
    with _silent(not shown), Bar(training.trainer, shown=shown) as bar:

        def hear(event: Event) -> bool:
            bar.listen(event)
            answers = [callback(event) is True for callback in callbacks]  # all of them hear every event
            return any(answers)

        training.train(hear, warn)


def _refuse_launch(name: str) -> None:
    if LAUNCHED in os.environ:
        raise UsageError(f"rnncli.{name} works in one process: several train by `torchrun … -m rnncli train`")


def _task_of(task: str | Task) -> Task:
    return task if isinstance(task, Task) else named_task(task)


def _plain_options(task: Task, options: Mapping[str, object]) -> dict[str, Any]:
    """Options as `resolve` takes them; raises UsageError for an unknown one, with the nearest, and for a wrong type."""
    options = canonical(task.Config, respelled(task.Config, options))
    known = {each.name for each in fields(task.Config)}
    hints = {**get_type_hints(task.Config), "cell": str | type}
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            near = did_you_mean(name, known)
            raise UsageError(
                f"{task.name} has no option {name!r}: {near or f'`rnn train {task.name} --help-all` lists all'}"
            )
        if name in ("corpus", "valid") and value is not None:
            found[name] = corpus_specs(value)
        elif value is not None:
            where = f"option {name}"
            found[name] = as_kind(_hidden(value, where) if name == "hidden" else plain_value(value), hints[name], where)
    return found


def _hidden(size: object, where: str) -> str:
    """Sizes of layers as the option `hidden` has them; raises UsageError for anything else."""
    plain = plain_value(size)
    check_kind(plain, int | str | Sequence[int | str], where)
    return ",".join(map(str, plain)) if isinstance(plain, list) else str(plain)


class Run(on_disk.Run):
    """A training on disk: its name, task, folder, size, and when it was saved; `load` returns its model."""

    @checked
    def load(self, device: str | torch.device = "auto") -> Model:
        """The best model of the run; raises as `rnncli.load`."""
        return load(self, device=device)

    @property
    def history(self) -> History:
        """The validations of the training; raises RnnError if there is none yet, or if they cannot be read."""
        choice = self.read(lambda header: Choice(header["monitor"], header["progress"]["best_step"]))
        return History(read_records(self), choice or Choice("loss", 0), run=self.name, task=self.task)

    @property
    def state(self) -> str:
        """How far it is: training, unfinished, unreadable, or the reason why it ended."""
        summary = self.summary
        if summary is None:
            return "unreadable"
        return summary.finished or ("training" if self.is_trained else "unfinished")

    @property
    def facts(self) -> dict[str, object]:
        """The corpus, the best metric, the state, and the date."""
        summary = self.summary
        best = (
            ""
            if summary is None or summary.metric is None
            else f"{summary.metric.replace('_', ' ')} {shown(summary.best)}"
        )
        return {
            "corpus": "" if summary is None else summary.corpus,
            "best": best or "not validated",
            "state": self.state,
            "saved": self.saved and f"{self.saved:%Y-%m-%d %H:%M}",
        }

    def __repr__(self) -> str:
        return clipped(f"Run({self.task}/{self.name}: {', '.join(map(shown, self.facts.values()))})", 160)

    def _repr_html_(self) -> str:
        has_curve = self.metrics.exists() and self.metrics.stat().st_size > 0
        return card(f"{self.task} · {self.name}", self.facts, self.history.plot() if has_curve else None)


@checked
def list_runs(task: str | None = None) -> list[Run]:
    """The runs on disk, of one task or of all, the last one saved first; raises UsageError for an unknown task."""
    return [Run(run.folder) for run in on_disk.all_runs(None if task is None else named_task(task).name)]


@checked
def get_data(*names: str) -> dict[str, str]:
    """Download corpora that are not here yet, and check them; returns what happened to each.

    `rnn data list` shows the names. Raises UsageError for an unknown name before any download, and RnnError if one
    fails.
    """
    return {entry.name: entry.fetch() for entry in [registered(name) for name in names]}


def add_corpus(items: CorpusLike) -> str:
    """Hold a corpus in this process, and return its name, which every `corpus` takes.

    The items are texts, pairs, or mappings such as the rows of a data set. Equal items have the same name. A model that
    learned from them can evaluate its held-out part, and its run can resume, in any process that holds them. Raises
    UsageError for anything but one corpus.
    """
    found = corpus_specs(items)
    if len(found) > 1:
        raise UsageError("add_corpus takes one corpus: call it once for each")
    return found[0]


@dataclass(frozen=True)
class ComparisonResult:
    """The result of `compare`: a row per net, an outcome per run, and their curves."""

    comparison: Comparison
    outcomes: Sequence[Outcome]
    goal: float | None = None
    """The value of the metric that runs are timed to; by default the best of the weakest run."""

    @property
    def metric(self) -> str:
        """The metric that is compared."""
        return next((each.metric for each in self.outcomes if each.curve), self.outcomes[0].metric)

    @cached_property
    def aim(self) -> float | None:
        """The goal in use."""
        return default_target(self.outcomes) if self.goal is None else self.goal

    @cached_property
    def rows(self) -> list[Row]:
        """A row per net, with means over its runs."""
        return rows(self.outcomes, self.aim)

    def plot(self) -> "Figure":
        """Draw the metric of each net during training as a figure of matplotlib: the mean inside a band of all runs."""
        across = "seconds" if self.comparison.match == "time" else "steps"
        title = f"{self.comparison.task.name} · {self.comparison.name}"
        return bands_figure(bands(self.outcomes, across), across=across, metric=self.metric, title=title)

    def _table(self) -> tuple[list[str], list[list[object]]]:
        columns = [
            "cell",
            "hidden",
            "parameters",
            f"best {self.metric.replace('_', ' ')}",
            "spread",
            "steps",
            "seconds",
        ]
        return columns, [
            [label_of(row.cell), row.hidden, row.parameters, row.mean, row.spread, row.steps, row.seconds]
            for row in self.rows
        ]

    def __repr__(self) -> str:
        columns, found = self._table()
        facts = {
            f"{row[0]} {row[1]}": shown(row[3]) + ("" if row[4] is None else f" ± {shown(row[4])}") for row in found[:3]
        }
        if len(found) > 3:
            facts["…"] = f"{len(found) - 3} more in .rows"
        return lines(f"ComparisonResult of {self.comparison.task.name}, {columns[3]}:", facts)

    def _repr_html_(self) -> str:
        return table(*self._table()) + image(self.plot())


@checked
def compare(
    task: str | Task,
    /,
    *,
    cells: Sequence[str | type[nn.Module]] | None = None,
    sizes: Sequence[int | str | Sequence[int]] = (),
    seeds: int = 3,
    match: str = "hidden",
    goal: float | None = None,
    name: str = "compare",
    preset: str | None = None,
    config: str | Path | None = None,
    progress: bool = True,
    **options: Option,
) -> ComparisonResult:
    """Train a task with several cells, sizes and seeds, and compare them; the same call continues an interrupted one.

    `cells` are by default the four classic ones, or with `init_from` that model's, which the runs then share. `sizes`
    are hidden sizes, each as the option `hidden`. `match` is what all cells share with the first: `hidden`,
    `params` or `time`. `goal` is the value of the metric that runs are timed to. The names of the runs begin with
    `name`. `options` are those of `rnn train TASK`. Raises as `train`.
    """
    _refuse_launch("compare")
    declared = _task_of(task)
    for option, instead in (("cell", "cells"), ("hidden", "sizes")):
        if option in options:
            raise UsageError(f"compare takes no {option}: give {instead}")
    if cells is not None and not len(cells):
        raise UsageError("compare takes a list of cells, such as ['gru', 'lstm']")
    given, file = _plain_options(declared, options), None if config is None else Path(config)
    nets = nets_of(declared, given, () if cells is None else tuple(cells), preset, file)
    widths = tuple(_hidden(size, "sizes") for size in sizes) or (",".join(map(str, nets[0].sizes)),)
    comparison = Comparison(declared, name, nets, widths, seeds, match)
    comparison.check()

    def run(training: Training, resumed: bool) -> None:
        del resumed
        if progress:
            write_message(training.run.name)
        _follow(training, (), shown=progress)

    try:
        outcomes = train_all(comparison, run, lambda _: None)
    except Interrupted as stop:
        raise _stopped(stop, "stopped and saved: the same call of rnncli.compare") from None
    return ComparisonResult(comparison, outcomes, goal)


def train_all(
    comparison: Comparison, run: Callable[[Training, bool], None], note: Callable[[str], None]
) -> list[Outcome]:
    """Train the unfinished runs of a comparison by `run`, and read all results; `note` receives remarks.

    Raises UsageError if the text changed between two runs, and as `run`.
    """
    outcomes = []
    count = len(comparison.cells) * len(comparison.sizes) * comparison.seeds
    for place, member in enumerate(comparison.members(), 1):
        note(f"{place} of {count}: {member.run.name}")
        _train_member(comparison, member, run, note)
        outcomes.append(outcome(comparison.task, member))
    check_alike(outcomes)
    return outcomes


def _train_member(
    comparison: Comparison, member: Member, run: Callable[[Training, bool], None], note: Callable[[str], None]
) -> None:
    """Train a run, or continue it, unless it is finished; a run whose loss is not finite stays as it is."""
    begun = member.begun()
    if begun and member.finished:
        note("it is finished already")
        return
    if begun:
        training = Training.resume(member.run, {})
    else:
        training = Training.start(comparison.task.name, member.settings, member.run.name)
    try:
        run(training, begun)
    except NotFinite as error:
        warn(f"run {member.run.name} does not count: {error}")
