"""Curves of runs from metrics.jsonl: one value per validation."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rnncli.errors import RnnError, UsageError
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
    """The records of a run, one per validation; raises RnnError for none or a damaged one."""
    try:
        lines = run.metrics.read_text(encoding="utf-8").splitlines()
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
    if across not in ACROSS:
        raise UsageError(f"--against must be one of {', '.join(ACROSS)}, not {across!r}")
    names = [run.name for run in runs]
    label = {run: run.name if names.count(run.name) == 1 else f"{run.task}/{run.name}" for run in runs}
    histories = {run: read_records(run) for run in runs}
    if not metrics:
        shared = all("accuracy" in history[0] for history in histories.values())
        metrics = ["train_loss", "loss", *(["accuracy"] if shared else [])]
    curves = []
    for run, history in histories.items():
        best_step = run.read(lambda header: int(header["progress"]["best_step"]))
        best = next((float(each[ACROSS[across]]) for each in history if each["step"] == best_step), None)
        unit = loss_unit(history[-1])
        known = [name for name, value in history[-1].items() if _is_number(value) and name not in ACROSS.values()]
        for metric in metrics:
            if not any(_is_number(record.get(metric)) for record in history):
                raise UsageError(f"run {run.name} has no metric {metric!r}: it has {', '.join(known)}")
            at = [float(record[ACROSS[across]]) for record in history]
            found = [value if _is_number(value := record.get(metric)) else None for record in history]
            curves.append(Curve(label[run], metric, at, found, run.task, best, unit))
    return curves


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
