"""`rnn report`: write a page of HTML about a run, to view and to share."""

from pathlib import Path
from typing import Annotated

import typer

from rnncli.cli.models import open_model
from rnncli.cli.screen import (
    AsJson,
    CellCode,
    Device,
    From,
    Named,
    check_html,
    named,
    note,
    print_json,
    print_text,
    size,
)
from rnncli.cli.verb import Verb
from rnncli.files import write_file


def report(
    run: Named = None,
    out: Annotated[Path | None, typer.Option(help="The .html file. (default: next to the checkpoint)")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    source: From = None,
    cell: CellCode = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Write one page about a run: curves, samples, surprisal, vectors, gradients and units."""
    from rnncli.analysis.report import page

    source = named(run, source)
    check_html("--out", out)
    trained = open_model("report", source, lambda _: True, device=device, cell=cell, as_json=as_json)
    html, panels = page(trained)
    file = (out or trained.source.parent / "report.html").absolute()
    data = html.encode()
    write_file(file, data)
    left_out = [panel for panel in panels if panel["kind"] == "note"]
    for panel in left_out:
        note(f"{panel['title']}: {panel['about']}")
    if as_json:
        kinds = [panel["kind"] for panel in panels]
        print_json({"checkpoint": str(trained.source), "file": str(file), "bytes": len(data), "panels": kinds})
    else:
        note(f"from {trained.source}, on {trained.device}")
        print_text(f"{file} ({size(len(data))}, {len(panels) - len(left_out)} panels)")
    if show:
        import webbrowser

        webbrowser.open(file.as_uri())


VERB = Verb(report, "rnn report RUN --open")
