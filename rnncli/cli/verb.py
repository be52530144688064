"""Verbs: a function, commands below it, or both, built when the verb is called."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand

from rnncli.cli.completing import run_names
from rnncli.cli.helped import HELP_NAMES, HelpedCommand, HelpedGroup
from rnncli.cli.spellings import with_old_spellings
from rnncli.plugins import warn_left_out

Commands = Callable[[], "Mapping[str, Verb]"]


@dataclass(frozen=True)
class Verb:
    """A command of `rnn`: a function whose annotated parameters are its arguments and flags, or commands below it.

    A verb with both runs the function before a command, and without one. Its help is `help` or the function's
    docstring, with the example, or several examples on separate lines.
    """

    run: Callable[..., None] | None = None
    example: str = ""
    help: str | None = None
    commands: Commands | None = None  # called when a command, or the list of them, is needed
    Class: type[TyperCommand] = HelpedCommand
    of_run: Callable[[str], str] | None = None  # maps a run's name to its command, if no command is named

    @property
    def summary(self) -> str:
        """The first paragraph of its help, in one line."""
        return " ".join(self._text.partition("\n\n")[0].split())

    @property
    def _text(self) -> str:
        return cleandoc(self.help or getattr(self.run, "__doc__", None) or "")

    def build(self, name: str) -> Any:
        """The command for Typer."""
        shown: dict[str, Any] = {
            "help": self._text,
            "epilog": self.example,
            "context_settings": {"help_option_names": HELP_NAMES},
        }
        run = self.run or _nothing
        if not self.commands:
            app = typer.Typer(add_completion=False)
            app.command(name, cls=with_old_spellings(self.Class, run), **shown)(run)
        else:
            app = typer.Typer(add_completion=False, name=name, cls=group_of(self.commands, f"rnn {name}", self.of_run))
            runs = self.run is not None
            if self.of_run:
                shown["subcommand_metavar"] = "COMMAND|RUN [ARGS]..."
            app.callback(no_args_is_help=not runs, invoke_without_command=runs, **shown)(run)
        command: Any = typer.main.get_command(app)
        command.expert = getattr(run, "expert", ())
        return command


class Later(Mapping[str, Verb]):
    """Commands by name, each made when it is looked up: those of `own`, then those that `make` makes from `names`.

    `summary` gives the summary of a command before the command is made.
    """

    def __init__(
        self,
        names: Iterable[str],
        make: Callable[[str], Verb],
        summary: Callable[[str], str],
        own: Mapping[str, Verb] | None = None,
    ) -> None:
        self._names, self._make, self._summary, self._own = names, make, summary, own or {}

    def __getitem__(self, name: str) -> Verb:
        return self._own[name] if name in self._own else self._make(name)

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from self._names

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def summary(self, name: str) -> str:
        """The summary of a command; makes nothing."""
        return self._own[name].summary if name in self._own else self._summary(name)


class Completed(NamedTuple):
    """A word for the shell's completion, in the form that Typer prints."""

    value: str
    help: str | None = None


def group_of(commands: Commands, of: str, of_run: Callable[[str], str] | None = None) -> type[HelpedGroup]:
    """The class of a group whose commands are those of a registry, in its order; `of_run` as in `Verb`."""

    class Group(HelpedGroup):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.commands = _Built(commands, of)  # type: ignore[assignment]  # Typer only reads it

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            if of_run and args[0] not in self.commands:
                args = [of_run(args[0]), "--from", *args]
            return super().resolve_command(ctx, args)

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            return super().parse_args(ctx, self._command_first(ctx, args) if of_run else args)

        def _command_first(self, ctx: Any, args: list[str]) -> list[str]:
            """The words of a command line with flags moved behind the command or the run that they belong to."""
            _, rest, _ = self.make_parser(ctx).parse_args(args=[*args])
            flags = args[: len(args) - len(rest)]
            return [*rest[:1], *flags, *rest[1:]] if rest else args

        def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
            if incomplete.startswith("-"):
                return super().shell_complete(ctx, incomplete)
            listed = [Completed(*row) for row in self.summaries()]
            listed += [Completed(name) for name in run_names()] if of_run else []
            return [each for each in listed if each.value.startswith(incomplete)]

        def list_commands(self, _ctx: Any) -> list[str]:
            return list(self.commands)

        def summaries(self) -> Iterator[tuple[str, str]]:
            found = commands()
            for name in found:
                yield name, found.summary(name) if isinstance(found, Later) else found[name].summary

    return Group


class _Built(Mapping[str, Any]):
    """Commands by name, each built when it is looked up; a command that cannot be built is left out with a warning."""

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
    """A group without a function of its own does nothing before its commands."""
