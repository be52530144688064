"""Pictures: no warnings for any length of history and any title."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

from rnncli.analysis import plots
from rnncli.analysis.comparisons import Band
from rnncli.analysis.curves import Curve
from rnncli.analysis.fonts import fonts_for
from rnncli.analysis.plots import draw_attention, draw_bands, draw_confusion, draw_curve, draw_runs, draw_words


@pytest.mark.parametrize("length", [1, 39, 40, 500])
def test_curves_of_any_length(length: int, tmp_path: Path) -> None:
    history = [
        {
            "step": step,
            "train_loss": None if step == 0 else 1 / (step + 1),
            "loss": 2 / (step + 1),
            "accuracy": 0.5,
        }
        for step in range(length)
    ]
    file = draw_curve(history, tmp_path / "curve.png", title="a $b^$ c")
    assert file.path.read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are saved, as matplotlib keeps them."""
    saved: list[Any] = []
    save = plots._save

    def keep(figure: Any, path: Path) -> plots.Picture:
        saved.append(figure)
        return save(figure, path)

    monkeypatch.setattr(plots, "_save", keep)
    return saved


def rings(axes: Any) -> list[tuple[float, float]]:
    """The points of a panel that are marked by a ring."""
    lines = [line for line in axes.get_lines() if line.get_markerfacecolor() == "none"]
    return [(float(x), float(y)) for line in lines for x, y in zip(*line.get_data(), strict=True)]


def test_curve_marks_the_best_step_and_gives_accuracy_its_own_axis(tmp_path: Path, figures: list[Any]) -> None:
    losses, accuracies = [0.7, 0.2, 0.4], [0.5, 0.75, 1.0]
    history = [
        {"step": 10 * n, "train_loss": 1.0, "loss": loss, "accuracy": accuracy, "perplexity": 2.0}
        for n, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True), 1)
    ]
    draw_curve(history, tmp_path / "curve.png", title="t", best=20)
    loss, accuracy = figures[0].axes
    assert [each.get_ylabel() for each in (loss, accuracy)] == ["loss (nats per token)", "accuracy (%)"]
    assert (accuracy.get_xlabel(), accuracy.get_xlim()[0]) == ("steps", 0)
    assert (rings(loss), rings(accuracy)) == ([(20, 0.2)], [(20, 75.0)])


def test_two_tasks_never_share_an_axis(tmp_path: Path, figures: list[Any]) -> None:
    def curve(run: str, task: str, metric: str, unit: str) -> Curve:
        return Curve(run, metric, [1.0, 2.0], [0.5, 0.25], task, 2.0, unit)

    one = [curve("a", "poetry-lm", each, "nats per token") for each in ("train_loss", "loss", "accuracy")]
    two = [curve("b", "parity", each, "nats per prediction") for each in ("train_loss", "loss")]
    draw_runs([*one, *two], tmp_path / "runs.png", across="steps")
    shown = [axes for axes in figures[0].axes if axes.axison]
    assert [(axes.get_title(), axes.get_ylabel()) for axes in shown] == [
        ("poetry-lm", "loss (nats per token)"),
        ("poetry-lm", "accuracy (%)"),
        ("parity", "loss (nats per prediction)"),
    ]
    assert [rings(axes) for axes in shown] == [[(2, 0.25)], [(2, 25.0)], [(2, 0.25)]]
    draw_runs([*one, curve("b", "poetry-lm", "loss", "nats per token")], tmp_path / "runs.png", across="steps")
    assert [axes.get_title() for axes in figures[1].axes] == ["", ""]


def test_bands_mark_the_best_mean(tmp_path: Path, figures: list[Any]) -> None:
    band = Band("gru", "4", [1, 2, 3], [1.0, 0.5, 0.75], [1.0, 0.5, 0.75], [1.0, 0.5, 0.75])
    for metric in ("loss", "accuracy"):
        draw_bands([band], tmp_path / "b.png", across="steps", metric=metric, title="t")
    assert [rings(each.axes[0]) for each in figures] == [[(2, 0.5)], [(1, 1.0)]]


