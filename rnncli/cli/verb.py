"""What a verb is: a function, commands below it, or both; built when it is asked for."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from rnncli.cli.spellings import with_old_spellings
from rnncli.plugins import warn_left_out

Commands = Callable[[], "Mapping[str, Verb]"]


@dataclass(frozen=True)
class Verb:
    """A command of `rnn`: a function whose annotated parameters are its arguments and flags, or commands below it.

    A verb with both runs the function before a command, and without one. Its help is the function's docstring, or
    `help`, and ends with the example.
    """

    run: Callable[..., None] | None = None
    example: str = ""
    help: str | None = None
    commands: Commands | None = None  # called when a command, or the list of them, is asked for
    Class: type[TyperCommand] = TyperCommand
    of_run: Callable[[str], str] | None = None  # from a run's name to the command for it, where no command is named

    def build(self, name: str) -> Any:
        """The command as Typer runs it."""
        epilog = f"Example: {self.example}"
        if not self.commands:
            app = typer.Typer(add_completion=False)
            run = self.run or _nothing
            app.command(name, cls=with_old_spellings(self.Class, run), help=self.help, epilog=epilog)(run)
        else:
            app = typer.Typer(add_completion=False, name=name, cls=group_of(self.commands, f"rnn {name}", self.of_run))
            alone = self.run is not None
            options: dict[str, Any] = {"no_args_is_help": not alone, "invoke_without_command": alone}
            if self.of_run:
                options["subcommand_metavar"] = "COMMAND|RUN [ARGS]..."
            app.callback(help=self.help, epilog=epilog, **options)(self.run or _nothing)
        return typer.main.get_command(app)


def group_of(commands: Commands, of: str, of_run: Callable[[str], str] | None = None) -> type[TyperGroup]:
    """The class of a group whose commands are those of a registry, in its order; `of_run` as in `Verb`."""

    class Group(TyperGroup):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.commands = _Built(commands, of)  # type: ignore[assignment]  # Typer only reads it

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            if of_run and args[0] not in self.commands:
                args = [of_run(args[0]), "--from", *args]
            return super().resolve_command(ctx, args)

        def list_commands(self, _ctx: Any) -> list[str]:
            return list(self.commands)

    return Group


class _Built(Mapping[str, Any]):
    """Commands by name, each built when it is looked up; one that cannot be built is a warning, and is left out."""

    def __init__(self, commands: Commands, of: str) -> None:
        self._commands, self._of, self._built = commands, of, dict[str, Any]()

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            verb = self._commands()[name]
            try:
                self._built[name] = verb.build(name)
            except Exception as error:
                if os.environ.get("RNN_DEBUG"):
                    raise
                self._built[name] = None
                warn_left_out(f"command `{self._of} {name}`", error)
        if self._built[name] is None:
            raise KeyError(name)
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands())

    def __len__(self) -> int:
        return len(self._commands())


def _nothing() -> None:
    """What a group does before its commands."""
