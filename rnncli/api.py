"""The Python API: train a task, load what was trained, use it. The command line calls these same functions."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnncli import __version__
from rnncli.errors import UsageError
from rnncli.tasks import TASKS
from rnncli.tasks.base import RecurrentSettings, Task, Trained, from_plain, plain
from rnncli.training.checkpoint import Checkpoint
from rnncli.training.checkpoint import read as read_checkpoint
from rnncli.training.experiment import Experiment
from rnncli.training.loop import Trainer, below
from rnncli.training.randomness import seed_everything
from rnncli.training.runs import Run, load_for_resume, load_model, new_run
from rnncli.training.session import Session


def load(path: str | Path) -> Trained:
    """Load a trained model from its checkpoint file.

    Raises RnnError when the file is no sound checkpoint, or one of a task that this version does not have.
    """
    return restore(read_checkpoint(Path(path)), Path(path))


def load_task(source: str | None, task: str) -> tuple[Trained, str]:
    """Load a task's model by file, folder or run name, or its newest one; and a warning, or "".

    Raises as `load`, and UsageError when there is none yet.
    """
    found, place, warning = load_model(source, task)
    return restore(found, place), warning


def restore(found: Checkpoint, source: Path) -> Trained:
    """Build the model of a checkpoint, with its weights, on the CPU; raises UsageError for a strange task."""
    name = found.header.get("task")
    if name not in TASKS:
        raise UsageError(f"{source} is a model of {name!r}, a task that this version of rnn does not have")
    task = TASKS[name]
    config = from_plain(task.Config, found.header["config"])
    model = task.build_model(config, found.header["payload"])
    model.load_state_dict(below("model", found.tensors))
    model.eval()
    return Trained(name, config, model, found.header, below("task", found.tensors), source)


def pick_device(asked: str) -> str:
    """The device to train on: as asked, or for `auto` CUDA where there is one; raises UsageError for an absent one."""
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return "cuda" if there["cuda"] else "cpu"
    if not there[asked]:
        raise UsageError(f"--device {asked}: torch finds no such device here; use --device cpu or auto")
    return asked


class Training:
    """A training of a task that is ready to go: `run()` it.

    `Training.start` begins a new run; `Training.resume` takes one up again. Both seed every generator.
    """

    def __init__(self, task: Task, config: RecurrentSettings, run: Run) -> None:
        self.task, self.config, self.run_folder = task, config, run
        self.device = pick_device(config.device)
        seed_everything(config.seed)
        self.experiment: Experiment = task.build(config, self.device)
        self.trainer = Trainer(self.experiment, config)
        identity = {
            "task": task.name,
            "rnn": __version__,
            "config": plain(config),
            "monitor": self.experiment.monitor,
            "payload": dict(self.experiment.payload),
        }
        self.session = Session(self.trainer, run, identity)

    @classmethod
    def start(cls, task: str, config: RecurrentSettings, name: str | None = None) -> "Training":
        """Begin a new run, named by `name` or by date, time and cell."""
        settled = TASKS[task].settle(config)
        return cls(TASKS[task], settled, new_run(task, settled.label, name))

    @classmethod
    def resume(cls, run: Run, changes: dict[str, Any]) -> tuple["Training", str]:
        """Take a run up from its newest sound checkpoint; and a warning, or "".

        `changes` are settings given anew. Raises UsageError for one that would make it another run, and where the
        text it learned from has changed.
        """
        found, warning = load_for_resume(run)
        task = TASKS[run.task]
        before = from_plain(task.Config, found.header["config"])
        training = cls(task, replace(before, **_allowed(before, changes)), run)
        if training.experiment.payload != found.header["payload"]:
            raise UsageError(f"the text that run {run.name} learned from has changed: it cannot go on; start a new run")
        training.session.resume(found)
        return training, warning

    def run(self, listen: Callable[[Any], None], warn: Callable[[str], None]) -> None:
        """Train to the end; events and warnings as `Session.train`, which says what is raised."""
        with self.run_folder.locked():
            self.session.train(listen, warn)


def _allowed(before: RecurrentSettings, changes: dict[str, Any]) -> dict[str, Any]:
    """The changes that a resumed run can take; raises UsageError for any other."""
    fields = type(before).__dataclass_fields__
    for name, value in changes.items():
        if value != getattr(before, name) and not fields[name].metadata.get("resumable"):
            flag = "--" + name.replace("_", "-")
            raise UsageError(
                f"{flag} cannot change when a run is resumed: it was {getattr(before, name)}, not {value}; "
                f"leave {flag} out, or start a new run"
            )
    return changes
