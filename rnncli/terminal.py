"""All output to the terminal: control characters in text from files, names and models are escaped."""

import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO

_ACTING = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT, _IN_LINE = re.compile(f"[{_ACTING}]"), re.compile(f"[\t\n{_ACTING}]")


def escaped(text: str, *, one_line: bool = False) -> str:
    r"""Escape every character that acts on a terminal, such as `\x1b`.

    These are the control characters C0, DEL and C1, the line separators, the direction overrides (U+202A to U+202E,
    U+2066 to U+2069) and lone surrogates. Line feeds and tabs stay, unless `one_line`.
    """
    return (_IN_LINE if one_line else _IN_TEXT).sub(lambda found: ascii(found[0])[1:-1], text)


def counted(number: int, what: str) -> str:
    """`1 page`, `1,000 pages`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def write_text(text: str, *, flush: bool = False) -> None:
    """Write to standard output: escaped on a terminal, exact elsewhere."""
    if sys.stdout is not None:
        write_ready(escaped(text) if sys.stdout.isatty() else text, sys.stdout, flush=flush)


def write_message(text: str, *, before: str = "") -> None:
    """Write one line to standard error, always escaped; `before` precedes it unescaped.

    Errors of the terminal, which may be gone, are ignored.
    """
    if sys.stderr is not None:
        with suppress(OSError):
            write_ready(f"{before}{escaped(text, one_line=True)}\n", sys.stderr, flush=True)


@dataclass(frozen=True)
class Screen:
    """Standard error without its errors: a training run outlives its terminal.

    All instances are equal, so that tqdm clears a bar on one of them before it writes to another.
    """

    def write(self, text: str) -> None:
        if sys.stderr is not None:
            with suppress(OSError):
                sys.stderr.write(text)

    def flush(self) -> None:
        if sys.stderr is not None:
            with suppress(OSError):
                sys.stderr.flush()

    @property
    def encoding(self) -> str:
        return getattr(sys.stderr, "encoding", None) or "ascii"

    def isatty(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty()

    def has_width(self) -> bool:
        """Whether it is a terminal that reports its width; pseudo-terminals of scripts may report 0."""
        with suppress(OSError):
            return self.isatty() and os.get_terminal_size(self.fileno()).columns > 0
        return False

    def fileno(self) -> int:
        return sys.stderr.fileno()


SPARSE = 15.0
"""Seconds between two lines of a progress bar if standard error is not a terminal: a log needs few lines."""


def progress_bar(
    total: int | None,
    unit: str,
    what: str = "",
    *,
    done: int = 0,
    scaled: bool = False,
    delay: float = 0.0,
    leave: bool = True,
    shown: bool = True,
) -> Any:
    """A tqdm progress bar on standard error: `update` it, and `close` it or use it in a `with`.

    `total` and `done` count units, which `scaled` shows in thousands or millions. `delay` is in seconds: shorter work
    shows no bar. Without `leave` the bar disappears at its end; without `shown` it never appears.
    """
    if "ipykernel" in sys.modules:
        from tqdm.auto import tqdm  # a widget, in a notebook that has them
    else:
        from tqdm import tqdm  # imported here, since only long work needs it; `auto` would import asyncio

    screen = Screen()
    return tqdm(
        desc=escaped(what, one_line=True) or None,
        total=total,
        initial=done,
        unit=unit,
        unit_scale=scaled,
        file=screen,
        dynamic_ncols=screen.has_width(),
        mininterval=0.1 if screen.isatty() else SPARSE,
        maxinterval=10.0 if screen.isatty() else SPARSE,
        delay=delay,
        leave=leave,
        disable=not shown,
    )


def write_ready(text: str, stream: TextIO, *, flush: bool = False) -> None:
    """Write escaped text to a stream; characters that its encoding lacks are escaped as well."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    if flush:
        stream.flush()
