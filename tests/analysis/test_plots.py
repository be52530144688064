"""Pictures: drawn without a warning, however long the history and whatever the title."""

from pathlib import Path

import pytest

from rnncli.analysis.plots import draw_attention, draw_curve, draw_words


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
    assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("tokens", [["漢", "字", "<end>"], ["ein"] * 400 + ["<end>"]], ids=["no glyph", "long"])
def test_attention_of_any_letters_and_length_fits_a_picture(tokens: list[str], tmp_path: Path) -> None:
    """The size of a PNG stands in its first chunk."""
    drawn = draw_attention(tokens, tokens[-3:], [[1 / len(tokens)] * len(tokens)] * 3, tmp_path / "a.png")
    data = drawn.read_bytes()
    width, height = (int.from_bytes(data[begin : begin + 4], "big") for begin in (16, 20))
    assert data.startswith(b"\x89PNG")
    assert 0 < height < width < 6_000


def test_words_of_any_letters(tmp_path: Path) -> None:
    assert draw_words(["漢", "字"], [(0, 0), (1, 1)], tmp_path / "w.png", title="漢字").stat().st_size > 1_000
