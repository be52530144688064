"""Pictures of a training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw_curve(history: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> Path:
    """Draw losses, and accuracy where there is one, against seconds of training, as a PNG; returns its path."""
    import matplotlib

    matplotlib.use("Agg")  # no window, on any machine
    from matplotlib import pyplot as plt

    seconds = [record["seconds"] for record in history]
    style: dict[str, Any] = {"marker": "o" if len(history) < 40 else "", "markersize": 3}
    figure, losses = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name, label, color in (("train_loss", "training", "#9aa4b2"), ("loss", "validation", "#1f5fa8")):
        losses.plot(seconds, [record[name] for record in history], color=color, label=label, **style)
    losses.set(xlabel="seconds of training", ylabel="loss (nats a prediction)", title=title.replace("$", r"\$"))
    losses.grid(alpha=0.25)
    lines = losses.get_lines()
    if history and "accuracy" in history[0]:
        share = losses.twinx()
        accuracy = [100 * record["accuracy"] for record in history]
        lines += share.plot(seconds, accuracy, ls="--", color="#c2571a", label="validation accuracy", **style)
        share.set_ylabel("accuracy (%)")
        share.set_ylim(0, 102)
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
