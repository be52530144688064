"""`rnn activations`: what each unit of a net does on a text, and which of them keep track of something."""

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
"""What stands below a token where there are no colours, by its value as a share of the unit's greatest."""

WARM, COLD = (214, 96, 36), (38, 108, 196)
"""The colours of positive and of negative values, as red, green and blue."""


UnitNames = Annotated[
    list[str] | None, typer.Option(help="Show this unit, such as h1:5; may be repeated. Else the best one.")
]
Top = Annotated[int, typer.Option(min=1, help="Units in the table of the best.")]
States = Annotated[
    Path | None, typer.Option(help="Write all states: FILE.npz, or FILE.h5 with what LSTMVis wants beside it.")
]
Html = Annotated[
    Path | None, typer.Option(help="Write a page: the text on the colours of any unit that is clicked on.")
]


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
    """Show what the units of a net do on a text: those that keep track of lines, words, quotes, … come first."""
    from rnncli.analysis.activations import rank
    from rnncli.analysis.states import states_writer

    source = named(run, source)
    write = states and states_writer(states)
    check_html("--html", html)
    work = open_work("activations", flags, source, device, cell)
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
    """Tables of the best units, and the text in the colours of those to be shown."""
    rows = [(each.tracks, each.name, each.r) for each in ranking.best]
    if rows:
        print_table(("what is kept track of", "best unit", "correlation"), rows)
    best = [(each.name, each.tracks or None, each.r) for each in ranking.units[:top]]
    print_table(("unit", "follows", "correlation"), best)
    coloured = in_colours()
    for each in shown:
        values = ranking.of(each)
        follows = f", {each.r:+.2f} with {each.tracks}" if each.tracks else ""
        print_text(f"unit {each.name}{follows}; {values.min():+.2f} to {values.max():+.2f}")
        shares = (values / max(1e-9, float(abs(values).max()))).tolist()
        if coloured:
            print_styled(_on_colours(ranking.recording.pieces, shares))
        else:
            print_text(with_marks(ranking.recording.pieces, shares))


def _on_colours(pieces: list[str], shares: list[float]) -> Iterator[tuple[str, str]]:
    """A text on the colours of a unit: the stronger, the farther from 0; positive is warm, negative cold."""
    for piece, share in zip(pieces, shares, strict=True):
        strength, hue = min(1.0, abs(share)), WARM if share > 0 else COLD
        red, green, blue = (round(255 + (part - 255) * strength) for part in hue)
        ink = "white" if strength > 0.6 else "black"
        body, ends = piece.rstrip("\n"), piece[len(piece.rstrip("\n")) :]
        yield visible(body, keep=" "), f"{ink} on rgb({red},{green},{blue})"
        yield ends, ""


def with_marks(pieces: list[str], shares: list[float]) -> str:
    """The lines of a text, below each a line of marks: `#` and `+` are positive, `=` and `-` negative."""
    above, below = "", ""
    for piece, share in zip(pieces, shares, strict=True):
        body, ends = piece.rstrip("\n"), piece[len(piece.rstrip("\n")) :]
        mark = next(sign for limit, sign in MARKS if share < limit)
        shown = visible(body, keep=" ") or "↵" * bool(ends)
        blanks = len(shown) - len(shown.lstrip(" ")) if shown.strip() else 0
        above += shown + ends
        below += " " * blanks + mark * (len(shown) - blanks) + ends
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
