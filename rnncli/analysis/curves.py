"""Curves of runs from metrics.jsonl: one value per validation."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rnncli.errors import RnnError, UsageError
from rnncli.records import json_line
from rnncli.training.runs import Run

ACROSS = {"steps": "step", "seconds": "seconds", "epochs": "epoch"}
"""The choices for the x axis, and their fields in a record."""


class Curve(NamedTuple):
    """One metric of one run; the training loss shares the panel of the validation loss."""

    run: str
    metric: str
    at: list[float]
    values: list[float | None]  # None for a missing number
    task: str
    best: float | None  # where `at` is at the best step, if a validation took place there
    unit: str  # of the loss

    @property
    def panel(self) -> str:
        """The metric whose panel it is drawn in."""
        return "loss" if self.metric == "train_loss" else self.metric

    @property
    def axis(self) -> str:
        """The name of its y axis."""
        units = {"loss": f" ({self.unit})", "accuracy": " (%)"}
        return self.panel.replace("_", " ") + units.get(self.panel, "")


def loss_unit(record: Mapping[str, Any]) -> str:
    """What the loss of a record counts: a model that predicts tokens also has their perplexity."""
    return "nats per token" if "perplexity" in record else "nats per prediction"


def read_records(run: Run) -> list[dict[str, Any]]:
    """The records of a run, one per validation; raises RnnError for none or a damaged one.

    Where metrics.jsonl is missing, they are those that its checkpoint keeps.
    """
    try:
        lines = run.metrics.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        lines = run.read(lambda header: list(map(json_line, header["progress"]["history"]))) or []
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise RnnError(f"cannot read {run.metrics}: {reason}") from None
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            _ = [record[field] for field in ACROSS.values()]
        except (ValueError, KeyError, TypeError):
            raise RnnError(
                f"{run.metrics}, line {number}: this is not a record of a validation; resume the run or delete it"
            ) from None
        records.append(record)
    if not records:
        raise RnnError(f"run {run.name} has no record yet: wait for its first validation")
    return records


def of_runs(runs: Sequence[Run], metrics: Sequence[str], across: str) -> list[Curve]:
    """The curves of some metrics of runs; by default the losses, and accuracy if all runs have it.

    Raises RnnError as `read_records`, UsageError for a metric that a run lacks and for an unknown x axis.
    """
    check_axis(across)
    names = [run.name for run in runs]
    label = {run: run.name if names.count(run.name) == 1 else f"{run.task}/{run.name}" for run in runs}
    histories = {run: read_records(run) for run in runs}
    if not metrics:
        shared = all("accuracy" in history[0] for history in histories.values())
        metrics = ["train_loss", "loss", *(["accuracy"] if shared else [])]
    curves = []
    for run, history in histories.items():
        best_step = run.read(lambda header: int(header["progress"]["best_step"]))
        curves += of_records(label[run], run.task, history, best_step, metrics, across)
    return curves


def check_axis(across: str) -> None:
    """Raise UsageError for an unknown x axis."""
    if across not in ACROSS:
        raise UsageError(f"--against must be one of {', '.join(ACROSS)}, not {across!r}")


def of_records(
    run: str,
    task: str,
    records: Sequence[Mapping[str, Any]],
    best_step: int | None,
    metrics: Sequence[str],
    across: str,
) -> list[Curve]:
    """The curves of some metrics of one run, by default of its losses; raises as `of_runs`."""
    check_axis(across)
    place = ACROSS[across]
    best = next((float(each[place]) for each in records if each["step"] == best_step), None)
    at = [float(record[place]) for record in records]
    known = [
        name
        for name in (records[-1] if records else {})
        if name not in ACROSS.values() and any(_is_number(record.get(name)) for record in records)
    ]
    curves = []
    for metric in metrics or ("train_loss", "loss"):
        if metric not in known:
            raise UsageError(f"run {run} has no metric {metric!r}: it has {', '.join(known)}")
        found = [value if _is_number(value := record.get(metric)) else None for record in records]
        curves.append(Curve(run, metric, at, found, task, best, loss_unit(records[-1])))
    return curves


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
