"""The folders of runs: `checkpoints/<task>/<run>/{last,previous,best}.safetensors` and `metrics.{jsonl,csv}`."""

import contextlib
import datetime
import difflib
import itertools
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rnncli.errors import RnnError, UsageError, warn
from rnncli.files import check_name, is_locked, locked, make_folder, reason, write_file
from rnncli.home import checkpoints_dir, mark
from rnncli.records import csv_columns, csv_rows, json_line
from rnncli.training import checkpoint
from rnncli.training.checkpoint import Checkpoint, CheckpointError
from rnncli.training.monitoring import shown_metric

LAST, PREVIOUS, BEST = "last.safetensors", "previous.safetensors", "best.safetensors"

_NEVER = datetime.datetime.min.replace(tzinfo=datetime.UTC)

T = TypeVar("T")


class NoModelError(UsageError):
    """No run has a model for the work that needs one."""


@dataclass(frozen=True)
class Run:
    """One training of a task, on disk."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def task(self) -> str:
        return self.folder.parent.name

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def table(self) -> Path:
        return self.folder / "metrics.csv"

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return _size(self.folder)

    @property
    def saved(self) -> datetime.datetime | None:
        """When its newest checkpoint was written, in local time."""
        times = []
        for name in (LAST, PREVIOUS, BEST):
            with contextlib.suppress(OSError):  # there is no such file
                times.append((self.folder / name).stat().st_mtime)
        return datetime.datetime.fromtimestamp(max(times)).astimezone() if times else None

    @property
    def summary(self) -> "Summary | None":
        """The state of the run; None where no header can be read."""
        return self.read(Summary.of)

    def read(self, of: Callable[[Mapping[str, Any]], T]) -> T | None:
        """Apply `of` to the newest readable header, unverified; return None where there is none.

        A header for which `of` raises RnnError, KeyError, TypeError, ValueError or AttributeError is skipped as
        damaged.
        """
        for name in (LAST, PREVIOUS, BEST):
            with contextlib.suppress(RnnError, KeyError, TypeError, ValueError, AttributeError):
                return of(checkpoint.read_header(self.folder / name))
        return None

    @property
    def is_trained(self) -> bool:
        """Whether a process is training it right now."""
        return is_locked(self.folder)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run for this process; raises RnnError where another one holds it."""
        busy = f"run {self.name} is being trained by another process: wait for it, or start a new run"
        with locked(self.folder, busy):
            yield

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run to write to it, and remove the files that a killed process left; raises as `held`."""
        with self.held():
            make_folder(self.folder)
            mark(checkpoints_dir())
            for stray in self.folder.glob("*.tmp"):
                if not stray.is_dir():  # a folder of that name is the user's
                    stray.unlink(missing_ok=True)
            yield

    def save(self, data: bytes) -> None:
        """Save a serialized checkpoint as `last`; the one before becomes `previous`."""
        write_file(self.folder / LAST, data, previous=self.folder / PREVIOUS)

    def save_best(self, data: bytes) -> None:
        """Save a serialized checkpoint as `best`."""
        write_file(self.folder / BEST, data)

    def write_metrics(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Rewrite metrics.jsonl and metrics.csv: one JSON object, and one row, per validation."""
        lines = "".join(json_line(record) + "\n" for record in history)
        write_file(self.metrics, lines.encode())
        self._write_table(history)

    def append_metrics(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Add the last record of a history to metrics.jsonl and metrics.csv, which have the others.

        A table that is missing, or lacks a column of the new record, is written again.
        """
        *before, record = history
        _append(self.metrics, json_line(record) + "\n")
        columns = csv_columns(before)
        if record.keys() <= set(columns) and self.table.exists():
            _append(self.table, csv_rows(columns, [record]))
        else:
            self._write_table(history)

    def _write_table(self, history: Sequence[Mapping[str, Any]]) -> None:
        write_file(self.table, csv_rows(csv_columns(history), history, header=True).encode())


def _append(file: Path, text: str) -> None:
    try:
        with file.open("a", encoding="utf-8", newline="") as opened:
            opened.write(text)
    except OSError as error:
        raise RnnError(f"cannot write {file}: {reason(error)}") from None


class RunElsewhere(Run):
    """A run that another process of the same training writes; this process writes nothing."""

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold nothing: the other process does."""
        yield

    def save(self, data: bytes) -> None:
        """Save nothing."""

    def save_best(self, data: bytes) -> None:
        """Save nothing."""

    def write_metrics(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write nothing."""

    def append_metrics(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write nothing."""


class Summary(NamedTuple):
    """The state of a run, in the words of a table."""

    finished: str  # why the run ended; empty before its end
    metric: str | None
    best: float | None
    steps: int
    corpus: str

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> "Summary":
        """Read it from a checkpoint's header; raises KeyError, TypeError or AttributeError where that is damaged."""
        progress, metric = header["progress"], header["monitor"]
        best: dict[str, Any] = next(
            (record for record in progress["history"] if record["step"] == progress["best_step"]), {}
        )
        metric = shown_metric(metric, best)
        finished, steps = progress["finished"], progress["step"]
        corpus = header.get("payload", {}).get("corpus", "")
        if not isinstance(finished, str) or not isinstance(steps, int) or not isinstance(corpus, str):
            raise TypeError("a damaged header")
        return cls(finished, metric if best else None, best[metric] if best else None, steps, corpus)


def new_run(task: str, label: str, name: str | None) -> Run:
    """Make a new run's folder: `name`, or the date, the time and the label; never one that holds checkpoints.

    Raises UsageError for a name that is taken or impossible for a folder, RnnError where no folder can be made.
    """
    folder = checkpoints_dir() / task
    try:
        if name is not None:
            return _named_run(folder, name)
        stamp = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{label.replace(':', '-')}"
        for place in itertools.count(1):
            with contextlib.suppress(FileExistsError):  # another process may take the name at the same moment
                return Run(make_folder(folder / (stamp if place == 1 else f"{stamp}-{place}"), exist_ok=False))
    except OSError as error:
        raise RnnError(f"cannot make a folder for the run in {folder}: {error.strerror}; see RNN_HOME") from None
    raise AssertionError("unreachable")


def check_new(task: str, name: str) -> None:
    """Raise UsageError for a new run's name that is impossible for a folder, or taken by a run of the task."""
    check_name(name)
    if _holds_checkpoint(checkpoints_dir() / task / name):
        raise UsageError(
            f"run {name!r} of {task} is already there: take another --name, or --resume --name {shlex.quote(name)}"
        )


def _named_run(folder: Path, name: str) -> Run:
    check_new(folder.name, name)
    run = Run(folder / name)
    with contextlib.suppress(FileExistsError):  # left by a process that ended before its first save
        make_folder(run.folder, exist_ok=False)
    return run


def all_runs(task: str | None = None) -> list[Run]:
    """List every run on disk, of one task or of all, the last one saved first."""
    runs = [Run(folder) for each in _tasks(task) for folder in _folders(each) if _holds_checkpoint(folder)]
    return sorted(runs, key=lambda run: (run.saved or _NEVER, run.name), reverse=True)


def runs_to_use(task: str | None = None) -> list[Run]:
    """List the same runs for a verb that needs a model: runs without a `best`, not validated so far, come last."""
    return sorted(all_runs(task), key=lambda run: not (run.folder / BEST).exists())


def run_names() -> list[str]:
    """The names of all runs; TASK/RUN where several tasks have a run of a name."""
    runs = all_runs()
    names = [run.name for run in runs]
    return [run.name if names.count(run.name) == 1 else f"{run.task}/{run.name}" for run in runs]


def _tasks(task: str | None) -> list[Path]:
    return sorted(_folders(checkpoints_dir())) if task is None else [checkpoints_dir() / task]


# The entries of a listing know their kind: on a shared file system any other query is a network call.
def _folders(folder: Path) -> list[Path]:
    return [folder / entry.name for entry in _entries(folder) if entry.is_dir()]


def _holds_checkpoint(folder: Path) -> bool:
    return any(entry.name.endswith(".safetensors") for entry in _entries(folder))


def _size(folder: Path) -> int:
    total = 0
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            total += _size(folder / entry.name)
        elif entry.is_file():
            with contextlib.suppress(FileNotFoundError):  # a temporary file of a run that is being trained
                total += entry.stat().st_size
    return total


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def find_run(name: str, task: str | None = None) -> Run:
    """Find a run by its name or `task/name`; raises UsageError for none or several."""
    found = _runs_named(name, task)
    if not found:
        last = name.rpartition("/")[2]
        others = [run.task for run in _runs_named(last, None) if run.task != task]
        if task and others:
            raise UsageError(f"{name!r} is a run of {others[0]}, not of {task}")
        raise UsageError(f"there is no run {name!r} in {runs_place()}: {_hint(last, task)}`rnn runs` lists them")
    if len(found) > 1:
        raise UsageError(f"{name!r} names runs of {' and '.join(run.task for run in found)}: write TASK/{name}")
    return found[0]


def _hint(name: str, task: str | None) -> str:
    """A question for the run whose name is most like `name`; empty if none is."""
    near = difflib.get_close_matches(name, [run.name for run in all_runs(task)], n=1)
    return f"did you mean {near[0]!r}? " if near else ""


def runs_place() -> Path:
    """The absolute path of the folder of runs, for messages."""
    return checkpoints_dir().absolute()


def tasks_of(name: str) -> list[str]:
    """List the tasks that have a run of this name."""
    return [run.task for run in _runs_named(name, None)]


def _runs_named(name: str, task: str | None) -> list[Run]:
    group, _, last = name.rpartition("/")
    runs = [Run(folder / last) for folder in _tasks(task)] if last not in ("", ".", "..") else []
    return [run for run in runs if group in ("", run.task) and _holds_checkpoint(run.folder)]


def newest_unfinished(task: str) -> Run:
    """Return the task's newest run that can be resumed; raises UsageError when there is none."""
    for run in all_runs(task):
        summary = run.summary
        if summary is not None and not summary.finished and not run.is_trained:
            return run
    raise UsageError(f"no run of {task} in {runs_place()} is unfinished: `rnn train {task}` starts a new one")


def delete_run(run: Run) -> None:
    """Remove a run with all its files, or only the link to it; raises RnnError while it is being trained."""
    with run.held():
        if run.folder.is_symlink():
            run.folder.unlink()  # its target is elsewhere and stays
        else:
            shutil.rmtree(run.folder)
    with contextlib.suppress(OSError):
        run.folder.parent.rmdir()  # the task's last run


def read_for_resume(run: Run) -> tuple[Checkpoint, Path]:
    """Read the checkpoint to resume from: `last`, or with an RnnWarning `previous` when `last` is damaged.

    Raises CheckpointError where neither is sound, or where it holds only a model.
    """
    found, file = _first_sound(run, (LAST, PREVIOUS))
    _check_resumable(found, file)
    return found, file


def _check_resumable(found: Checkpoint, file: Path) -> None:
    if not found.is_resumable:
        raise CheckpointError(f"{file} holds only a model, as {BEST} does: no training continues from it")


def prune_run(run: Run) -> int:
    """Verify `last`, then remove `previous`; return the bytes that this frees.

    Raises CheckpointError, and removes nothing, where `last` is damaged or missing; RnnError while the run is trained.
    """
    previous = run.folder / PREVIOUS
    with run.held():
        if not previous.exists():
            return 0
        _check_resumable(checkpoint.read(run.folder / LAST), run.folder / LAST)
        freed = previous.stat().st_size
        try:
            previous.unlink()
        except OSError as error:
            raise RnnError(f"cannot remove {previous}: {reason(error)}") from None
    return freed


def read_model(source: str | None, task: str | None) -> tuple[Checkpoint, Path]:
    """Find a trained model of a task, or of any: by run name, folder or file, or else the task's newest run.

    Returns its best checkpoint (or `last`, where there is no best yet) and its file. A damaged file, and a run's name
    that is also the name of a file or folder here, are RnnWarnings. Raises UsageError when there is none, or for
    another task's model.
    """
    place = _place_of(source, task)
    if place.is_dir():
        found, file = _first_sound(Run(place), (BEST, LAST, PREVIOUS))
    else:
        found, file = checkpoint.read(place), place
    if task is not None and found.header.get("task") != task:
        raise UsageError(f"{file} is a model of {found.header.get('task')}, not of {task}")
    return found, file


def read_task(source: str) -> str:
    """The task of the model that a run's name or a path means, from its header; raises as `read_model`."""
    place = _place_of(source, None)
    if not place.is_dir():
        return str(checkpoint.read_header(place).get("task"))
    task = Run(place).read(lambda header: str(header["task"]))
    if task is None:
        raise UsageError(f"{place} holds no checkpoint: name a run, its folder or a checkpoint file")
    return task


def run_of(source: str) -> Run:
    """Return the run of a name or a folder, with the warning of `read_model`; raises UsageError where there is none."""
    place = _place_of(source, None)
    if not place.is_dir():
        raise UsageError(f"{source} is a file: name a run, or its folder")
    return Run(place)


def _place_of(source: str | None, task: str | None) -> Path:
    """Return the file or folder that a run's name or a path means, or the task's newest run.

    If there is a run of that name it wins over anything in the current directory; `./NAME` is a path. Raises UsageError
    where there is none.
    """
    if source is None:
        runs = runs_to_use(task)
        if not runs:
            what, name = (f"model of {task}", task) if task else ("run", "TASK")
            raise NoModelError(f"there is no {what} in {runs_place()} yet: run `rnn train {name}` first")
        return runs[0].folder
    path = Path(source)
    is_there = source != "" and os.path.lexists(path)
    if _written_as_path(source):
        if not is_there:
            raise UsageError(f"there is no {source}: name a run, its folder or a checkpoint file")
        return path
    if is_there and not _runs_named(source, task):
        return path
    folder = find_run(source, task).folder
    if is_there and path.resolve() != folder.resolve():
        kind = "folder" if path.is_dir() else "file"
        warn(f"{source!r} is a run, which is used, and a {kind} here: ./{source} means the {kind}")
    return folder


def _written_as_path(source: str) -> bool:
    """Tell whether a source is a path regardless of runs: it has a separator and is not TASK/RUN."""
    *folders, _ = source.replace(os.sep, "/").split("/")
    return Path(source).is_absolute() or len(folders) > 1 or folders in (["."], [".."])


def _first_sound(run: Run, names: Sequence[str]) -> tuple[Checkpoint, Path]:
    """Return the first of the run's files that verifies, and its path; an RnnWarning names unusable ones before it.

    Raises CheckpointError where none does; it names another file of the run that does.
    """
    damage: dict[str, list[str]] = {}  # names of files by the reason, which has a place for their path
    for name in dict.fromkeys((*names, BEST)):
        path = run.folder / name
        if not os.path.lexists(path):
            continue
        try:
            found = checkpoint.read(path)
        except CheckpointError as error:
            damage.setdefault(str(error).replace(str(path), "{}"), []).append(name)
            continue
        if name not in names:
            why = _told(damage, run.folder) if damage else f"{run.folder} holds no checkpoint"
            raise CheckpointError(f"{why}; {path} is still there, to use or to inspect")
        if damage:
            warn(f"{_told(damage, run.folder)}: using {name}")
        return found, path
    if not damage:
        raise CheckpointError(f"{run.folder} holds no checkpoint")
    raise CheckpointError(f"{_told(damage, run.folder)}; no other checkpoint is there: restore a copy, or train again")


def _told(damage: Mapping[str, Sequence[str]], folder: Path) -> str:
    """Why files cannot be used, each reason once."""
    told = []
    for why, (first, *others) in damage.items():
        same = f" ({' and '.join(others)} too)" if others else ""
        told.append(why.replace("{}", str(folder / first)) + same)
    return "; ".join(told)
