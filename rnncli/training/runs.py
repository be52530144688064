"""The folders that keep runs: `checkpoints/<task>/<run>/{last,previous,best}.safetensors` and `metrics.jsonl`."""

import contextlib
import datetime
import itertools
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rnncli.errors import RnnError, UsageError
from rnncli.files import check_name, is_locked, locked, reason, write_file
from rnncli.home import checkpoints_dir
from rnncli.records import json_line
from rnncli.training import checkpoint
from rnncli.training.checkpoint import Checkpoint, CheckpointError
from rnncli.training.metrics import shown_metric

LAST, PREVIOUS, BEST = "last.safetensors", "previous.safetensors", "best.safetensors"

T = TypeVar("T")


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
    def size(self) -> int:
        """Bytes on disk."""
        return _size(self.folder)

    @property
    def summary(self) -> "Summary | None":
        """How it stands; None where no header can be read."""
        return self.read(Summary.of)

    def read(self, of: Callable[[Mapping[str, Any]], T]) -> T | None:
        """What is read off its newest header, unverified; None where none can be read.

        A header that `of` raises KeyError, TypeError or AttributeError for is passed over as damaged.
        """
        for name in (LAST, PREVIOUS, BEST):
            with contextlib.suppress(CheckpointError, KeyError, TypeError, AttributeError):
                return of(checkpoint.read_header(self.folder / name))
        return None

    @property
    def is_trained(self) -> bool:
        """Whether some process is training it right now."""
        return is_locked(self.folder)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process alone, and clear what a killed one left; raises RnnError when it is held."""
        busy = f"run {self.name} is being trained by another process: wait for it, or start a new run"
        with locked(self.folder, busy):
            self.folder.mkdir(parents=True, exist_ok=True)
            for stray in self.folder.glob("*.tmp"):
                stray.unlink()
            yield

    def save(self, data: bytes) -> None:
        """Save a serialized checkpoint as `last`; the one before becomes `previous`."""
        write_file(self.folder / LAST, data, previous=self.folder / PREVIOUS)

    def save_best(self, data: bytes) -> None:
        """Save a serialized checkpoint as `best`."""
        write_file(self.folder / BEST, data)

    def write_metrics(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write metrics.jsonl anew: one JSON object a validation."""
        lines = "".join(json_line(record) + "\n" for record in history)
        write_file(self.metrics, lines.encode())

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Add one validation's record to metrics.jsonl."""
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json_line(record) + "\n")
        except OSError as error:
            raise RnnError(f"cannot write {self.metrics}: {reason(error)}") from None


class RunElsewhere(Run):
    """A run that another process of the same training writes; here nothing is."""

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

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Write nothing."""


class Summary(NamedTuple):
    """How a run stands, in the words of a table."""

    finished: str  # why it ended; empty while it has not
    metric: str | None
    best: float | None
    steps: int

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> "Summary":
        """Read it off a checkpoint's header; raises KeyError, TypeError or AttributeError where that is damaged."""
        progress, metric = header["progress"], header["monitor"]
        best: dict[str, Any] = next(
            (record for record in progress["history"] if record["step"] == progress["best_step"]), {}
        )
        metric = shown_metric(metric, best)
        finished, steps = progress["finished"], progress["step"]
        if not isinstance(finished, str) or not isinstance(steps, int):
            raise TypeError("a damaged header")
        return cls(finished, metric if best else None, best[metric] if best else None, steps)


def new_run(task: str, label: str, name: str | None) -> Run:
    """Make a new run's folder: `name`, or the date, the time and the label; never one that holds checkpoints.

    Raises UsageError for a name that is taken or cannot be a folder's, RnnError where no folder can be made.
    """
    folder = checkpoints_dir() / task
    try:
        if name is not None:
            return _named_run(folder, name)
        stamp = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{label.replace(':', '-')}"
        for place in itertools.count(1):
            with contextlib.suppress(FileExistsError):  # another process may take the name at the same moment
                return Run(_made(folder / (stamp if place == 1 else f"{stamp}-{place}")))
    except OSError as error:
        raise RnnError(f"cannot make a folder for the run in {folder}: {error.strerror}; see RNN_HOME") from None
    raise AssertionError("unreachable")


def _named_run(folder: Path, name: str) -> Run:
    check_name(name)
    run = Run(folder / name)
    if _holds_checkpoint(run.folder):
        raise UsageError(
            f"run {name!r} of {run.task} is already there: take another --name, or --resume --name {shlex.quote(name)}"
        )
    with contextlib.suppress(FileExistsError):  # left by a process that ended before its first save
        _made(run.folder)
    return run


