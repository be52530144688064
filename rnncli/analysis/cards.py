"""What notebooks show of an object: a heading, facts in a table, and a picture; every text is escaped."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from rnncli.analysis.plots import png_of
from rnncli.terminal import escaped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 560
"""Pixels of a picture."""


def card(title: str, facts: Mapping[str, object], figure: "Figure | None" = None) -> str:
    """HTML: a heading, facts by name, and a picture."""
    rows = [[name, shown(value)] for name, value in facts.items()]
    return f"<div><b>{escape(title)}</b>{table((), rows)}{'' if figure is None else image(figure)}</div>"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """HTML: a table, its text on the left."""
    head = "".join(f'<th style="text-align:left">{escape(shown(each))}</th>' for each in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{escape(shown(cell))}</td>' for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table>{f'<thead><tr>{head}</tr></thead>' * bool(head)}<tbody>{body}</tbody></table>"


def image(figure: "Figure") -> str:
    """HTML: a picture, inline."""
    data = base64.b64encode(png_of(figure)).decode()
    return f'<img width="{_WIDTH}" alt="" src="data:image/png;base64,{data}">'


def shown(value: object) -> str:
    """A value as people read it: numbers with four digits, thousands with commas."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def lines(title: str, facts: Mapping[str, object]) -> str:
    """Plain text: a title, and a line for each fact, at most 100 characters wide; nothing in it acts on a terminal."""
    size = max(map(len, facts), default=0)
    rows = [title, *(f"  {name:{size}}  {shown(value)}" for name, value in facts.items())]
    return "\n".join(clipped(row) for row in rows)


def clipped(text: str, width: int = 100) -> str:
    """One line of a text, escaped for a terminal, and cut."""
    text = escaped(text, one_line=True)
    return text if len(text) <= width else f"{text[: width - 1]}…"
