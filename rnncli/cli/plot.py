"""`rnn plot RUN…`: draw losses and metrics of runs as curves in one picture."""

from pathlib import Path
from typing import Annotated

import typer

from rnncli.cli.completing import complete_run
from rnncli.cli.screen import AsJson, print_json, print_text, warn_missing
from rnncli.cli.verb import Verb


def plot(
    names: Annotated[
        list[str],
        typer.Argument(metavar="RUN…", help="Runs' names, TASK/RUN, or folders.", autocompletion=complete_run),
    ],
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric to draw; may be repeated. (default: losses, and accuracy)")
    ] = None,
    against: Annotated[str, typer.Option(help="The x axis: steps, seconds or epochs.")] = "steps",
    out: Annotated[
        Path | None, typer.Option(help="The picture (PNG, SVG, PDF). (default: curves.png in the first run's folder)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw losses and metrics of one or several runs."""
    from rnncli.analysis.curves import of_runs
    from rnncli.analysis.plots import draw_runs
    from rnncli.training.runs import run_of

    runs = list({run.folder.resolve(): run for run in map(run_of, names)}.values())
    curves = of_runs(runs, list(dict.fromkeys(metric or [])), against)
    picture = draw_runs(curves, out or runs[0].folder / "curves.png", across=against)
    if as_json:
        print_json({"picture": str(picture), "against": against, "curves": [curve._asdict() for curve in curves]})
    else:
        print_text(f"picture {picture}")
    warn_missing(picture)


VERB = Verb(plot, "rnn plot my-run other-run --metric loss --against seconds")
