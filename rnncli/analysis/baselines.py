"""Baselines that a task declares: simple models on the same data, which a recurrent net should beat."""

from collections.abc import Mapping
from typing import Any

from rnncli.task import Rows, Trained
from rnncli.tasks import TASKS


def measure_baselines(trained: Trained, options: Any, metrics: Mapping[str, Any]) -> Rows:
    """Evaluate the baselines of the model's task on the model's evaluation data; empty if its task declares none.

    Adds bits per character if the model's metrics have them.
    """
    declared = TASKS[trained.task].baselines
    rows = declared(trained, options) if declared else {}
    if "bits_per_char" in metrics:  # all predict the same tokens
        rows = {
            name: {**row, "bits_per_char": row["loss"] * metrics["bits_per_char"] / metrics["loss"]}
            for name, row in rows.items()
        }
    return rows
