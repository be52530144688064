"""`rnn generate`: new text from a trained language model."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import typer

from rnncli.cli.actions import (
    Work,
    all_flags,
    command_of_run,
    example_of,
    of_every_model,
    of_one_task,
    open_work,
    tasks_with,
)
from rnncli.cli.options import Flags, command_of
from rnncli.cli.screen import named, note, note_unknown, origin, print_json, print_text
from rnncli.cli.verb import Verb
from rnncli.task import Task


def of_any_task(
    flags: Flags, context: typer.Context, source: str | None, device: str, cell: str | None, as_json: bool
) -> None:
    """Write new text with the model that --from names, or with the newest model of a task."""
    if context.invoked_subcommand is None:
        _write(open_work("generate", flags, source, device, cell, as_json=as_json), as_json)


def of_task(task: Task) -> Callable[..., None]:
    """The command for the models of one task."""

    def generate(
        flags: Flags, source: str | None, device: str, cell: str | None, as_json: bool, run: str | None = None
    ) -> None:
        _write(open_work("generate", flags, named(run, source), device, cell, task, as_json), as_json)

    Options = task.actions["generate"].Options
    generate.__doc__ = f"Write with a model of {task.name}."
    return command_of(Options, generate, **of_one_task(Options))


def _write(work: Work, as_json: bool) -> None:
    """Write with the options of the model's task; with `--novelty`, report how much of the text is new."""
    trained, options = work.trained, work.options
    note(origin(trained))
    novel = getattr(options, "novelty", False)
    if novel:
        trained.check_readable("leave --novelty out")
    written = work.do()
    note_unknown(written.unknown)
    if not as_json:
        for piece in written.pieces:
            print_text(piece, end="", flush=True)
        note(written.remark)
    facts: dict[str, Any] = {"task": trained.task, "checkpoint": str(trained.source), **written.facts}
    if novel:
        from rnncli.analysis.novelty import novelty

        found = novelty(trained, written.tokens)
        facts["novelty"] = found._asdict()
        note(found.remark)
    if as_json:
        print_json(facts)


def _by_task() -> dict[str, Verb]:
    tasks = tasks_with("generate")
    return {task.called: Verb(of_task(task), task.actions["generate"].example) for task in tasks}


_options = all_flags("generate")
_words = [each.name for each in fields(_options) if each.metadata.get("argument")]  # a task's name has that place
VERB = Verb(
    command_of(_options, of_any_task, without=_words, context=(typer.Context, None), **of_every_model()),
    example_of("generate"),
    help="Write new text: `rnn generate RUN`, or with the newest model of a task.",
    commands=_by_task,
    of_run=lambda run: command_of_run("generate", {task.name: task.called for task in tasks_with("generate")}, run),
)
