"""`rnn compare TASK`: train a task with several cells, sizes and seeds, and show the results in one table."""

import math
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnncli.cells import CELLS, CLASSIC, label_of
from rnncli.cli.completing import completion
from rnncli.cli.options import Flags, cells_of, command_class, command_of, words_of
from rnncli.cli.per_task import first_task, of_each_task
from rnncli.cli.screen import AsJson, figure, note, print_json, print_table, print_text, warn_missing
from rnncli.cli.spellings import Formerly
from rnncli.cli.train import follow, run_options
from rnncli.cli.verb import Verb
from rnncli.errors import Interrupted, UsageError
from rnncli.launch import LAUNCHED
from rnncli.task import Task
from rnncli.terminal import counted
from rnncli.training.settings import RecurrentSettings

if TYPE_CHECKING:
    from rnncli.analysis.comparisons import Comparison, Outcome, Row

MATCHED = {
    "hidden": "the same sizes",
    "params": "as many parameters as {first} has",
    "time": "as many seconds as {first} took",
}
"""The quantity that all nets share, in words."""


def _verb(task: Task) -> Callable[..., None]:
    def compare(
        flags: Flags,
        cell: list[str] | None,
        hidden: str | None,
        seeds: int,
        match: str,
        target: float | None,
        out: Path | None,
        name: str,
        preset: str | None,
        config: Path | None,
        as_json: bool,
    ) -> None:
        from rnncli.analysis.comparisons import Comparison, nets_of

        if LAUNCHED in os.environ:
            raise UsageError("rnn compare trains one net after the other, in one process: start it without torchrun")
        if target is not None and not math.isfinite(target):
            raise UsageError(f"--target must be a finite number, not {target}")
        nets = nets_of(task, flags, cells_of(cell or ()), preset, config)
        comparison = Comparison(task, name, nets, _sizes(nets[0], hidden), seeds, match)
        comparison.check()
        if out:
            from rnncli.analysis.plots import picture_file

            picture_file(out)  # refuses a wrong name before hours of training
        own: Flags = {
            "cell": tuple(cell or ()) or None,
            "hidden": hidden,
            "seeds": seeds,
            "match": match,
            "target": target,
        }
        own |= {"preset": preset, "config": config, "out": out, "name": name}
        defaults = {each: default for each, (_, default) in _compare_options(task).items()}
        given = {each: value for each, value in own.items() if value != defaults[each]} | flags
        again = shlex.join(["rnn", "compare", task.name, *words_of(given)])
        outcomes = _all_trained(comparison, again)
        _show(comparison, outcomes, target, out, as_json)

    compare.__doc__ = f"{task.summary} Compares several cells."
    return command_of(task.Config, compare, **_compare_options(task))


def _compare_options(task: Task) -> dict[str, tuple[Any, Any]]:
    """The flags of a comparison in addition to the settings of its runs: annotations for Typer, and defaults."""

    def option(help: str, **more: Any) -> Any:
        return typer.Option(rich_help_panel="Comparison", help=help, **more)

    several = (
        f"A cell, as for rnn train; may be repeated; others are matched to the first. (default: {','.join(CLASSIC)}; "
        "with --init-from that model's)"
    )
    kinds = option(several, autocompletion=completion(CELLS))
    sizes = option("Hidden units to compare: 32,64; `+` joins the layers of one net: 64+32. (default: the task's)")
    matched = option("What all cells share with the first: hidden (the sizes), params or time.")
    target = option("Value of the metric that runs are timed to. (default: the best of the weakest run)")
    picture = option("Draw the metric during training to this file (PNG, SVG, PDF).")
    name = option(
        "The comparison's name, and the prefix of its runs; the same name continues it, or adds cells and seeds."
    )
    return {
        "cell": (Annotated[list[str] | None, kinds, Formerly(("--cells",))], None),
        "hidden": (Annotated[str | None, sizes], None),
        "seeds": (Annotated[int, option("Runs of each net, with seeds from --seed on.", min=1, max=1000)], 3),
        "match": (Annotated[str, matched], "hidden"),
        "target": (Annotated[float | None, target], None),
        "out": (Annotated[Path | None, picture, Formerly(("--plot",))], None),
        "name": (Annotated[str, name], "compare"),
        **{each: parameter for each, parameter in run_options(task).items() if each in ("preset", "config")},
        "as_json": (AsJson, False),
    }


VERB = Verb(
    help="Train the same task with several cells, and compare them.",
    example=f"rnn compare {first_task()}",
    commands=lambda: of_each_task(
        lambda task: Verb(
            _verb(task), f"rnn compare {task.name} --cell elman --cell gru --seeds 2", Class=command_class(task.Config)
        )
    ),
)


