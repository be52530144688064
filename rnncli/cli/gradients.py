"""`rnn gradients`: how far back the gradient of a loss reaches, in fresh cells or in a trained net."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import rnncli
from rnncli.cells import CLASSIC, use_cell
from rnncli.cells.outside import outside_cell
from rnncli.cli.options import cells_of
from rnncli.cli.screen import AsJson, Device, Named, named, note_picture, print_json, print_table, print_text
from rnncli.cli.spellings import Formerly
from rnncli.cli.verb import Verb
from rnncli.errors import UsageError
from rnncli.terminal import counted

if TYPE_CHECKING:
    from rnncli.analysis.gradients import Flow

RADII = "0.5,1,1.5"
SHOWN = (1, 3, 10, 30, 100, 300, 1000, 3000)
"""Lags in the table, up to the length."""


def gradients(
    run: Named = None,
    cell: Annotated[
        list[str] | None,
        typer.Option(
            help=f"A cell, as for rnn train; may be repeated. (default: {','.join(CLASSIC)}) Of RUN: its code again."
        ),
    ] = None,
    radius: Annotated[
        str | None, typer.Option(help=f"Spectral radii that Wh is scaled to; unscaled it is 1. (default: {RADII})")
    ] = None,
    hidden: Annotated[int | None, typer.Option(help="Units, and size of the inputs. (default: 64)")] = None,
    inputs: Annotated[
        float | None, typer.Option(help="Standard deviation of the random inputs. (default: 0.1)")
    ] = None,
    length: Annotated[int, typer.Option(help="Number of steps T; of a text, the maximum.")] = 100,
    clip: Annotated[float, typer.Option(min=0, help="Norm that the weights' gradient is clipped to; 0: none.")] = 1.0,
    source: Annotated[
        str | None, typer.Option("--from", help="A trained net: a run's name or folder, or a file.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="The text that the trained net reads: a text, a file, or - (standard input).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Draw the norms against the lag to this file (PNG, SVG, PDF)."),
        Formerly(("--plot",)),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**62, help="Seed of weights and inputs.")] = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Show how the gradient of a loss at step T vanishes or explodes on the way back."""
    source = named(run, source)
    fresh = {"--cell": cell, "--radius": radius, "--hidden": hidden, "--inputs": inputs}
    code = cell[0] if source is not None and cell and len(cell) == 1 and outside_cell(cell[0]) else None
    given = [name for name, value in fresh.items() if value not in (None, []) and not (name == "--cell" and code)]
    if source is not None and given:
        raise UsageError(f"{given[0]} is for fresh cells, and {source} is a trained net: leave {given[0]} out")
    if device == "mps":
        raise UsageError("--device mps: gradients are computed in float64, which it lacks; use --device cpu")
    if source is None and text is not None:
        raise UsageError("--text needs a trained net that reads it: name its RUN")
    if source is None:
        flows, about = _fresh(cell, radius, hidden, inputs, length, clip, seed, device)
    else:
        flows, about = _trained(source, code, text, length, clip, seed, device)
    if out:
        from rnncli.analysis.plots import draw_gradients

        note_picture(draw_gradients(flows, out, title=about["of"]))
    if as_json:
        print_json({**about, "clip": clip, "rows": [_facts(flow) for flow in flows]})
        return
    _show(flows, f"{about['of']}, on {about['device']}", clip)


def _fresh(
    cell: list[str] | None,
    radius: str | None,
    hidden: int | None,
    inputs: float | None,
    length: int,
    clip: float,
    seed: int,
    device: str,
) -> "tuple[list[Flow], dict[str, Any]]":
    from rnncli.analysis.gradients import of_fresh_cells
    from rnncli.api import pick_device

    kinds = list(dict.fromkeys(map(use_cell, cells_of(cell or CLASSIC))))
    try:
        radii = list(dict.fromkeys(float(value) for value in (RADII if radius is None else radius).split(",")))
    except ValueError:
        raise UsageError(f"--radius must be numbers such as {RADII}, not {radius!r}") from None
    hidden = 64 if hidden is None else hidden
    inputs = 0.1 if inputs is None else inputs
    device = pick_device(device, hidden)
    options: dict[str, Any] = {"length": length, "inputs": inputs, "clip": clip, "seed": seed, "device": device}
    flows = of_fresh_cells(kinds, radii, hidden=hidden, skips_radii=radius is None, **options)
    what = f"fresh cells of {counted(hidden, 'unit')}, inputs of standard deviation {inputs:g}"
    return flows, {"of": what, "checkpoint": None, "device": device, "length": length}


def _trained(
    source: str, code: str | None, text: str | None, length: int, clip: float, seed: int, device: str
) -> "tuple[list[Flow], dict[str, Any]]":
    from rnncli.analysis.gradients import of_model
    from rnncli.recording import text_or_file

    text = None if text is None else text_or_file(text)
    trained = rnncli.load(source, suits=lambda task: task.last_step is not None, device=device, cell=code)
    flows = of_model(trained, text, length=length, clip=clip, seed=seed)
    steps = len(flows[0].norms)
    what = f"{trained.task}, {counted(steps, 'step')}"
    return flows, {"of": what, "checkpoint": str(trained.source), "device": trained.device, "length": steps}


def _facts(flow: "Flow") -> dict[str, Any]:
    return {**flow._asdict(), "horizon": flow.horizon, "factor": flow.factor}


def _show(flows: "list[Flow]", title: str, clip: float) -> None:
    from rnncli.analysis.gradients import SHARE

    steps = len(flows[0].norms)
    lags = [lag for lag in SHOWN if lag < steps - 1]
    lags += [steps - 1] if steps > 1 else []
    clipped = f"clipped at {clip:g}"
    rows = [
        (
            flow.name,
            flow.state,
            *(f"{flow.norms[lag]:.1e}" for lag in lags),
            f"{flow.factor:.3f}" if lags else None,
            f"past {steps - 1}" if flow.horizon is None else flow.horizon,
            f"{flow.weight_norm:.3g}",
            *([f"{flow.clipped_norm:.3g}"] if clip else []),
        )
        for flow in flows
    ]
    columns = [
        "net",
        "state",
        *(f"lag {lag}" for lag in lags),
        "per step",
        "horizon",
        "weights",
        *([clipped] * bool(clip)),
    ]
    print_table(columns, rows, title=f"{title}: norm of dL_T/dstate_t at the lag T - t")
    print_text(
        f"per step: the factor of the norm for each step back; horizon: the first lag below {SHARE:.0%} of lag 0"
    )
    if clip:
        print_text("weights: norm of their gradient; clipping scales all lags equally, so horizons stay the same")


VERB = Verb(gradients, "rnn gradients --cell elman --cell lstm --length 100 --out gradients.png")
