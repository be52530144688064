"""Schedules against torch's own and the formulas of papers and of the book."""

import numpy as np
import pytest
import torch

from rnncli.training.schedules import Position, learning_rate
from rnncli.training.settings import TrainingSettings


def test_constant_keeps_the_rate() -> None:
    settings = TrainingSettings(lr=0.3)
    assert {learning_rate(settings, Position(step, step // 5, 100, 0)) for step in range(100)} == {0.3}


def test_exponential_equals_the_book() -> None:
    settings = TrainingSettings(lr=1e-6, schedule="exponential", decay=0.9999)
    rate = 1e-6
    for epoch in range(1000):
        assert learning_rate(settings, Position(7 * epoch, epoch, 7000, 0)) == pytest.approx(rate, rel=1e-9)
        rate *= 0.9999


def test_cosine_equals_torch_after_warm_up() -> None:
    settings = TrainingSettings(lr=0.2, schedule="cosine", warmup=0.1)
    warm = [learning_rate(settings, Position(step, 0, 100, 0)) for step in range(10)]
    assert warm == pytest.approx([0.2 * (step + 1) / 11 for step in range(10)])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=90, eta_min=0.002)
    for step in range(10, 100):
        assert learning_rate(settings, Position(step, 0, 100, 0)) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        theirs.step()


def test_plateau_drops_by_a_factor() -> None:
    settings = TrainingSettings(lr=1.0, schedule="plateau", decay=0.5)
    assert [learning_rate(settings, Position(0, 0, 1, drops)) for drops in range(4)] == [1.0, 0.5, 0.25, 0.125]


def slanted_triangle(t: np.ndarray, T: int, cut_frac: float, ratio: float, greatest: float) -> np.ndarray:
    """The rates of Howard and Ruder 2018, equation 3, as it is printed."""
    cut = np.floor(T * cut_frac)
    p = np.where(t < cut, t / cut, 1 - (t - cut) / (cut * (1 / cut_frac - 1)))
    return greatest * (1 + p * (ratio - 1)) / ratio


@pytest.mark.parametrize(("cut_frac", "ratio"), [(0.1, 32.0), (0.25, 8.0)])
def test_slanted_triangle_equals_the_paper(cut_frac: float, ratio: float) -> None:
    settings = TrainingSettings(lr=0.01, schedule="slanted", warmup=cut_frac, lr_ratio=ratio)
    ours = [learning_rate(settings, Position(step, 0, 200)) for step in range(200)]
    np.testing.assert_allclose(ours, slanted_triangle(np.arange(200), 200, cut_frac, ratio, 0.01), rtol=1e-12)
    assert max(ours) == ours[round(200 * cut_frac)] == 0.01
    assert ours[0] == pytest.approx(0.01 / ratio)


@pytest.mark.parametrize("steps", [1, 2, 7, 19, 1001])
@pytest.mark.parametrize("cut_frac", [0.0, 0.1, 1.0])
def test_slanted_triangle_is_positive_for_any_number_of_steps(steps: int, cut_frac: float) -> None:
    """The printed formula is negative at the end of 19 steps, and divides by 0 below 10."""
    settings = TrainingSettings(schedule="slanted", warmup=cut_frac)
    rates = [learning_rate(settings, Position(step, 0, steps)) for step in range(steps + 3)]  # more than planned
    assert all(settings.lr / 32 <= rate <= settings.lr for rate in rates)
    assert slanted_triangle(np.array([18]), 19, 0.1, 32.0, 1.0) < 0
