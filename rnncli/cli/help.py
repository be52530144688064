"""`rnn help [VERB [TASK]]`: the help of a command, by name."""

from typing import Annotated

import typer

from rnncli.cli.helped import print_help
from rnncli.cli.verb import Verb
from rnncli.errors import UsageError


def show_help(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="VERB", help="A verb, then a task or another command of the verb.", show_default=False),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Print all flags, like --help-all.")] = False,
) -> None:
    """Print the help of a verb or a task; without a name, that of rnn."""
    found = context.find_root()
    for name in names or []:
        group = found.command
        if not isinstance(group, typer.core.TyperGroup):
            raise UsageError(f"{found.command_path} has no commands: leave {name!r} out")
        _, command, _ = group.resolve_command(found, [name])
        assert command is not None, "only completion continues without a command"
        found = command.make_context(name, [], parent=found, resilient_parsing=True)
    print_help(found, folded=not every)


VERB = Verb(show_help, "rnn help train")
