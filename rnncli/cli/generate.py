"""`rnn generate`: new text from a trained language model."""

from collections.abc import Callable
from typing import Any

import typer

from rnncli.cli.options import Flags, command_of
from rnncli.cli.screen import AsJson, From, load_model, note, print_json
from rnncli.tasks import TASKS
from rnncli.tasks.base import Action, Task
from rnncli.training.settings import check_limits

verb = typer.Typer(help="Write new text.", epilog="Example: rnn generate poetry --lines 8", no_args_is_help=True)


def _verb(task: Task, action: Action) -> Callable[..., None]:
    def generate(flags: Flags, source: str | None, as_json: bool) -> None:
        options = action.Options(**flags)
        check_limits(options)
        trained = load_model(source, task.name)
        note(f"from {trained.source} ({trained.payload['corpus']})")
        _show(action.run(trained, options), str(trained.source), as_json)

    generate.__doc__ = f"Write with a model of {task.name}."
    return command_of(action.Options, generate, source=(From, None), as_json=(AsJson, False))


def _show(written: Any, source: str, as_json: bool) -> None:
    if written.unknown:
        note(f"never seen in training: {', '.join(written.unknown)}")
    if as_json:
        print_json({"checkpoint": source, **written.facts})
        return
    for piece in written.pieces:
        print(piece, end="", flush=True)
    note(written.remark)


for _task in TASKS.values():
    if "generate" in _task.uses:
        _action = _task.uses["generate"]
        verb.command(_task.name.removesuffix("-lm"), epilog=f"Example: {_action.example}")(_verb(_task, _action))
