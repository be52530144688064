"""Pictures of training and its results."""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rnncli.analysis.curves import loss_unit
from rnncli.analysis.fonts import fonts_for
from rnncli.cells import label_of
from rnncli.data.text import visible
from rnncli.errors import RnnError
from rnncli.files import write_file
from rnncli.training.monitoring import less_is_better

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rnncli.analysis.comparisons import Band
    from rnncli.analysis.curves import Curve
    from rnncli.analysis.gradients import Flow

_DPI = 110

_MAX_INCHES = 50.0
"""Inches; a larger bitmap cannot be drawn, or exhausts the memory."""


class Picture(NamedTuple):
    """A saved picture."""

    path: Path
    missing: str = ""  # letters without a font on this machine, drawn as boxes

    def __str__(self) -> str:
        return str(self.path)


@contextmanager
def _any_letter() -> Iterator[None]:
    """Silence matplotlib's warnings about letters without a font: `Picture.missing` reports them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        yield


def draw_curve(history: Sequence[Mapping[str, Any]], path: Path, *, title: str, best: int | None = None) -> Picture:
    """Save `curve_figure` as a PNG; raises RnnError if the file cannot be written."""
    return _save(curve_figure(history, title=title, best=best), path)


def curve_figure(history: Sequence[Mapping[str, Any]], *, title: str, best: int | None = None) -> "Figure":
    """Draw losses, and below them accuracy if there is one, against steps, with a ring at the step `best`."""
    record = history[0] if history else {}
    losses = [("train_loss", "training", "#9aa4b2"), ("loss", "validation", "#1f5fa8")]
    panels = {f"loss ({loss_unit(record)})": losses}
    if "accuracy" in record:
        panels["accuracy (%)"] = [("accuracy", "validation", "#1f5fa8")]
    size, ratios = (8, 3 + 1.8 * len(panels)), [2, 1][: len(panels)]
    figure, grid = _grid(len(panels), 1, figsize=size, layout="constrained", sharex=True, height_ratios=ratios)
    for axes, (name, curves) in zip(grid[:, 0], panels.items(), strict=True):
        for metric, label, color in curves:
            _draw_line(
                axes, [each["step"] for each in history], [each[metric] for each in history], metric, color, label
            )
        _ring(axes, best)
        axes.set(ylabel=name)
        axes.grid(alpha=0.25)
    grid[0, 0].set_title(title.replace("$", r"\$"))
    grid[0, 0].legend(frameon=False, fontsize=9)
    _from_zero(grid[-1, 0], "steps")
    return figure


def _draw_line(
    axes: Any,
    at: Sequence[float],
    values: Sequence[float | None],
    metric: str,
    color: str,
    label: str,
    dashes: str = "-",
) -> None:
    """Draw a metric against the x axis, with dots if there are few; a missing number is a gap."""
    scale = 100.0 if metric == "accuracy" else 1.0
    shown = [float("nan") if value is None else scale * value for value in values]
    axes.plot(at, shown, color=color, ls=dashes, marker="o" if len(at) < 40 else "", markersize=3, label=label)


def _from_zero(axes: Any, across: str) -> None:
    """Name the x axis and begin it where training begins; steps are marked at whole numbers."""
    axes.set_xlabel("seconds of training" if across == "seconds" else across)
    axes.set_xlim(left=0)
    if across == "steps":
        axes.xaxis.get_major_locator().set_params(integer=True)


def _ring(axes: Any, best: float | None, label: str = "") -> None:
    """Mark the best step on the last line of a panel; without a label the legend names the value there."""
    line = axes.get_lines()[-1]
    at, values = line.get_xdata(), line.get_ydata()
    place = next((place for place, x in enumerate(at) if x == best), None)
    if place is not None:
        label = label or f"best step: {values[place]:.4g}"
        axes.plot(best, values[place], "o", markersize=9, mfc="none", mec=line.get_color(), mew=1.6, label=label)


def draw_runs(curves: "Sequence[Curve]", path: Path, *, across: str) -> Picture:
    """Save `runs_figure`; raises RnnError if the file cannot be written."""
    return _save(runs_figure(curves, across=across), path)


def runs_figure(curves: "Sequence[Curve]", *, across: str) -> "Figure":
    """Draw curves of several runs: one panel per task and metric, one colour per run, dashed training losses.

    A ring marks the best step of each run.
    """
    runs = list(dict.fromkeys(curve.run for curve in curves))
    panels = list(dict.fromkeys((curve.task, curve.panel) for curve in curves))
    several = len({task for task, _ in panels}) > 1  # their losses and accuracies do not compare
    rows = list(dict.fromkeys(task for task, _ in panels))
    columns = max(sum(task == each for each, _ in panels) for task in rows)
    size = (6.4 * columns + 0.6, 4.5 * len(rows))
    figure, grid = _grid(len(rows), columns, figsize=size, layout="constrained")
    for row, task in zip(grid, rows, strict=True):
        names = [panel for each, panel in panels if each == task]
        for axes in row[len(names) :]:
            axes.set_axis_off()
        for axes, panel in zip(row, names, strict=False):
            inside = [curve for curve in curves if (curve.task, curve.panel) == (task, panel)]
            for curve in inside:
                dashes = "--" if curve.metric != panel else "-"
                label = curve.run.replace("$", r"\$") + (" (training)" if curve.metric != panel else "")
                _draw_line(axes, curve.at, curve.values, curve.metric, f"C{runs.index(curve.run) % 10}", label, dashes)
                if curve.metric == panel:
                    _ring(axes, curve.best)
            axes.set(ylabel=inside[0].axis, title=task if several else "")
            _from_zero(axes, across)
            axes.grid(alpha=0.25)
            axes.legend(frameon=False, fontsize=8)
    return figure


def draw_bands(bands: "Sequence[Band]", path: Path, *, across: str, metric: str, title: str) -> Picture:
    """Save `bands_figure`; raises RnnError if the file cannot be written."""
    return _save(bands_figure(bands, across=across, metric=metric, title=title), path)


def bands_figure(bands: "Sequence[Band]", *, across: str, metric: str, title: str) -> "Figure":
    """Draw a comparison: one colour per cell, one line style per size, the mean over the runs inside their band.

    A ring marks the best mean of each.
    """
    from matplotlib import colormaps

    cells = list(dict.fromkeys(band.cell for band in bands))
    pairs = [colormaps["tab20"](place) for place in range(20)]
    colors = pairs[::2] + pairs[1::2]  # the strong ones first
    figure, axes = _axes(figsize=(8, 4.8), layout="constrained")
    for band in bands:
        sizes = [each.hidden for each in bands if each.cell == band.cell]  # by position: sizes of matched nets differ
        dashes = ("-", "--", ":", "-.")[sizes.index(band.hidden) % 4]
        color = colors[cells.index(band.cell) % len(colors)]
        label = f"{label_of(band.cell)} {band.hidden.replace(',', '+')}"
        axes.plot(band.at, band.mean, color=color, ls=dashes, label=label)
        best = (min if less_is_better(metric) else max)(zip(band.mean, band.at, strict=True))
        _ring(axes, best[1], "best mean" if band is bands[-1] else "_")  # one entry of the legend for all
        axes.fill_between(band.at, band.low, band.high, color=color, alpha=0.12, lw=0)
    name = "loss (nats per prediction)" if metric == "loss" else metric.replace("_", " ")
    axes.set_ylabel(name)
    _from_zero(axes, across)
    axes.set_title(title.replace("$", r"\$"))
    values = [value for band in bands for value in (*band.low, *band.high)]
    if min(values) > 0 and max(values) > 20 * min(values):
        axes.set_yscale("log")
    axes.grid(alpha=0.25)
    if len(bands) > 6:  # the curves need the room
        figure.legend(frameon=False, fontsize=8, loc="outside right upper")
    else:
        axes.legend(frameon=False, fontsize=8)
    return figure


def draw_confusion(confusion: Mapping[str, Mapping[str, int]], path: Path) -> Picture:
    """Draw a confusion matrix (right label -> given label -> count) as a PNG.

    Colours are shares of the right label, so that rare labels are visible. Raises RnnError if the file cannot be
    written.
    """
    labels = [label.replace("$", r"\$") for label in confusion]
    counts = [list(row.values()) for row in confusion.values()]
    fractions = [[count / max(1, sum(row)) for count in row] for row in counts]
    side = 2.5 + 0.55 * len(labels)
    figure, axes = _axes(figsize=(side + 2, side), layout="constrained")
    picture = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="given label", ylabel="right label")
    axes.set_xticks(range(len(labels)), labels, rotation=45 if len(labels) > 4 else 0)
    axes.set_yticks(range(len(labels)), labels)
    for row, columns in enumerate(zip(counts, fractions, strict=True)):
        for column, (count, fraction) in enumerate(zip(*columns, strict=True)):
            color = "white" if fraction > 0.5 else "black"
            size = 10 if len(labels) <= 12 else 8
            if count or len(labels) <= 12:  # many zeros hide the other numbers
                axes.text(column, row, f"{count:,}", ha="center", va="center", color=color, fontsize=size)
    figure.colorbar(picture, label="share of the right label", shrink=min(0.8, 5 / side), pad=0.02, fraction=0.05)
    return _save(figure, path)


def draw_attention(
    source: Sequence[str], target: Sequence[str], weights: Sequence[Sequence[float]], path: Path
) -> Picture:
    """Draw the attention of each target token on each source token as a PNG; darker is more.

    Long sentences get small labels instead of a large picture. Raises RnnError if the file cannot be written.
    """
    across, down = ([token.strip().replace("$", r"\$") or "␣" for token in side] for side in (source, target))
    width, height = 2.5 + 0.4 * len(across), 2 + 0.34 * len(down)
    figure, axes = _axes(figsize=(min(width, _MAX_INCHES), min(height, _MAX_INCHES)), layout="constrained")
    picture = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    slanted = any(len(token) > 2 for token in across[:-1])  # the last one is END
    labels = {"rotation": 45, "ha": "left"} if slanted else {"ha": "center"}
    axes.set_xticks(range(len(across)), across, fontsize=10 * min(1, _MAX_INCHES / width), **labels)
    axes.set_yticks(range(len(down)), down, fontsize=10 * min(1, _MAX_INCHES / height))
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set(xlabel="source", ylabel="translation, token by token")
    figure.colorbar(picture, label="share of the attention")
    return _save(figure, path)


@_any_letter()
def draw_words(words: Sequence[str], points: Sequence[Sequence[float]], path: Path, *, title: str) -> Picture:
    """Draw words at their points in the plane, each label where it covers the least, as a PNG.

    Raises RnnError if the file cannot be written.
    """
    side = min(22.0, 7.0 + len(words) / 20)
    figure, axes = _axes(figsize=(side * 1.25, side), dpi=_DPI, layout="constrained")
    axes.scatter([x for x, _ in points], [y for _, y in points], s=14, color="#1f5fa8")
    axes.margins(0.08)
    axes.set(xticks=[], yticks=[], title=title)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # fixes the points before labels are placed
    pixels = axes.transData.transform(points)
    taken = [_box(x, y, 4, 4) for x, y in pixels]
    labels = [_label(axes, word, point) for word, point in zip(words, points, strict=True)]
    _find_fonts(figure)  # before the labels are measured
    for label, (x, y) in zip(labels, pixels, strict=True):
        extent = label.get_window_extent()
        width, height = extent.width / 2 + 1, extent.height / 2
        offsets = [(right * (width + 7 * far), up * (height + 5 * far)) for right, up, far in _AROUND]
        best = min(
            offsets, key=lambda each: sum(_shared(_box(x + each[0], y + each[1], width, height), o) for o in taken)
        )
        label.set_position(best)
        taken.append(_box(x + best[0], y + best[1], width, height))
    return _save(figure, path)


def _label(axes: Any, word: str, point: Sequence[float]) -> Any:
    """A word at a point, with a line to it."""
    return axes.annotate(
        visible(word).replace("$", r"\$"),
        point,
        (0, 0),
        textcoords="offset pixels",
        fontsize=9,
        ha="center",
        va="center",
        arrowprops={"arrowstyle": "-", "color": "#9aa4b2", "lw": 0.6, "shrinkA": 0, "shrinkB": 2},
    )


def draw_growth(costs: Mapping[str, Sequence[tuple[int, float]]], path: Path, *, title: str) -> Picture:
    """Draw milliseconds against sizes, one panel per name, with a line through the origin and the last point.

    Raises RnnError if the file cannot be written.
    """
    figure, panels = _grid(1, len(costs), figsize=(4.5 * len(costs), 3.8), layout="constrained")
    for axes, (name, points) in zip(panels[0], costs.items(), strict=True):
        sizes, times = zip(*points, strict=True)
        axes.plot([0, sizes[-1]], [0, times[-1]], color="#9aa4b2", ls="--", label="in proportion")
        axes.plot(sizes, times, color="#1f5fa8", marker="o", label="measured")
        axes.set(xlabel=name, ylabel="milliseconds, forward and backward", xlim=(0, None), ylim=(0, None))
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    figure.suptitle(title)
    return _save(figure, path)


def draw_gradients(flows: "Sequence[Flow]", path: Path, *, title: str) -> Picture:
    """Draw norms of gradients against the lag on a log axis, with thin lines after clipping; one panel per net.

    Nets whose names agree up to a comma share a panel. Raises RnnError if the file cannot be written.
    """
    nets = list(dict.fromkeys(flow.name.partition(", ")[0] for flow in flows))
    columns = min(2, len(nets))
    rows = -(-len(nets) // columns)
    figure, panels = _grid(
        rows, columns, figsize=(5.2 * columns + 1, 3.4 * rows + 0.6), layout="constrained", sharey=True
    )
    for axes, net in zip(panels.flat, nets, strict=False):
        curves = [flow for flow in flows if flow.name.partition(", ")[0] == net]
        variants = list(dict.fromkeys(flow.name for flow in curves))
        states = list(dict.fromkeys(flow.state for flow in curves))
        for flow in curves:
            color, dashes = f"C{variants.index(flow.name)}", ("-", "--", "-.", ":")[states.index(flow.state) % 4]
            label = ", ".join([*flow.name.split(", ")[1:], *([flow.state] if len(states) > 1 else [])]) or flow.state
            axes.plot([norm or None for norm in flow.norms], color=color, ls=dashes, label=label)
            if flow.clipped_norm < flow.weight_norm:
                axes.plot([norm or None for norm in flow.clipped], color=color, ls=dashes, lw=0.8, alpha=0.5)
        axes.axhline(0.01, color="#9aa4b2", lw=0.8)
        axes.set(title=net, yscale="log", xlabel="lag T - t (steps)", xlim=(0, max(1, len(flows[0].norms) - 1)))
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=8, ncols=len(states))
    for axes in panels.flat[len(nets) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("norm of the gradient")
        axes.set_ylim(bottom=max(1e-12, min(axes.get_ylim()[0], 1e-2)))
    figure.suptitle(f"{title}\nthin: after clipping; grey: 1 % of 1", fontsize=10)
    return _save(figure, path)


def picture_file(path: Path) -> Path:
    """The file of a picture, a PNG by default; raises RnnError for an unsupported ending."""
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = FigureCanvasBase.get_supported_filetypes()
    named = path if path.suffix or not path.name else path.with_suffix(".png")
    if named.suffix[1:].lower() not in kinds:
        raise RnnError(f"cannot draw {path}: name a file such as picture.png, or one that ends in .svg or .pdf")
    return named


_AROUND = [
    (right, up, far)
    for far in (1, 3, 6, 10)
    for right, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
]
"""Possible positions of a label: the side of its point and the distance, best first."""


def _box(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x - width, y - height, x + width, y + height


def _shared(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """The area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _find_fonts(figure: Any) -> str:
    """Set fonts that cover the letters of all texts of a figure; returns the letters that no font has."""
    from matplotlib.text import Text

    texts = figure.findobj(Text)
    families, missing = fonts_for(text.get_text() for text in texts)
    for text in texts:
        text.set_fontfamily(families)
    return missing


