"""Schedules against torch's own and the book's formula."""

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
