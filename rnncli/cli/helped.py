"""Help in our own layout: Typer's help imports Markdown and tracebacks, which take longer than everything else."""

import inspect
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup

from rnncli.cli.screen import QUESTIONS, print_styled, print_text
from rnncli.errors import UsageError

HELP_NAMES = ["-h", "--help"]

MAX_WIDTH = 100
"""The maximum width of help: longer lines are hard to read."""

NAME_WIDTH = 26
"""Columns for the names; a longer name gets its own line."""

PLACEHOLDERS = {int: "N", float: "X", Path: "PATH", "integer": "N", "float": "X", "path": "PATH"}
"""The placeholder of a flag's value, by its type, or by the name that Typer before 0.29 has for it; TEXT for others."""

CAN_BE_EMPTY = ("prime", "texts")
"""The parameters that may be empty, or whose own check says why not."""

OPTIONS = "Options"
"""The heading of the flags that every verb has."""

Line = tuple[str, str]
"""A line of help, and its first part: a name or a heading."""


class Helped:
    """The common part of commands and groups: `-h`, `--help` and `--help-all`, which print our own help."""

    expert: Collection[str] = ()
    """The parameters that only `--help-all` prints."""

    _own: "tuple[Any, Any, Any] | None" = None

    def get_help_option(self, ctx: Any) -> Any:
        return self._help_options(ctx)[0]

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = [*super().get_params(ctx), *self._help_options(ctx)[1:]]  # type: ignore[misc]  # of a mixin
        for each in params:
            if not each.expose_value and each.default is None and each.is_flag:
                each.default = False  # with None Typer imports pydantic, which takes longer than all the rest
        return params

    def get_help(self, ctx: Any) -> str:
        """Print the help; returns no text, so that nothing prints it again."""
        print_help(ctx)
        return ""

    def _help_options(self, ctx: Any) -> tuple[Any, Any, Any]:
        """-h, --help-all and --no-input, always the same objects, as Typer needs them."""
        if self._own is None:
            short = super().get_help_option(ctx)  # type: ignore[misc]  # the base class is the other parent
            short.opts, short.help = [*HELP_NAMES], "Print this help."
            full = copy(short)
            full.opts, full.name, full.help = ["--help-all"], "help_all", "Print the help of all flags."
            short.callback, full.callback = _printing(), _printing(folded=False)
            quiet = copy(short)
            quiet.opts, quiet.name, quiet.help = ["--no-input"], "no_input", "Ask no question: fail instead."
            quiet.callback, quiet.is_eager, quiet.hidden = _forbid_questions, False, ctx.parent is not None
            self._own = short, full, quiet
        return self._own


class HelpedCommand(Helped, TyperCommand):
    """A command with our help, which refuses empty values: a path of no letters would mean the current folder."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "" in args or any(word.endswith("=") for word in args):
            self._check_values(ctx, args)
        return super().parse_args(ctx, args)

    def _check_values(self, ctx: Any, args: list[str]) -> None:
        """Raise UsageError for an empty value of a parameter, except of `CAN_BE_EMPTY`."""
        values, _, params = self.make_parser(ctx).parse_args(args=[*args])
        for param in params:
            value = values.get(param.name)
            if param.name not in CAN_BE_EMPTY and (value == "" or (isinstance(value, list | tuple) and "" in value)):
                option = param.param_type_name == "option"
                raise UsageError(f"{param.opts[0] if option else _name(param)} is empty: give it a value")


class HelpedGroup(Helped, TyperGroup):
    """A group with our help."""

    def summaries(self) -> Iterator[tuple[str, str]]:
        """Its commands, each with its summary."""
        yield from ()


def _printing(*, folded: bool = True) -> Callable[[Any, Any, bool], None]:
    def show(ctx: Any, _param: Any, given: bool) -> None:
        if given and not ctx.resilient_parsing:
            print_help(ctx, folded=folded)
            ctx.exit()

    return show


def _forbid_questions(ctx: Any, _param: Any, given: bool) -> None:
    """Note --no-input, which every command accepts and the help of `rnn` lists."""
    if given or ctx.parent is None:
        QUESTIONS.allowed = not given


def print_help(ctx: Any, *, folded: bool = True) -> None:
    """Print the help of a context's command, with `folded` without its expert flags."""
    width = min(MAX_WIDTH, shutil.get_terminal_size((80, 24)).columns) - 1
    coloured = sys.stdout is not None and sys.stdout.isatty()
    for line, name in _lines(ctx, width, folded):
        if coloured:
            print_styled([(name, "bold" if name == line else "cyan"), (line[len(name) :], "")])
        else:
            print_text(line)


