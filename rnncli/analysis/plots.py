"""Pictures of a training and of what came of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnncli.errors import RnnError


def draw_curve(history: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> Path:
    """Draw losses, and accuracy where there is one, against seconds of training, as a PNG; returns its path."""
    plt = _pyplot()
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


def draw_confusion(confusion: Mapping[str, Mapping[str, int]], path: Path) -> Path:
    """Draw how often which label was given to what (right label -> given label -> count) as a PNG; returns its path.

    A row's colours are shares of its right label, so that rare labels are seen as well. Raises RnnError where no
    picture can be written.
    """
    plt = _pyplot()
    labels = [label.replace("$", r"\$") for label in confusion]
    counts = [list(row.values()) for row in confusion.values()]
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    side = 2.5 + 0.55 * len(labels)
    figure, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="given label", ylabel="right label")
    axes.set_xticks(range(len(labels)), labels, rotation=45 if len(labels) > 4 else 0)
    axes.set_yticks(range(len(labels)), labels)
    for row, (counted, shared) in enumerate(zip(counts, shares, strict=True)):
        for column, (count, share) in enumerate(zip(counted, shared, strict=True)):
            color = "white" if share > 0.5 else "black"
            size = 10 if len(labels) <= 12 else 6
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=color, fontsize=size)
    figure.colorbar(picture, label="share of the right label", shrink=0.8)
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise RnnError(f"cannot draw {path}: {reason}; name a file such as confusion.png") from None
    finally:
        plt.close(figure)
    return path


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")  # no window, on any machine
    from matplotlib import pyplot as plt

    return plt