def test_many_cells_have_colours_of_their_own_and_a_legend_outside(tmp_path: Path, figures: list[Any]) -> None:
    cells = ("elman", "rated", "gru", "lstm", "mgu", "mlstm", "lnlstm", "indrnn", "sru", "lru", "mingru", "minlstm")
    bands = [Band(cell, "4", [1, 2], [1.0, 0.5], [1.0, 0.5], [1.0, 0.5]) for cell in cells]
    draw_bands(bands, tmp_path / "b.png", across="steps", metric="loss", title="t")
    axes = figures[0].axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) == 2]
    assert len({line.get_color() for line in curves}) == len(cells)
    assert axes.get_legend() is None
    assert len(figures[0].legends[0].get_texts()) == len(cells) + 1


def test_confusion_of_many_labels_shows_no_zeros(tmp_path: Path, figures: list[Any]) -> None:
    for count in (12, 13):
        labels = [f"l{number}" for number in range(count)]
        draw_confusion({one: {other: int(one == other) for other in labels} for one in labels}, tmp_path / "m.png")
    assert [len(each.axes[0].texts) for each in figures] == [144, 13]


@pytest.mark.parametrize("tokens", [["漢", "字", "<end>"], ["ein"] * 400 + ["<end>"]], ids=["no glyph", "long"])
def test_attention_of_any_letters_and_length_fits_a_picture(tokens: list[str], tmp_path: Path) -> None:
    """The size of a PNG, from its first chunk."""
    drawn = draw_attention(tokens, tokens[-3:], [[1 / len(tokens)] * len(tokens)] * 3, tmp_path / "a.png")
    data = drawn.path.read_bytes()
    width, height = (int.from_bytes(data[begin : begin + 4], "big") for begin in (16, 20))
    assert data.startswith(b"\x89PNG")
    assert 0 < height < width < 6_000


def test_letters_are_drawn_in_fonts_that_have_them_and_the_others_are_named(tmp_path: Path) -> None:
    """DejaVu Sans, the default, lacks U+2322; STIXGeneral, also part of matplotlib, has it."""
    drawn = draw_words(["a⌢b", "b\U00016ac0"], [(0, 0), (1, 1)], tmp_path / "w.png", title="⌢")
    assert drawn.missing == "\U00016ac0"  # a digit of Tangsa
    families, missing = fonts_for(["a⌢b", "naïve \u200d☀\ufe0f"])
    assert (len(families), missing) == (2, "")
    found = next(entry for entry in fontManager.ttflist if entry.name == families[1])
    assert FT2Font(found.fname).get_char_index(ord("⌢")) > 0
    assert "Last Resort" not in found.name  # it has a box for everything


def test_words_of_blanks_and_lone_marks_have_visible_labels(figures: list[Any], tmp_path: Path) -> None:
    draw_words(["\u0301", " ", "\n", "и\u0301"], [(0, 0), (1, 1), (0, 1), (1, 0)], tmp_path / "w.png", title="")
    assert [label.get_text() for label in figures[0].axes[0].texts] == ["◌\u0301", "␣", "↵", "и\u0301"]


def test_letters_that_no_font_has_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = [entry for entry in fontManager.ttflist if entry.name in ("DejaVu Sans", "Last Resort High-Efficiency")]
    monkeypatch.setattr(fontManager, "ttflist", default)
    drawn = draw_attention(["漢", "字", "ℊ", "<end>"], ["x"], [[0.25] * 4], tmp_path / "a.png")
    assert (drawn.missing, str(drawn)) == ("".join(sorted("漢字ℊ")), str(tmp_path / "a.png"))
    curves = draw_curve([{"step": 1, "train_loss": 1.0, "loss": 1.0}], tmp_path / "c.png", title="語")
    assert curves.missing == "語"
    bands = [Band("gru", "4", [1, 2], [1.0, 0.5], [1.0, 0.5], [1.0, 0.5])]
    assert draw_bands(bands, tmp_path / "b.png", across="steps", metric="loss", title="語 né").missing == "語"
    assert draw_confusion({"愛": {"愛": 1, "b": 0}, "b": {"愛": 0, "b": 1}}, tmp_path / "m.png").missing == "愛"
