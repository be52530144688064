"""`rnn activations`: what each unit of a net does on a text, and which of them keep track of something."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnncli.cli.screen import (
    AsJson,
    Device,
    From,
    Named,
    check_html,
    in_colours,
    load_for,
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
from rnncli.language.activations import VoicedWatchOptions
from rnncli.recording import EXAMPLE
from rnncli.settings import check_limits

if TYPE_CHECKING:
    from rnncli.analysis.activations import Ranking, Unit
    from rnncli.api import Model
    from rnncli.recording import Watched

MARKS = ((-0.6, "="), (-0.2, "-"), (0.2, " "), (0.6, "+"), (float("inf"), "#"))
"""What stands below a token where there are no colours, by its value as a share of the unit's greatest."""

WARM, COLD = (214, 96, 36), (38, 108, 196)
"""The colours of positive and of negative values, as red, green and blue."""


def activations(
    model: Named = None,
    text: Annotated[
        str | None, typer.Option(help="A text, a file, or - (standard input); else what training held out.")
    ] = None,
    unit: Annotated[
        list[str] | None, typer.Option(help="Show this unit, such as h1:5; may be repeated. Else the best one.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Units in the table of the best.")] = 12,
    tokens: Annotated[int, typer.Option(help="Tokens of the text to read at most.")] = 2_000,
    label: Annotated[str | None, typer.Option(help="Read it in this voice, of a model that learned several.")] = None,
    states: Annotated[
        Path | None, typer.Option(help="Write all states: FILE.npz, or FILE.h5 with what LSTMVis wants beside it.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page: the text on the colours of any unit that is clicked on.")
    ] = None,
    source: From = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Show what the units of a net do on a text: those that keep track of lines, words, quotes, … come first."""
    from rnncli.analysis.activations import rank
    from rnncli.analysis.states import states_writer

    source = named(model, source)
    write = states and states_writer(states)
    check_html("--html", html)
    check_limits(VoicedWatchOptions(text=text, tokens=tokens, label=label))
    trained = load_for(source, lambda task: "activations" in task.uses, device)
    ranking = rank(watch(trained, text, tokens, label))
    shown = [ranking.unit(name) for name in unit or ()] or ranking.units[:1]
    files = write(ranking.watched, f"{trained.task}, {trained.source.parent.name}") if write else []
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


def watch(trained: "Model", text: str | None, tokens: int, label: str | None) -> "Watched":
    """Have a model read a text; raises UsageError as its task does, and for a label where there are no voices."""
    voice = {} if label is None else {"label": label}
    return trained.activations(text, tokens=tokens, **voice)


def _facts(trained: "Model", ranking: "Ranking", shown: "list[Unit]", top: int) -> dict[str, Any]:
    return {
        "task": trained.task,
        "corpus": trained.payload["corpus"],
        "checkpoint": str(trained.source),
        "tokens": len(ranking.watched.pieces),
        "units": len(ranking.names),
        "best": [each._asdict() for each in ranking.units[:top]],
        "features": {each.tracks: {"name": each.name, "r": each.r} for each in ranking.best},
        "text": ranking.watched.pieces,
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
            print_styled(_on_colours(ranking.watched.pieces, shares))
        else:
            print_text(with_marks(ranking.watched.pieces, shares))


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


VERB = Verb(activations, EXAMPLE)
