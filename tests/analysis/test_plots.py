"""Pictures: drawn without a warning, however long the history and whatever the title."""

from pathlib import Path

import pytest

from rnncli.analysis.plots import draw_curve


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
