"""`rnn check-cell`: test a cell for correctness, and measure its speed and backend."""

from typing import Annotated

import typer

from rnncli.cells import CELLS
from rnncli.cli.completing import completion
from rnncli.cli.screen import AsJson, note, print_json, print_table, print_text
from rnncli.cli.verb import Verb
from rnncli.errors import RnnError

CellName = Annotated[
    str,
    typer.Argument(
        metavar="CELL", help="PATH.py:Class, package.module:Class or a name.", autocompletion=completion(CELLS)
    ),
]


def check_cell(
    cell: CellName,
    activation: Annotated[str | None, typer.Option(help="Nonlinearity, for a cell with a choice.")] = None,
    units: Annotated[int, typer.Option(min=1, help="Units M of the checks.")] = 4,
    hidden: Annotated[int, typer.Option(min=1, help="Units M, and inputs D, of the timing.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, help="Timings of each; medians are shown.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Check a cell: shapes, state, gradients, padding, directions, backends; then time it next to torch's layer."""
    from rnncli.cells import label_of
    from rnncli.testing import describe, examine, milliseconds, subject

    found = subject(cell, activation=activation, hidden=units)
    checks = []
    for check in examine(found):
        if not check.passed:
            note(f"{check.name}: wrong")
        checks.append(check)
    failed = [check.name for check in checks if not check.passed]
    taken = describe(found.cell())
    times = {} if failed else milliseconds(found.kind, hidden, rounds)
    if as_json:
        facts = {"cell": found.kind, "checks": [check._asdict() for check in checks], "auto": taken}
        print_json({**facts, "hidden": hidden, "milliseconds": times})
    else:
        rows = [(check.name, "right" if check.passed else "WRONG", check.detail) for check in checks]
        print_table(("check", "", "found"), rows, title=label_of(found.kind))
        if times:
            title = f"forward and backward, T35 B20 M{hidden}"
            print_table(
                ("what", "ms", "times auto"), [(name, ms, ms / times["auto"]) for name, ms in times.items()], title
            )
        print_text(f"auto takes {taken}")
    if failed:
        raise RnnError(f"cell {label_of(found.kind)} fails {len(failed)} of {len(checks)} checks: {', '.join(failed)}")


VERB = Verb(check_cell, "rnn check-cell mine.py:MGU")
