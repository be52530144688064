"""`rnn evaluate TASK`: how good a trained model is, and how good the baselines are on the same data."""

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from rnncli.analysis.baselines import BASELINES
from rnncli.cli.options import Flags, command_of
from rnncli.cli.screen import AsJson, From, note, print_json, print_table, warn
from rnncli.tasks import TASKS
from rnncli.tasks.base import Task
from rnncli.training.settings import check_limits

verb = typer.Typer(
    help="Measure a trained model.", epilog="Example: rnn evaluate parity --bits 1000", no_args_is_help=True
)


def _verb(task: Task) -> Callable[..., None]:
    def evaluate(flags: Flags, source: str | None, as_json: bool, baselines: bool = False) -> None:
        from rnncli.api import load_task

        options = task.evaluate.Options(**flags)
        check_limits(options)
        trained, warning = load_task(source, task.name)
        if warning:
            warn(warning)
        corpus = task.evaluate.corpus(trained, options)
        note(f"from {trained.source}, on {corpus}")
        began = time.perf_counter()
        metrics = task.evaluate.run(trained, options)
        rows = {f"{trained.config.label} {trained.config.hidden}": metrics}
        if baselines:
            rows |= BASELINES[task.name](trained, options)
        seconds = round(time.perf_counter() - began, 3)
        if as_json:
            facts = {
                "task": task.name,
                "corpus": corpus,
                "checkpoint": str(trained.source),
            }
            others = dict(list(rows.items())[1:])
            print_json({**facts, "seconds": seconds, "metrics": metrics, "baselines": others})
            return
        names = list(metrics)
        print_table(
            ["model", *(name.replace("_", " ") for name in names)],
            [[model, *(values.get(name) for name in names)] for model, values in rows.items()],
        )

    evaluate.__doc__ = f"Measure a model of {task.name}."
    common: dict[str, Any] = {"source": (From, None), "as_json": (AsJson, False)}
    if task.name in BASELINES:
        beside = typer.Option("--baselines", help="Measure simple models beside it.")
        common["baselines"] = (Annotated[bool, beside], False)
    return command_of(task.evaluate.Options, evaluate, **common)


for _task in TASKS.values():
    verb.command(_task.name, epilog=f"Example: {_task.evaluate.example}")(_verb(_task))