def _lines(ctx: Any, width: int, folded: bool) -> Iterator[Line]:
    """The help of a command, line by line."""
    command = ctx.command
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    yield from _paragraph(f"Usage: {usage}", width, "       ")
    yield from _paragraph(inspect.cleandoc(command.help or ""), width)
    yield from _examples(command.epilog or "")
    hidden = command.expert if folded else ()
    params = [each for each in command.get_params(ctx) if each.name not in hidden]
    for title, members in _panels(params).items():
        rows = [(_name(each), _text(each)) for each in members if each.name != "help_all"]
        if hidden and title == OPTIONS:
            rows.append(("--help-all", f"Print all flags: {len(hidden)} more, for tuning."))
        yield from _table(title, rows, width)
    if isinstance(command, HelpedGroup):
        yield from _table("Commands", list(command.summaries()), width)


def _paragraph(text: str, width: int, indent: str = "") -> Iterator[Line]:
    for number, paragraph in enumerate(text.split("\n\n") if text else []):
        if number or not indent:
            yield "", ""
        for line in _wrapped(paragraph, width, indent):
            yield line, ""


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()), width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def _examples(text: str) -> Iterator[Line]:
    """One example on the line of its heading, or several below it."""
    lines = text.splitlines()
    if lines:
        yield "", ""
        if len(lines) == 1:
            yield f"Example: {lines[0]}", "Example:"
        else:
            yield "Examples:", "Examples:"
            yield from ((f"  {line}", "") for line in lines)


def _panels(params: Sequence[Any]) -> dict[str, list[Any]]:
    """Parameters by the title of their panel: arguments first, flags without a panel last."""
    titled: dict[str, list[Any]] = {"Arguments": []}
    plain: list[Any] = []
    for each in params:
        if each.param_type_name == "argument":
            titled["Arguments"].append(each)
        elif each.rich_help_panel:
            titled.setdefault(each.rich_help_panel, []).append(each)
        elif not each.hidden:
            plain.append(each)
    return {title: members for title, members in {**titled, OPTIONS: plain}.items() if members}


def _table(title: str, rows: Sequence[tuple[str, str]], width: int) -> Iterator[Line]:
    """Names and texts in two columns below a heading."""
    if not rows:
        return
    yield "", ""
    yield f"{title}:", f"{title}:"
    column = min(NAME_WIDTH, max(len(name) for name, _ in rows) + 4)
    for name, text in rows:
        lines = _wrapped(text, width - column)
        shown = f"  {name}"
        if len(shown) > column - 2:
            yield shown, shown
        else:
            first = lines.pop(0) if lines else ""
            yield f"{shown:{column}}{first}".rstrip(), shown
        for line in lines:
            yield " " * column + line, ""


def _name(param: Any) -> str:
    """A flag with the placeholder of its value, or an argument's name."""
    if param.param_type_name == "argument":
        return str(param.metavar or param.name.upper())
    flags = ", ".join(sorted(param.opts, key=len))
    if param.is_flag:
        return f"--[no-]{flags[2:]}" if param.secondary_opts else flags
    described = getattr(param, "type_descriptor", None)
    kind = param.type.name.removesuffix(" range") if described is None else described.annotation
    return f"{flags} {param.metavar or PLACEHOLDERS.get(kind, 'TEXT')}"


def _text(param: Any) -> str:
    """The help of a parameter, and its default, unless the text has it."""
    text, default = str(param.help or ""), param.default
    if param.is_flag if hasattr(param, "is_flag") else False:
        return text
    return text if default in (None, "", ()) else f"{text} (default: {default})"
