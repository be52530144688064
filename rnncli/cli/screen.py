"""The output of all verbs: notes on standard error, tables or one JSON object on standard output."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnncli.cli.completing import complete_run, completion
from rnncli.errors import UsageError
from rnncli.launch import LAUNCHED
from rnncli.settings import DEVICES
from rnncli.terminal import escaped, write_message, write_ready, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from rnncli.analysis.plots import Picture
    from rnncli.api import Model

MAX_MISSING = 30
"""The maximum number of letters in a warning about fonts."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="The model: a run's name or folder, or a file. (default: the newest)",
        autocompletion=complete_run,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help=f"Where to compute: {', '.join(DEVICES)}; auto: CUDA if available, except for tiny nets.",
        autocompletion=completion(DEVICES),
    ),
]
"""The flag of every verb that computes with a trained model."""

CellCode = Annotated[
    str | None,
    typer.Option(
        "--cell",
        metavar="PATH.py:CLASS",
        help="The code of the model's cell, if it is from outside: it runs only if you name it.",
    ),
]

Named = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="The model: a run's name or folder, or a file; the same as --from.",
        autocompletion=complete_run,
    ),
]


def note(text: str) -> None:
    """Print a line in addition to the result, on standard error."""
    write_message(text)


def warn(text: str) -> None:
    """Print a warning, one line on standard error."""
    write_message(f"rnn: warning: {text}")


def note_picture(picture: "Picture") -> None:
    """Print the path of a picture, and a warning if letters of it could not be drawn."""
    note(f"picture {picture}")
    warn_missing(picture)


def warn_missing(picture: "Picture") -> None:
    """Print a warning about letters that no font of this machine has."""
    if picture.missing:
        from rnncli.data.text import visible

        shown = visible(picture.missing[:MAX_MISSING]) + "…" * (len(picture.missing) > MAX_MISSING)
        warn(f"{picture}: no font here has {shown}: they are drawn as boxes; install a font such as Noto Sans")


def origin(trained: "Model") -> str:
    """The model in use, its training text, and its device."""
    return f"from {trained.source} ({trained.payload['corpus']}), on {trained.device}"


def named(run: str | None, source: str | None) -> str | None:
    """The model that RUN or --from names, if any; raises UsageError if both are given."""
    if run is not None and source is not None:
        raise UsageError("RUN and --from both name the model: give one of them")
    return run if source is None else source


def check_html(flag: str, file: "Path | None") -> None:
    """Raise UsageError for a page whose name does not end in .html."""
    if file is not None and file.suffix not in (".html", ".htm"):
        raise UsageError(f"{flag} {file}: end its name in .html")


def print_json(value: Any) -> None:
    """Print one JSON object on one line; numbers that JSON lacks become null."""
    from rnncli.records import json_line

    print_text(json_line(value))


def print_text(text: str = "", *, end: str = "\n", flush: bool = False) -> None:
    """Print text to standard output: unchanged to a pipe, escaped on a terminal."""
    write_text(text + end, flush=flush)


def print_styled(pieces: Iterable[tuple[str, str]]) -> None:
    """Print a line of (text, style) pairs: with rich's styles if `in_colours`, otherwise as plain text."""
    if not in_colours():
        print_text("".join(text for text, _ in pieces))
        return
    from rich.text import Text

    line = Text()
    for text, style in pieces:
        line.append(escaped(text), style)
    _print_rich(line, soft_wrap=True)


def in_colours() -> bool:
    """Whether standard output shows colours."""
    console = _console()
    return console.is_terminal and console.color_system is not None and not console.no_color


MAX_NAMED = 20
"""The maximum number of unknown tokens in a message."""


def note_unknown(tokens: Sequence[str]) -> None:
    """Print the tokens of a user's text that the model never saw; escapes those that are not printable."""
    if tokens:
        named = [token.strip() or token for token in tokens[:MAX_NAMED]]
        shown = ", ".join(token if token.isprintable() else repr(token) for token in named)
        more = f" and {len(tokens) - MAX_NAMED:,} more" if len(tokens) > MAX_NAMED else ""
        note(f"never seen in training: {shown}{more}")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> None:
    """Print a table, with numbers aligned to the right; only the width of a terminal limits its lines."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if title:
        print_text(title)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for place, column in enumerate(columns):
        numeric = all(isinstance(row[place], int | float) or row[place] is None for row in rows)
        table.add_column(Text(escaped(column)), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(escaped(figure(value))) for value in row))
    _print_rich(table)


def _print_rich(what: Any, **options: Any) -> None:
    """Print an object of rich, whose text is already escaped."""
    console = _console()
    with console.capture() as rendered:
        console.print(what, **options)
    if sys.stdout is not None:
        write_ready(rendered.get(), sys.stdout)


def _console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout is not None and sys.stdout.isatty() else 400, highlight=False, markup=False)


class Questions:
    """Whether this command line may ask: not with --no-input."""

    allowed = True


QUESTIONS = Questions()


def can_ask() -> bool:
    """Whether someone at a terminal would read a question and the answer's result."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return QUESTIONS.allowed and LAUNCHED not in os.environ and all(each and each.isatty() for each in streams)


def confirm(question: str, *, default: bool = False) -> bool:
    """Ask a yes-or-no question, where Enter means the default.

    Raises typer.Abort for an interrupt, UsageError with --no-input and where the input ends without an answer.
    """
    if not QUESTIONS.allowed:
        raise UsageError(f"--no-input leaves this question open: {question} Add --yes")
    try:
        return typer.confirm(escaped(question, one_line=True), default=default)
    except typer.Abort as abort:
        if not isinstance(abort.__context__, EOFError) or can_ask():
            raise
        print_text()  # ends the line of the question
        raise UsageError(f"nobody answers this question: {question} Add --yes") from None


def figure(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"
    return str(value)


def size(count: int) -> str:
    """A number of bytes for people."""
    if count < 1000:
        return f"{count} B"
    amount, units = count / 1000, ["kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.1f} {units[0]}"


def metrics_rows(metrics: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Metrics as rows of a table."""
    return [(name.replace("_", " "), value) for name, value in metrics.items()]
