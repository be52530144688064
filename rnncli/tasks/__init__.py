"""The tasks, one file each; `OUTLINES` registers them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rnncli.errors import UsageError
from rnncli.plugins import Registry
from rnncli.settings import did_you_mean
from rnncli.task import Task


class Outline(NamedTuple):
    """The description of a task that help shows before the task's module is imported."""

    summary: str
    verbs: tuple[str, ...]  # verbs of its models, except evaluate


WRITES = ("generate", "score", "activations")
"""The verbs of a language model."""

OUTLINES: Mapping[str, Outline] = {
    "parity": Outline("Learn whether the number of ones so far is odd.", ("activations",)),
    "poetry-lm": Outline("Learn verse line by line, and write more of it.", WRITES),
    "poetry-classify": Outline(
        "Learn whose line it is: Frost's or Poe's, or any labels of your own.", ("classify", "activations")
    ),
    "tag": Outline("Learn a label for every word of a sentence.", ("tag", "activations")),
    "wiki-lm": Outline("Learn running prose, of any size, sentence by sentence.", WRITES),
    "char-lm": Outline("Learn running text letter by letter, and write more of it.", WRITES),
    "translate": Outline("Learn to translate sentences, or dates into ISO 8601.", ("translate",)),
}
"""rnn's own tasks, in the order in which help shows them."""

TASKS: Registry[Task] = Registry(
    "rnncli.tasks", Task, {name: f"{__name__}.{name.replace('-', '_')}:TASK" for name in OUTLINES}
)
"""All tasks by name, each imported when it is looked up."""

FIRST_STEPS = """rnn train parity
rnn train char-lm --corpus mine.txt
rnn generate char --prime "The " """.rstrip()
"""The examples of `rnn --help`."""


def outline_of(name: str) -> Outline:
    """The outline of a task; does not import rnn's own tasks. Raises KeyError for an unknown name."""
    if TASKS.is_pending(name):
        return OUTLINES[name]
    task = TASKS[name]
    return Outline(task.summary, tuple(task.uses))


def named_task(name: str) -> Task:
    """The task of a name; raises UsageError, with the nearest name, for an unknown one."""
    if name not in TASKS:
        near = did_you_mean(name, TASKS)
        raise UsageError(f"there is no task {name!r}: {near or 'the tasks are ' + ', '.join(TASKS)}")
    return TASKS[name]


def task_of(header: Mapping[str, Any], source: Path) -> Task:
    """The task that a checkpoint's header names; raises UsageError for an unknown task."""
    name = header.get("task")
    if not isinstance(name, str) or name not in TASKS:
        raise UsageError(
            f"{source} is a model of {str(name)[:200]!r}, a task that neither this version nor an installed package has"
        )
    return TASKS[name]
