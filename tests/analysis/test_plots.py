"""Pictures: no warnings for any length of history and any title."""

from pathlib import Path

import pytest
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

from rnncli.analysis.comparisons import Band
from rnncli.analysis.fonts import fonts_for
from rnncli.analysis.plots import draw_attention, draw_bands, draw_confusion, draw_curve, draw_words


@pytest.mark.parametrize("length", [1, 39, 40, 500])
def test_curves_of_any_length(length: int, tmp_path: Path) -> None:
    history = [
        {
            "seconds": float(step),
            "train_loss": None if step == 0 else 1 / (step + 1),
            "loss": 2 / (step + 1),
            "accuracy": 0.5,
        }
        for step in range(length)
    ]
    file = draw_curve(history, tmp_path / "curve.png", title="a $b^$ c")
    assert file.path.read_bytes().startswith(b"\x89PNG")


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
    drawn = draw_words(["a⌢b", "b\U000f1234"], [(0, 0), (1, 1)], tmp_path / "w.png", title="⌢")
    assert drawn.missing == "\U000f1234"  # for private use
    families, missing = fonts_for(["a⌢b", "naïve \u200d☀\ufe0f"])
    assert (len(families), missing) == (2, "")
    found = next(entry for entry in fontManager.ttflist if entry.name == families[1])
    assert FT2Font(found.fname).get_char_index(ord("⌢")) > 0
    assert "Last Resort" not in found.name  # it has a box for everything


def test_letters_that_no_font_has_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = [entry for entry in fontManager.ttflist if entry.name in ("DejaVu Sans", "Last Resort High-Efficiency")]
    monkeypatch.setattr(fontManager, "ttflist", default)
    drawn = draw_attention(["漢", "字", "ℊ", "<end>"], ["x"], [[0.25] * 4], tmp_path / "a.png")
    assert (drawn.missing, str(drawn)) == ("".join(sorted("漢字ℊ")), str(tmp_path / "a.png"))
    curves = draw_curve([{"seconds": 1.0, "train_loss": 1.0, "loss": 1.0}], tmp_path / "c.png", title="語")
    assert curves.missing == "語"
    bands = [Band("gru", "4", [1, 2], [1.0, 0.5], [1.0, 0.5], [1.0, 0.5])]
    assert draw_bands(bands, tmp_path / "b.png", across="steps", metric="loss", title="語 né").missing == "語"
    assert draw_confusion({"愛": {"愛": 1, "b": 0}, "b": {"愛": 0, "b": 1}}, tmp_path / "m.png").missing == "愛"
