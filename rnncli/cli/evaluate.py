"""`rnn evaluate TASK`: the metrics of a trained model, and of baselines on the same data."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rnncli.cli.actions import command_of_run, of_one_task
from rnncli.cli.models import open_model
from rnncli.cli.options import Flags, command_of
from rnncli.cli.per_task import first_task, of_each_task
from rnncli.cli.screen import (
    AsJson,
    CellCode,
    From,
    Named,
    named,
    note,
    note_picture,
    print_json,
    print_table,
    print_text,
)
from rnncli.cli.vectors import File, Layer, known_vectors
from rnncli.cli.verb import Verb
from rnncli.data.corpora import available
from rnncli.errors import UsageError
from rnncli.settings import check_limits
from rnncli.task import Task, Trained
from rnncli.tasks import TASKS

EXAMPLE = ("man", "woman", "king", "queen")
"""A question whose words a model that is trained for `rnn evaluate analogies` must have."""

MAX_LABELS = 20
"""With more labels, the confusion matrix is not printed as a table."""


def _verb(task: Task) -> Callable[..., None]:
    def evaluate(
        flags: Flags,
        source: str | None,
        device: str,
        cell: str | None,
        as_json: bool,
        baselines: bool = False,
        novelty: bool = False,
        run: str | None = None,
    ) -> None:
        options = task.evaluate.Options(**flags)
        check_limits(options)
        trained = open_model("evaluate", named(run, source), task, device=device, cell=cell, as_json=as_json)
        corpus = task.evaluate.corpus(trained, options)
        note(f"from {trained.source}, on {trained.device}; measured on {corpus}")
        if novelty:
            trained.check_readable("leave --novelty out")
        began = time.perf_counter()
        metrics = trained.action("evaluate").run(trained, options)
        trained.check_loss(metrics)
        rows: dict[str, Any] = {f"{trained.config.label} {trained.config.hidden}": metrics}
        if baselines:
            from rnncli.analysis.baselines import measure_baselines

            rows |= measure_baselines(trained, options, metrics)
        seconds = round(time.perf_counter() - began, 3)
        facts: dict[str, Any] = {"task": task.name, "corpus": corpus, "checkpoint": str(trained.source)}
        if novelty:
            facts["novelty"] = _copied(trained, task, options)
        if as_json:
            others = dict(list(rows.items())[1:])
            print_json({**facts, "seconds": seconds, "metrics": metrics, "baselines": others})
            return
        _show_metrics(rows, metrics, getattr(options, "out", None))

    evaluate.__doc__ = f"Measure a model of {task.name}."
    common = of_one_task(task.evaluate.Options)
    if task.baselines:
        flag = typer.Option("--baselines", help="Measure simple models as well.")
        common["baselines"] = (Annotated[bool, flag], False)
    if task.token_access:
        flag = typer.Option("--novelty", help="Print how much of it is copied from the training text.")
        common["novelty"] = (Annotated[bool, flag], False)
    return command_of(task.evaluate.Options, evaluate, **common)


def _show_metrics(rows: Mapping[str, Any], metrics: Mapping[str, Any], out: str | None) -> None:
    """Print a row for the model and each baseline, and what else the model's metrics hold."""
    names = [name for name, value in metrics.items() if not isinstance(value, dict)]
    print_table(
        ["model", *(name.replace("_", " ") for name in names)],
        [[label, *(values.get(name) for name in names)] for label, values in rows.items()],
    )
    for signature in metrics.get("signatures", {}).values():
        print_text(signature)
    if metrics.get("entities"):
        _show_entities(metrics["entities"])
    if "confusion" in metrics:
        _show_confusion(metrics["confusion"], out)


def analogies(
    run: Named = None,
    questions: Annotated[
        str | None, typer.Option(help="toyworld, questions-words or a file: lines of four words below `: category`.")
    ] = None,
    metric: Annotated[str, typer.Option(help="euclidean, cosine or 3cosmul.")] = "cosine",
    restrict: Annotated[int, typer.Option(min=1, help="Search answers among the first N words.")] = 300_000,
    exact_case: Annotated[bool, typer.Option("--exact-case", help="Distinguish upper and lower case.")] = False,
    source: From = None,
    cell: CellCode = None,
    file: File = None,
    layer: Layer = None,
    as_json: AsJson = False,
) -> None:
    """Measure word vectors on analogies; the default is the toy world for its models, otherwise Mikolov's questions."""
    from rnncli.analysis.analogies import METRICS, questions_of
    from rnncli.analysis.analogies import evaluate as measure

    if metric not in METRICS:
        raise UsageError(f"--metric must be one of {', '.join(METRICS)}, not {metric!r}")
    known = known_vectors("evaluate analogies", named(run, source), file, layer, cell, example=EXAMPLE, as_json=as_json)
    own = known.corpus and "toyworld" in known.corpus
    spec = questions or ("questions-words" if not own and available("questions-words") else "toyworld")
    began = time.perf_counter()
    scores = measure(known.vectors, questions_of(spec), metric, restrict, not exact_case)
    seconds = round(time.perf_counter() - began, 3)
    if as_json:
        settings = {"questions": spec, "metric": metric, "restrict": restrict, "seconds": seconds}
        *categories, semantic, syntactic, together = ({"name": score.name, **score.metrics} for score in scores)
        totals = {"semantic": semantic, "syntactic": syntactic, "metrics": together}
        print_json({**known.facts, **settings, "categories": categories, **totals})
        return
    print_table(["category", *scores[0].metrics], [[score.name, *score.metrics.values()] for score in scores])
    print_text(f"{spec}, {metric}, {seconds} s")


def _copied(trained: Trained, task: Task, options: Any) -> dict[str, Any]:
    """How much of the measured text is copied from the training text; also printed as a note."""
    from rnncli.analysis.novelty import novelty

    assert task.token_access is not None, "only a task with a text has this flag"
    found = novelty(trained, task.token_access.measured_arrays(trained, options))
    note(found.remark)
    return found._asdict()


def _show_entities(entities: dict[str, dict[str, float]]) -> None:
    """Precision, recall and F1 of each kind of entity."""
    columns = list(next(iter(entities.values())))
    print_table(["entity", *columns], [[kind, *figures.values()] for kind, figures in entities.items()])


def _show_confusion(confusion: dict[str, dict[str, int]], out: str | None) -> None:
    """Print how often each label was given to each, and draw it if a picture is requested."""
    labels = list(confusion)
    if len(labels) <= MAX_LABELS:
        print_table(
            ["right label", *(f"as {label}" for label in labels)], [[k, *v.values()] for k, v in confusion.items()]
        )
    if out:
        from rnncli.analysis.plots import draw_confusion

        note_picture(draw_confusion(confusion, Path(out)))


VERB = Verb(
    help="Measure a trained model: `rnn evaluate RUN`, or the newest model of a task.",
    example=f"rnn evaluate {first_task()}",
    commands=lambda: of_each_task(
        lambda task: Verb(_verb(task), task.evaluate.example),
        {"analogies": Verb(analogies, "rnn evaluate analogies --questions questions-words --metric 3cosmul")},
    ),
    of_run=lambda run: command_of_run("evaluate", {name: name for name in TASKS}, run),
)