def _made(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir()
    return folder


def all_runs(task: str | None = None) -> list[Run]:
    """Every run on disk, of one task or of all, newest first."""
    runs = [Run(folder) for each in _tasks(task) for folder in _folders(each) if _holds_checkpoint(folder)]
    return sorted(runs, key=lambda run: (run.folder.stat().st_mtime, run.name), reverse=True)


def _tasks(task: str | None) -> list[Path]:
    return sorted(_folders(checkpoints_dir())) if task is None else [checkpoints_dir() / task]


# The entries of a listing know their kind: on a shared file system every other question is a call over the network.
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
    """Find a run by its name or `task/name`; raises UsageError when there is none, or more than one."""
    group, _, last = name.rpartition("/")
    found = [run for run in _runs_named(last, task) if group in ("", run.task)]
    if not found:
        others = [run.task for run in _runs_named(last) if run.task != task]
        if task and others:
            raise UsageError(f"{name!r} is a run of {others[0]}, not of {task}")
        raise UsageError(f"there is no run {name!r}: `rnn runs` lists them")
    if len(found) > 1:
        raise UsageError(f"{name!r} names runs of {' and '.join(run.task for run in found)}: write TASK/{name}")
    return found[0]


def _runs_named(name: str, task: str | None = None) -> list[Run]:
    runs = [Run(folder / name) for folder in _tasks(task)] if name not in ("", ".", "..") else []
    return [run for run in runs if _holds_checkpoint(run.folder)]


def newest_unfinished(task: str) -> Run:
    """The task's newest run that can be taken up again; raises UsageError when there is none."""
    for run in all_runs(task):
        summary = run.summary
        if summary is not None and not summary.finished and not run.is_trained:
            return run
    raise UsageError(f"no run of {task} is unfinished: `rnn train {task}` starts a new one")


def delete_run(run: Run) -> None:
    """Remove a run with all its files; raises RnnError while it is being trained."""
    with run.locked():
        if run.folder.is_symlink():
            run.folder.unlink()
        else:
            shutil.rmtree(run.folder)
    with contextlib.suppress(OSError):
        run.folder.parent.rmdir()  # the task's last run


def load_for_resume(run: Run) -> tuple[Checkpoint, Path, str]:
    """The checkpoint to go on from, its file, a warning or "": `last`, or `previous` when `last` is damaged."""
    return _first_sound(run, (LAST, PREVIOUS))


def load_model(source: str | None, task: str | None) -> tuple[Checkpoint, Path, str]:
    """Find a trained model of a task, or of any: by file, folder or run name, or else the task's newest run.

    Returns its best checkpoint (or `last`, where there is no best yet), its file, and a warning or "".
    Raises UsageError when there is none, or when it is a model of another task.
    """
    if source is not None and Path(source).is_file():
        found, file, warning = checkpoint.read(Path(source)), Path(source), ""
    else:
        found, file, warning = _first_sound(run_of(source, task), (BEST, LAST, PREVIOUS))
    if task is not None and found.header.get("task") != task:
        raise UsageError(f"{file} is a model of {found.header.get('task')}, not of {task}")
    return found, file, warning


def run_of(source: str | None, task: str | None = None) -> Run:
    """The run of a name or a folder, or else a task's newest; raises UsageError where there is none."""
    if source is None:
        runs = all_runs(task)
        if not runs:
            raise UsageError(f"there is no model of {task} yet: run `rnn train {task}` first")
        return runs[0]
    return Run(Path(source)) if source and Path(source).is_dir() else find_run(source, task)


def _first_sound(run: Run, names: Sequence[str]) -> tuple[Checkpoint, Path, str]:
    """The first of the run's files that verifies; the damaged ones before it are named in the warning."""
    damage = ""
    for name in names:
        path = run.folder / name
        if not path.exists():
            continue
        try:
            return checkpoint.read(path), path, f"{damage}: using {name}" if damage else ""
        except CheckpointError as error:
            damage = f"{damage}; {error}" if damage else str(error)
    others = [name for name in (BEST, LAST) if name not in names and (run.folder / name).exists()]
    rest = f"; {run.folder / others[0]} is still there, to use or to inspect" if others else ""
    raise CheckpointError((damage or f"{run.folder} holds no checkpoint") + rest)