def _sizes(settings: RecurrentSettings, hidden: str | None) -> tuple[str, ...]:
    """The sizes to compare, each as in --hidden of a training; raises UsageError for invalid ones."""
    if hidden is None:
        return (",".join(map(str, settings.sizes)),)
    parts = [[size.strip() for size in part.split("+")] for part in hidden.split(",")]
    if not all(size.isascii() and size.isdecimal() and 0 < int(size) <= 1_000_000 for part in parts for size in part):
        raise UsageError(f"--hidden must be sizes to compare such as 32,64, or of layers such as 64+32, not {hidden!r}")
    found = [",".join(str(int(size)) for size in part) for part in parts]
    twice = next((each for each in found if found.count(each) > 1), None)
    if twice:
        raise UsageError(f"--hidden {hidden} compares {twice} with itself; + joins the layers of one net, as in 64+32")
    return tuple(found)


def _all_trained(comparison: "Comparison", again: str) -> "list[Outcome]":
    """Train the unfinished runs, and read all results; raises Interrupted, which names the command to continue."""
    from rnncli.library import train_all

    try:
        return train_all(comparison, lambda training, resumed: follow(training, resumed=resumed), note)
    except Interrupted as stop:
        raise Interrupted(f"stopped and saved: `{again}` continues from here", stop.exit_code - 128) from None
    except KeyboardInterrupt:
        raise Interrupted(f"stopped: `{again}` continues from here", signal.SIGINT) from None


def _show(
    comparison: "Comparison", outcomes: "list[Outcome]", target: float | None, out: Path | None, as_json: bool
) -> None:
    """Print the table or JSON, and draw the picture if it is requested."""
    from rnncli.analysis.comparisons import bands, default_target, rows

    metric = next((each.metric for each in outcomes if each.curve), outcomes[0].metric)
    task = comparison.task.name
    aim = default_target(outcomes) if target is None else target
    found = rows(outcomes, aim)
    picture = None
    if out:
        from rnncli.analysis.plots import draw_bands

        across = "seconds" if comparison.match == "time" else "steps"
        title = f"{task} · {comparison.name}: {_matched(comparison)}"
        picture = draw_bands(bands(outcomes, across), out, across=across, metric=metric, title=title)
        warn_missing(picture)
    if as_json:
        print_json(
            {
                "task": task,
                "corpus": outcomes[0].corpus,
                "name": comparison.name,
                "match": comparison.match,
                "metric": metric,
                "target": aim,
                "seconds": round(sum(each.seconds for each in outcomes), 3),
                "nets": [row._asdict() for row in found],
                "members": [{**vars(each), "curve": [point._asdict() for point in each.curve]} for each in outcomes],
                "picture": picture and str(picture),
            }
        )
        return
    _print_rows(comparison, found, metric, aim, chosen=target is not None)
    if picture:
        print_text(f"picture {picture}")


def _print_rows(comparison: "Comparison", found: "list[Row]", metric: str, target: float | None, chosen: bool) -> None:
    from rnncli.training.monitoring import less_is_better

    several = comparison.seeds > 1
    shown = metric.replace("_", " ")
    columns = ["cell", "hidden", "parameters", f"best {shown}", "steps", "seconds", "tokens/s"]
    columns += ["ended"] if {reason for row in found for reason in row.ended} != {"done"} else []
    columns += ["steps to target", "seconds to target", "reached"] if target is not None else []
    table = []
    for row in found:
        spread = "" if row.spread is None else f" ± {figure(row.spread)}"
        line: list[Any] = [
            label_of(row.cell),
            row.hidden.replace(",", "+"),
            row.parameters,
            f"{figure(row.mean)}{spread}",
        ]
        line += [_whole(row.steps), row.seconds, _whole(row.tokens_a_second)]
        if "ended" in columns:
            line.append(", ".join(f"{count} {reason}" for reason, count in row.ended.items()) or None)
        if target is not None:
            line += [_whole(row.steps_to_target), row.seconds_to_target, f"{row.reached} of {comparison.seeds}"]
        table.append(line)
    title = f"{comparison.task.name}, {_matched(comparison)}: {counted(comparison.seeds, 'seed')} of each net"
    print_table(columns, table, title=title)
    print_text(f"means{', ± the standard deviation, over seeds' if several else ' of one seed: no spread'}")
    if target is not None:
        bound = "at most" if less_is_better(metric) else "at least"
        why = "" if chosen else ", which every run reached"
        print_text(f"target: {shown} {bound} {figure(target)}{why}; the median over the runs that reached it")


def _matched(comparison: "Comparison") -> str:
    return MATCHED[comparison.match].format(first=label_of(comparison.cells[0]))


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
