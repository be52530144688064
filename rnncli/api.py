"""The Python API: train a task, load what was trained, use it. The command line calls these same functions."""

from collections.abc import Callable
from contextlib import ExitStack
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
from rnncli.training.loop import Event, Trainer, below
from rnncli.training.randomness import seed_everything
from rnncli.training.runs import Run, all_runs, load_for_resume, load_model, new_run
from rnncli.training.session import Session
from rnncli.training.settings import check_limits


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


def load_language_model(source: str | None) -> tuple[Trained, str]:
    """Load a model by file, folder or run name, or the newest one that has word vectors; and a warning, or "".

    Tasks that are made for word vectors come before others. Raises as `load`, and UsageError when there is none yet.
    """
    tasks = sorted((task for task in TASKS.values() if task.word_vectors), key=lambda task: -task.word_vectors)
    task = next((task.name for task in tasks if all_runs(task.name)), tasks[0].name)
    found, place, warning = load_model(source, task if source is None else None)
    return restore(found, place), warning


def restore(found: Checkpoint, source: Path) -> Trained:
    """Build the model of a checkpoint, with its weights, on the CPU; raises UsageError for a strange task."""
    name = found.header.get("task")
    if name not in TASKS:
        raise UsageError(f"{source} is a model of {name!r}, a task that this version of rnn does not have")
    task = TASKS[name]
    config = from_plain(task.Config, found.header["config"])
    anywhere = replace(config, backend="auto")  # the one it was trained with may need what is not here
    model = task.build_model(anywhere, found.header["payload"])
    model.load_state_dict(below("model", found.tensors))
    model.eval()
    return Trained(name, config, model, found.header, below("task", found.tensors), source)


def pick_device(asked: str) -> str:
    """The device to train on: as asked, or for `auto` CUDA where there is one; raises UsageError for an absent one.

    On CUDA cuDNN is kept at float32: its default, TF32, is good to three digits only.
    """
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    device = ("cuda" if there["cuda"] else "cpu") if asked == "auto" else asked
    if not there[device]:
        raise UsageError(f"--device {asked}: torch finds no such device here; use --device cpu or auto")
    if device == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    return device


def _check_precision(asked: str, device: str) -> None:
    """Raise UsageError for a reduced precision that would change nothing here."""
    from rnncli.kernels.products import has_bfloat16

    if asked == "bfloat16" and not (device == "cpu" and has_bfloat16()):
        where = "this processor has no instructions for it" if device == "cpu" else f"it is not for {device} yet"
        raise UsageError(f"--precision bfloat16: {where}; leave --precision out")


class Training:
    """A training of a task that is ready to go: `train` it.

    `Training.start` begins a new run; `Training.resume` takes one up again. Both seed every generator of the process,
    and hold the run for themselves until `train` returns or the process ends.
    """

    def __init__(self, task: Task, config: RecurrentSettings) -> None:
        self.task, self.config = task, config
        self.device = pick_device(config.device)
        _check_precision(config.precision, self.device)
        seed_everything(config.seed)
        self.experiment: Experiment = task.build(config, self.device)
        self.trainer = Trainer(self.experiment, config)
        self.begun = ""  # what the weights of a new run start from, in words
        self._held = ExitStack()

    @classmethod
    def start(cls, task: str, config: RecurrentSettings, name: str | None = None) -> "Training":
        """Begin a new run, named by `name` or by date, time and cell, and save it as it begins."""
        training = cls(TASKS[task], TASKS[task].settle(config))
        training.begun = training.experiment.begin()
        training._hold(new_run(task, training.config.label, name))
        training.session.save()
        return training

    @classmethod
    def resume(cls, run: Run, changes: dict[str, Any]) -> tuple["Training", str]:
        """Take a run up from its newest sound checkpoint; and a warning, or "".

        `changes` are settings given anew. Raises UsageError for one that would make it another run, and where the
        text it learned from has changed; RnnError while another process trains it.
        """
        with ExitStack() as held:
            held.enter_context(run.locked())
            found, warning = load_for_resume(run)
            task = TASKS[run.task]
            before = from_plain(task.Config, found.header["config"])
            check_limits(replace(before, **_allowed(before, changes)))
            training = cls(task, replace(before, **changes))
            if training.experiment.payload != found.header["payload"]:
                raise UsageError(f"the text that run {run.name} learned from has changed: start a new run")
            training._held = held.pop_all()
        training._sit_down(run)
        training.session.resume(found)
        return training, warning

    def train(self, listen: Callable[[Event], None], warn: Callable[[str], None]) -> None:
        """Train to the end; events and warnings as `Session.train`, which says what is raised."""
        with self._held:
            self.session.train(listen, warn)

    def _hold(self, run: Run) -> None:
        self._held.enter_context(run.locked())
        self._sit_down(run)

    def _sit_down(self, run: Run) -> None:
        self.run = run
        identity = {
            "task": self.task.name,
            "rnn": __version__,
            "config": plain(self.config),
            "monitor": self.experiment.monitor,
            "payload": dict(self.experiment.payload),
        }
        self.session = Session(self.trainer, run, identity)


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
