"""`rnn inspect`: the contents of a checkpoint, and its settings as a file for `rnn train --config`."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnncli.cli.screen import AsJson, CellCode, From, Named, figure, named, print_json, print_table, print_text, size
from rnncli.cli.verb import Verb
from rnncli.errors import UsageError

if TYPE_CHECKING:
    from rnncli.training.checkpoint import Checkpoint


def inspect(
    run: Named = None,
    source: From = None,
    cell: CellCode = None,
    config: Annotated[bool, typer.Option("--config", help="Print only the settings, as TOML for `rnn train`.")] = False,
    code: Annotated[bool, typer.Option("--code", help="Print only the loops that rnn writes for a cell.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a checkpoint's settings, sizes, metrics, vocabulary and checksum; or the loops of a cell."""
    from rnncli.api import restore
    from rnncli.training.runs import read_model

    if code:
        _print_code(run, source, cell)
        return
    if config and as_json:
        raise UsageError("--config prints TOML and --json prints JSON: give one of them")
    found, place = read_model(named(run, source), None)
    if config:
        _print_config(found, place)
        return
    model = restore(found, place, cell=cell).model
    facts, shapes = _facts(found, place, model), _shapes(model)
    history = found.header["progress"]["history"]
    metrics = history[-1] if history else {}
    if as_json:
        header = {"config": found.header["config"], "shapes": shapes, "metrics": metrics}
        print_json({**facts, **header, "payload": found.header["payload"]})
        return
    print_table(
        ("checkpoint", ""),
        [(name, size(value) if name == "bytes" else figure(value)) for name, value in facts.items()],
    )
    print_table(("weights", "shape"), [(name, " x ".join(map(str, shape))) for name, shape in shapes.items()])
    print_table(("setting", "value"), [(name, _shown(value)) for name, value in found.header["config"].items()])
    print_table(("metric", "last validation"), list(metrics.items()))
    if "vocabulary" in found.header["payload"]:
        _print_vocabulary(found.header["payload"]["vocabulary"])


def _facts(found: "Checkpoint", place: Path, model: Any) -> dict[str, Any]:
    """The origin, the size and the state of a checkpoint."""
    progress = found.header["progress"]
    return {
        "task": found.header["task"],
        "file": str(place),
        "sha256": found.sha256,
        "verified": True,
        "rnn": found.header["rnn"],
        "schema": found.header["schema"],
        "bytes": sum(tensor.nbytes for tensor in found.tensors.values()),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "backend": model.stack.backend_in_use if hasattr(model, "stack") else None,
        "steps": progress["step"],
        "seconds": progress["seconds"],
        "run when saved": progress["finished"] or "in progress",
    }


def _shapes(model: Any) -> dict[str, list[int]]:
    """The shapes of the weights by name, of a committee only those of its first net."""
    return {name: list(each.shape) for name, each in model.named_parameters() if not OTHER_MEMBERS.match(name)}


def _print_vocabulary(tokens: list[str]) -> None:
    from rnncli.data.text import visible

    first = " ".join(map(visible, tokens[:20]))
    print_text(f"vocabulary, {len(tokens):,} tokens, most frequent first: {first} …")


def _print_config(found: "Checkpoint", place: Path) -> None:
    """Print the settings as TOML, read from the header without a model."""
    from rnncli.presets import to_toml
    from rnncli.restoring import check_header
    from rnncli.tasks import task_of

    task = task_of(found.header, place)
    print_text(to_toml(task, check_header(task.Config, task.keeps, found.header, place)), end="")


def _print_code(run: str | None, source: str | None, cell: Any) -> None:
    """The code of the cell of that kind, or of a run's first layer."""
    from rnncli.api import restore
    from rnncli.cells import make_cell, use_cell
    from rnncli.kernels.fused import code_of
    from rnncli.training.runs import read_model

    if cell and run is None and source is None:
        print_text(code_of(make_cell(use_cell(cell), 8, 8)))
        return
    model: Any = restore(*read_model(named(run, source), None), cell=cell).model
    if not hasattr(model, "stack"):
        raise UsageError("this model has no cell: --code prints the loops of a cell")
    print_text(code_of(model.stack.cells[0]))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


OTHER_MEMBERS = re.compile(r"members\.[1-9]")
"""Parameters of a committee's nets after the first, whose shapes they share."""

VERB = Verb(inspect, "rnn inspect RUN")
