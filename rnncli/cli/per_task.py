"""The commands of a verb that has one for every task."""

from collections.abc import Callable, Mapping

from rnncli.cli.verb import Later, Verb
from rnncli.task import Task
from rnncli.tasks import TASKS, outline_of


def first_task() -> str:
    """The name of the task that a newcomer sees first."""
    return next(iter(TASKS))


def of_each_task(make: Callable[[Task], Verb], own: Mapping[str, Verb] | None = None) -> Later:
    """A verb's commands: those of `own`, then one per task; a task's module is imported when its command is called."""
    return Later(TASKS, lambda name: make(TASKS[name]), lambda name: outline_of(name).summary, own)
