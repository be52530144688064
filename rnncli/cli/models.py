"""The model that a verb works on: the one that is named, the newest that can do the work, or a new one on request."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import rnncli
from rnncli.cli.screen import can_ask, confirm, note
from rnncli.task import Quick, Task
from rnncli.tasks import TASKS

if TYPE_CHECKING:
    from rnncli.api import Model
    from rnncli.training.runs import Run


def open_model(
    verb: str,
    source: str | None,
    fits: Task | Callable[[Task], bool],
    *,
    words: Sequence[str] = (),
    example: Sequence[str] = (),
    device: str = "cpu",
    cell: str | None = None,
    as_json: bool = False,
) -> "Model":
    """Load the model that `source` names, or the newest one of a task that fits, and print which where it is a choice.

    With `words`, its vocabulary must have them all, if any model or embedded corpus has. If there is no model, and
    someone can answer on the terminal, offer to train one on embedded data, which has the words of the `example`.
    Raises as `rnncli.load`.
    """
    from rnncli.api import pick_device

    task, suits = (fits.name, None) if isinstance(fits, Task) else (None, fits)
    if source is not None:
        return rnncli.load(source, task, suits=suits, device=device, cell=cell)
    pick_device(device)  # refuses an unavailable device before anything is read or trained
    tasks = [each for each in TASKS.values() if (suits(each) if suits else each.name == task)]
    run = _newest(verb, tasks, words) or _trained_now(verb, tasks, words, example, as_json) or _newest(verb, tasks, ())
    if run is None:
        return rnncli.load(None, task, suits=suits, device=device, cell=cell)  # raises NoModelError
    return rnncli.load(run.folder, run.task, device=device, cell=cell)


def _newest(verb: str, tasks: Sequence[Task], words: Sequence[str]) -> "Run | None":
    """The newest run of these tasks whose vocabulary has all the words; prints it if there are other runs."""
    from rnncli.training.runs import runs_to_use

    runs = [run for run in runs_to_use() if run.task in {task.name for task in tasks}]
    run = next((run for run in runs if not words or run.read(_has(words))), None)
    if run is not None and len(runs) > 1 and len(tasks) > 1:
        why = f"that has {_named(words)}" if words else f"for `rnn {verb}`"
        note(f"model: {run.task}/{run.name} (newest {why})")
    return run


def _has(words: Sequence[str]) -> "Callable[..., bool]":
    """Whether a checkpoint's header lists the words, each as written or in lower case."""

    def read(header: "dict[str, dict[str, list[str]]]") -> bool:
        known = set(header["payload"]["vocabulary"])
        return all(word in known or word.lower() in known for word in words)

    return read


def _named(words: Sequence[str]) -> str:
    return f"the word{'s' * (len(words) > 1)} {', '.join(words)}"


def _trained_now(
    verb: str, tasks: Sequence[Task], words: Sequence[str], example: Sequence[str], as_json: bool
) -> "Run | None":
    """A run of a quick training, if it is wanted; None if there is none for the words.

    Raises NoModelError, which names the training, if nobody can answer or the answer is no.
    """
    from rnncli.training.runs import NoModelError, runs_place

    task = _quickest(tasks, words or example)
    if task is None or task.quick is None:
        return None
    of_one = f"model of {task.name}" if len(tasks) == 1 else f"model for `rnn {verb}`"
    lacking = f"model that has {_named(words)}" if words else of_one
    missing, command = f"there is no {lacking} in {runs_place()} yet", task.quick.command(task.name)
    question = f"{missing}: train one now (`{command}`, about {task.quick.seconds} s)?"
    if as_json or not can_ask() or not confirm(question, default=True):
        raise NoModelError(f"{missing}: run `rnn train {task.name}` first")
    return _train(task, task.quick)


def _quickest(tasks: Sequence[Task], words: Sequence[str]) -> Task | None:
    """The task whose quick training is the shortest among those whose corpus has the words."""
    quick = [(each.quick.seconds, place) for place, each in enumerate(tasks) if each.quick and each.quick.has(words)]
    return tasks[min(quick)[1]] if quick else None


def _train(task: Task, quick: Quick) -> "Run":
    from rnncli.api import Training
    from rnncli.cli.train import follow
    from rnncli.presets import resolve

    training = Training.start(task.name, resolve(task, {"corpus": quick.corpus} if quick.corpus else {}))
    follow(training, resumed=False)
    return training.run
