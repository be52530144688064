"""Simple models on the very same data: what a recurrent net has to beat, as its task declares them."""

from collections.abc import Mapping
from typing import Any

from rnncli.task import Rows, Trained
from rnncli.tasks import TASKS


def measure_baselines(trained: Trained, options: Any, metrics: Mapping[str, Any]) -> Rows:
    """The baselines of the model's task, measured on what the model was; none where its task declares none.

    They get the bits a character that the model's metrics have.
    """
    declared = TASKS[trained.task].baselines
    rows = declared(trained, options) if declared else {}
    if "bits_per_char" in metrics:  # all are asked for the same tokens
        rows = {
            name: {**row, "bits_per_char": row["loss"] * metrics["bits_per_char"] / metrics["loss"]}
            for name, row in rows.items()
        }
    return rows
