"""`rnn bench`: how fast the cells are on this machine, beside what one would take instead."""

from typing import Annotated, Any

import typer

from rnncli.cli.screen import AsJson, note, print_json, print_table

verb = typer.Typer(help="Measure speed on this machine.", epilog="Example: rnn bench cells --cell gru")


@verb.callback()
def bench() -> None:
    """Measure speed on this machine."""


@verb.command("cells", epilog="Example: rnn bench cells --cell gru --shape T35")
def cells(
    cell: Annotated[str | None, typer.Option(help="Rows whose name has this in it.")] = None,
    shape: Annotated[str | None, typer.Option(help="Rows whose shape has this in it, such as B20-M650.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is timed; medians are shown.")] = 11,
    as_json: AsJson = False,
) -> None:
    """Time ours and its rivals in turns: medians in milliseconds, and the first rival's time over ours."""
    from rnncli.analysis.bench import find_rows, machine, measure

    found = find_rows(cell, shape)
    note(machine())
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
            "wanted": each.row.wanted,
        }
        for each in measured
    ]
    if as_json:
        print_json({"machine": machine(), "rounds": rounds, "rows": facts})
        return
    names = list(dict.fromkeys(name for each in measured for name in each.milliseconds))
    print_table(
        ["what", "shape", *(f"{name}, ms" for name in names), "ratio", "wanted"],
        [
            [row["name"], row["shape"], *(row["milliseconds"].get(name) for name in names), row["ratio"], row["wanted"]]
            for row in facts
        ],
    )
