"""`rnn bench`: the speed of the cells on this machine, next to their alternatives."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rnncli.cells import label_of, use_cell
from rnncli.cli.screen import AsJson, note, note_picture, print_json, print_table, size
from rnncli.cli.spellings import Formerly
from rnncli.cli.verb import Verb


def cells(
    cell: Annotated[
        str | None, typer.Option(help="Only rows whose name contains this; or any cell, as for rnn train.")
    ] = None,
    shape: Annotated[str | None, typer.Option(help="Only rows whose shape contains this, such as B20-M650.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timings of each; medians are shown.")] = 11,
    as_json: AsJson = False,
) -> None:
    """Time our cells, their rivals and the floor in turns: medians in milliseconds, and two ratios.

    The floor is the matmuls of a row and nothing else, by the fastest library of this machine. `ratio` is the first
    rival's time over ours; `ours / floor` is our time over the floor.
    """
    from rnncli.analysis.bench import find_rows, machine, matmul_rates, measure
    from rnncli.analysis.bench_cells import left_out, own_rows

    own = list(own_rows(cell)) if cell else []
    found = find_rows(None if own else cell, shape, own)
    rates = matmul_rates()
    note(machine())
    note("matmul, GFLOP/s: " + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items()))
    missing = list(left_out())
    for line in missing:
        note(line)
    measured = []
    for each in measure(found, rounds):
        times = ", ".join(f"{name} {value:.3g} ms" for name, value in each.milliseconds.items())
        note(f"{each.row.name} {each.row.shape}: {times}")
        measured.append(each)
    facts: list[dict[str, Any]] = [
        {
            "name": each.row.name,
            "shape": each.row.shape,
            "milliseconds": each.milliseconds,
            "ratio": each.ratio,
            "over_floor": each.over_floor,
        }
        for each in measured
    ]
    if as_json:
        print_json({"machine": machine(), "gflops": rates, "rounds": rounds, "left_out": missing, "rows": facts})
        return
    _print_rows(facts)


def _print_rows(facts: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in facts for name in row["milliseconds"]))
    table = []
    for row in facts:
        times = [row["milliseconds"].get(name) for name in names]
        table.append([row["name"], row["shape"], *times, row["ratio"], row["over_floor"]])
    print_table(["what", "shape", *(f"{name}, ms" for name in names), "ratio", "ours / floor"], table)


Kind = Annotated[str, typer.Option(help="The cell.")]


def memory(cell: Kind = "lstm:none", as_json: AsJson = False) -> None:
    """Measure the peak memory of a training step of one layer, also with `recompute`, and that of torch's layer."""
    from rnncli.analysis.bench_costs import memory as peaks

    cell = use_cell(cell)
    rows = [(str(shape), ours, less, torch, torch and ours / torch) for shape, ours, less, torch in peaks(cell)]
    if as_json:
        names = ("shape", "ours", "recompute", "torch", "ratio")
        print_json({"cell": cell, "rows": [dict(zip(names, row, strict=True)) for row in rows]})
        return
    shown = [(shape, size(ours), size(less), torch and size(torch), ratio) for shape, ours, less, torch, ratio in rows]
    print_table([f"{label_of(cell)}, peak", "ours", "recompute", "torch", "ours / torch"], shown)


def growth(
    cell: Kind = "lstm",
    hidden: Annotated[int, typer.Option(min=1, help="Units M and input size D.")] = 256,
    rounds: Annotated[int, typer.Option(min=1, help="Timings of each; medians are shown.")] = 5,
    out: Annotated[
        Path | None, typer.Option(help="Draw both curves to this file (PNG, SVG, PDF)."), Formerly(("--picture",))
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Time a layer at growing T and B: its cost grows in proportion to both."""
    from rnncli.analysis.bench_costs import growth as costs

    cell = use_cell(cell)
    by_T, by_B = costs(cell, hidden, rounds)
    if out:
        from rnncli.analysis.plots import draw_growth

        panels = {"steps T, of 32 sequences": by_T, "sequences B, of 50 steps": by_B}
        note_picture(draw_growth(panels, out, title=f"{label_of(cell)}, {hidden} units"))
    if as_json:
        print_json({"cell": cell, "hidden": hidden, "by T": dict(by_T), "by B": dict(by_B)})
        return
    title = f"{label_of(cell)}, {hidden} units, B 32"
    print_table(["T", "ms", "ms per step"], [(T, ms, ms / T) for T, ms in by_T], title=title)
    print_table(["B", "ms", "ms per sequence"], [(B, ms, ms / B) for B, ms in by_B], title="T 50")


VERB = Verb(
    example="rnn bench cells --cell gru",
    help="Measure speed on this machine.",
    commands=lambda: {
        "cells": Verb(cells, "rnn bench cells --cell gru --shape T35"),
        "memory": Verb(memory, "rnn bench memory --cell lstm"),
        "growth": Verb(growth, "rnn bench growth --cell gru --out growth.png"),
    },
)