@_any_letter()
def _save(figure: "Figure", path: Path) -> Picture:
    """Save a figure atomically; raises RnnError if the file cannot be written."""
    path = picture_file(path)
    missing = _find_fonts(figure)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:].lower(), dpi=_DPI)
    write_file(path, drawn.getvalue())
    return Picture(path, missing)


@_any_letter()
def png_of(figure: "Figure", dpi: int = _DPI) -> bytes:
    """A figure as a PNG."""
    drawn = io.BytesIO()
    _find_fonts(figure)
    figure.savefig(drawn, format="png", dpi=dpi)
    return drawn.getvalue()


@cache
def _figure_class() -> "type[Figure]":
    """A Figure that notebooks show although pyplot, which owns windows and the backend, does not know it."""
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def _repr_png_(self) -> bytes:
            return png_of(self)

    return ShownFigure


def _grid(rows: int, columns: int, **options: Any) -> "tuple[Figure, Any]":
    """A figure with rows and columns of axes: an array (rows, columns)."""
    of_axes = {name: options.pop(name) for name in ("sharex", "sharey", "height_ratios") if name in options}
    figure = _figure_class()(**options)
    return figure, figure.subplots(rows, columns, squeeze=False, **of_axes)


def _axes(**options: Any) -> "tuple[Figure, Any]":
    """A figure with one pair of axes."""
    figure, grid = _grid(1, 1, **options)
    return figure, grid[0, 0]
