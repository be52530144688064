"""Verbs that work with models of several tasks: their flags, the model, and the options of its task."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from rnncli.cli.models import open_model
from rnncli.cli.options import Flags, command_of, union_of, with_stdin
from rnncli.cli.screen import AsJson, CellCode, Device, From, Named
from rnncli.data.texts import GivenTexts
from rnncli.errors import UsageError
from rnncli.settings import check_limits, flag_of
from rnncli.task import Task
from rnncli.tasks import TASKS, outline_of

if TYPE_CHECKING:
    from rnncli.api import Model


class Work(NamedTuple):
    """One action of a model: the model, the verb, and the options of the model's task."""

    trained: "Model"
    verb: str
    options: Any

    def do(self) -> Any:
        """Run the action; returns its result."""
        return self.trained.action(self.verb).run(self.trained, self.options)


def command_for(verb: str, body: Callable[..., None], **common: Any) -> Callable[..., None]:
    """A command that calls `body(work, as_json, **common)`; it has the flags of all tasks with the verb."""

    def command(
        flags: Flags, source: str | None, device: str, cell: str | None, as_json: bool = False, **own: Any
    ) -> None:
        body(open_work(verb, flags, source, device, cell, as_json=as_json), as_json=as_json, **own)

    command.__doc__ = body.__doc__
    return command_of(all_flags(verb), command, **common, **of_every_model())


def of_every_model() -> dict[str, tuple[Any, Any]]:
    """The flags of every verb that works with a model: annotations for Typer, and defaults."""
    return {"source": (From, None), "cell": (CellCode, None), "device": (Device, "auto"), "as_json": (AsJson, False)}


def of_one_task(Options: type) -> dict[str, tuple[Any, Any]]:
    """The flags of `of_every_model`, and the argument RUN if the options of a task have no argument."""
    has_argument = any(each.metadata.get("argument") for each in fields(Options))
    return ({} if has_argument else {"run": (Named, None)}) | of_every_model()


def command_of_run(verb: str, commands: Mapping[str, str], source: str) -> str:
    """The command of a verb for the model of a run; `commands` maps names of tasks to their commands.

    Raises UsageError for an unknown run, and for a model of another task.
    """
    from rnncli.api import task_of_model

    try:
        task = task_of_model(source, lambda task: task.name in commands)
    except UsageError as error:
        known = ", ".join(commands.values())
        raise UsageError(f"`rnn {verb} {source}`: there is no such command ({known}); {error}") from None
    if task not in commands:
        raise UsageError(f"{source} is a model of {task}, which has no {verb}")
    return commands[task]


def example_of(verb: str) -> str:
    """The example of the first task that has the verb."""
    return tasks_with(verb)[0].actions[verb].example


def tasks_with(verb: str) -> list[Task]:
    """The tasks whose models have the verb; imports no others."""
    return [TASKS[name] for name in TASKS if verb in outline_of(name).verbs]


def open_work(
    verb: str,
    flags: Flags,
    source: str | None,
    device: str,
    cell: str | None = None,
    only: Task | None = None,
    as_json: bool = False,
) -> Work:
    """Open the model that `--from` names, or the newest model, and make the options of its task.

    `only` is the required task of the model; without it any task with the verb will do. If all of these have the same
    options, invalid ones are refused before a model is loaded. Raises UsageError for a model without the verb, for a
    flag that its task lacks, and as `open_model`, `check_limits` and `GivenTexts.lines`.
    """
    flags = with_stdin(flags)
    kinds = {task.actions[verb].Options for task in ([only] if only else tasks_with(verb))}
    options = _checked(kinds.pop()(**flags)) if len(kinds) == 1 else None
    trained = open_model(verb, source, only or _has(verb), device=device, cell=cell, as_json=as_json)
    Options = trained.action(verb).Options
    if options is None:
        lacking = set(flags) - {each.name for each in fields(Options)}
        if lacking:
            flag = flag_of(next(name for name in flags if name in lacking))
            raise UsageError(
                f"{trained.source} is a model of {trained.task}, whose {verb} takes no {flag}: leave it out"
            )
        options = _checked(Options(**flags))
    return Work(trained, verb, options)


def _has(verb: str) -> Callable[[Task], bool]:
    return lambda task: verb in task.actions


def _checked(options: Any) -> Any:
    check_limits(options)
    if isinstance(options, GivenTexts):
        _ = options.lines
    return options


def all_flags(verb: str) -> type:
    """A dataclass with the options of all tasks for a verb."""
    return union_of(task.actions[verb].Options for task in tasks_with(verb))
