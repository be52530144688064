"""Panels of a run's page: dictionaries with a `kind`, which selects how the page draws them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rnncli.errors import RnnError

Panel = dict[str, Any]

MAX_LABELS = 60
"""The most labels of a confusion matrix; more are not readable."""


def samples(title: str, about: str, texts: Iterable[Sequence[str]]) -> Panel:
    """Samples of text: pairs of a heading and a text."""
    return {"kind": "samples", "title": title, "about": about, "samples": list(map(list, texts))}


def attention(about: str, across: Sequence[str], down: Sequence[str], weights: Sequence[Sequence[float]]) -> Panel:
    """Attention of the tokens of one text (down) on those of another (across): weights (down, across), 0 to 1."""
    return {
        "kind": "attention",
        "title": "What each token looked at",
        "about": about,
        "across": list(across),
        "down": list(down),
        "values": [[[round(weight, 3), ""] for weight in row] for row in weights],
    }


def confusion(metrics: Mapping[str, Any]) -> Panel:
    """The confusion matrix of metrics with a `confusion` entry; raises RnnError for more than `MAX_LABELS` labels."""
    counted: dict[str, dict[str, int]] = metrics["confusion"]
    if len(counted) > MAX_LABELS:
        raise RnnError(f"{len(counted)} labels are too many for a table: draw them with `rnn evaluate --out`")
    return {
        "kind": "confusion",
        "title": "Predicted labels",
        "about": f"one row per correct label; {metrics['accuracy']:.1%} of the predictions are correct",
        "across": list(counted),
        "down": list(counted),
        "values": [[[count / max(1, sum(row.values())), count] for count in row.values()] for row in counted.values()],
    }
