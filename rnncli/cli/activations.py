"""`rnn activations`: the value of each unit of a net on a text, and the features that units track."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnncli.cli.actions import all_flags, example_of, of_every_model, open_work
from rnncli.cli.options import Flags, command_of
from rnncli.cli.screen import (
    Named,
    check_html,
    in_colours,
    named,
    note,
    origin,
    print_json,
    print_styled,
    print_table,
    print_text,
)
from rnncli.cli.verb import Verb
from rnncli.data.text import visible
from rnncli.files import write_file

if TYPE_CHECKING:
    from rnncli.analysis.activations import Ranking, Unit
    from rnncli.api import Model

MARKS = ((-0.6, "="), (-0.2, "-"), (0.2, " "), (0.6, "+"), (float("inf"), "#"))
"""The marks below tokens where there are no colours, by the value divided by the unit's greatest."""

WARM, COLD = (214, 96, 36), (38, 108, 196)
"""The colours of positive and of negative values, as red, green and blue."""


UnitNames = Annotated[
    list[str] | None, typer.Option(help="Show this unit, such as h1:5; may be repeated. (default: the best unit)")
]
Top = Annotated[int, typer.Option(min=1, help="Number of units in the table.")]
States = Annotated[
    Path | None, typer.Option(help="Write all states: FILE.npz, or FILE.h5 with the files of LSTMVis next to it.")
]
Html = Annotated[Path | None, typer.Option(help="Write a page: the text in the colours of the unit that you click.")]


def activations(
    flags: Flags,
    run: str | None,
    unit: list[str] | None,
    top: int,
    states: Path | None,
    html: Path | None,
    source: str | None,
    device: str,
    cell: str | None,
    as_json: bool,
) -> None:
    """Show the units of a net on a text: those that track lines, words, quotes, … come first."""
    from rnncli.analysis.activations import rank
    from rnncli.analysis.states import states_writer

    source = named(run, source)
    write = states and states_writer(states)
    check_html("--html", html)
    work = open_work("activations", flags, source, device, cell, as_json=as_json)
    trained = work.trained
    ranking = rank(work.do())
    shown = [ranking.unit(name) for name in unit or ()] or ranking.units[:1]
    files = write(ranking.recording, f"{trained.task}, {trained.source.parent.name}") if write else []
    if html is not None:
        from rnncli.analysis.report import document, units_panel

        write_file(html, document(trained, [units_panel(ranking)], "rnn activations").encode())
        files.append(html)
    if as_json:
        print_json(_facts(trained, ranking, shown, top) | {"files": [str(file) for file in files]})
        return
    note(origin(trained))
    _show(ranking, shown, top)
    for file in files:
        note(f"written: {file}")


def _facts(trained: "Model", ranking: "Ranking", shown: "list[Unit]", top: int) -> dict[str, Any]:
    return {
        "task": trained.task,
        "corpus": trained.payload["corpus"],
        "checkpoint": str(trained.source),
        "tokens": len(ranking.recording.pieces),
        "units": len(ranking.names),
        "best": [each._asdict() for each in ranking.units[:top]],
        "features": {each.tracks: {"name": each.name, "r": each.r} for each in ranking.best},
        "text": ranking.recording.pieces,
        "values": {each.name: ranking.of(each).tolist() for each in shown},
    }


def _show(ranking: "Ranking", shown: "list[Unit]", top: int) -> None:
    """Print tables of the best units, and the text in the colours of the selected units."""
    rows = [(each.tracks, each.name, each.r) for each in ranking.best]
    if rows:
        print_table(("feature", "best unit", "correlation"), rows)
    best = [(each.name, each.tracks or None, each.r) for each in ranking.units[:top]]
    print_table(("unit", "follows", "correlation"), best)
    coloured = in_colours()
    for each in shown:
        values = ranking.of(each)
        follows = f", {each.r:+.2f} with {each.tracks}" if each.tracks else ""
        print_text(f"unit {each.name}{follows}; {values.min():+.2f} to {values.max():+.2f}")
        scaled = (values / max(1e-9, float(abs(values).max()))).tolist()
        if coloured:
            print_styled(_on_colours(ranking.recording.pieces, scaled))
        else:
            print_text(with_marks(ranking.recording.pieces, scaled))


def _on_colours(pieces: list[str], scaled: list[float]) -> Iterator[tuple[str, str]]:
    """A text on the colours of a unit, stronger for values farther from 0; positive is warm, negative cold."""
    for piece, value in zip(pieces, scaled, strict=True):
        strength, hue = min(1.0, abs(value)), WARM if value > 0 else COLD
        red, green, blue = (round(255 + (part - 255) * strength) for part in hue)
        ink = "white" if strength > 0.6 else "black"
        body, ends = piece.rstrip("\n"), piece[len(piece.rstrip("\n")) :]
        yield visible(body, keep=" "), f"{ink} on rgb({red},{green},{blue})"
        yield ends, ""


def with_marks(pieces: list[str], scaled: list[float]) -> str:
    """The lines of a text, each with a line of marks below it: `#` and `+` are positive, `=` and `-` negative."""
    from rich.cells import cell_len  # a Chinese character takes two cells of a terminal, a combining mark none

    above, below = "", ""
    for piece, value in zip(pieces, scaled, strict=True):
        body, ends = piece.rstrip("\n"), piece[len(piece.rstrip("\n")) :]
        mark = next(sign for limit, sign in MARKS if value < limit)
        shown = visible(body, keep=" ") or "↵" * bool(ends)
        blanks = len(shown) - len(shown.lstrip(" ")) if shown.strip() else 0
        above += shown + ends
        below += " " * blanks + mark * (cell_len(shown) - blanks) + ends
    lines = zip(above.split("\n"), below.split("\n"), strict=True)
    return "\n".join(line for pair in lines if pair[0] for line in (pair[0], pair[1].rstrip()) if line)


VERB = Verb(
    command_of(
        all_flags("activations"),
        activations,
        run=(Named, None),
        unit=(UnitNames, None),
        top=(Top, 12),
        states=(States, None),
        html=(Html, None),
        **of_every_model(),
    ),
    example_of("activations"),
)
