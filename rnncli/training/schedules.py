"""Learning-rate schedules by name: pure functions of a run's position, so that resuming restores nothing for them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Pace(Protocol):
    """The settings that the table's schedules use."""

    @property
    def schedule(self) -> str: ...
    @property
    def lr(self) -> float: ...
    @property
    def decay(self) -> float: ...
    @property
    def warmup(self) -> float: ...
    @property
    def lr_ratio(self) -> float: ...


class Position(NamedTuple):
    """Where a run stands."""

    step: int  # from 0
    epoch: int  # from 0
    steps: int  # planned in total
    drops: int = 0  # plateaus reached so far


@dataclass(frozen=True)
class ScheduleKind:
    """A schedule: the factor of the learning rate at a position, and the settings it uses, with its own defaults."""

    factor: Callable[[Pace, Position], float]
    settings: Mapping[str, float]


def learning_rate(settings: Pace, at: Position) -> float:
    """Return the learning rate of one step."""
    return settings.lr * SCHEDULES[settings.schedule].factor(settings, at)


def _cosine(settings: Pace, at: Position) -> float:
    """Linear warm-up, then half a cosine down to 1 % (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
    warm = settings.warmup * at.steps
    if at.step < warm:
        return (at.step + 1) / (warm + 1)
    done = min(1.0, (at.step - warm) / max(1.0, at.steps - warm))
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * done))


def _slanted(settings: Pace, at: Position) -> float:
    """A slanted triangle: a short linear rise, then a long linear fall (Howard and Ruder 2018, arXiv:1801.06146).

    p = t / cut before the step cut = warmup T, then 1 - (t - cut) / (T - cut); factor (1 + p (ratio - 1)) / ratio.
    The paper rounds cut down, which makes its last rates negative where warmup T is no whole number; here it is exact.
    """
    cut = settings.warmup * at.steps
    p = at.step / cut if at.step < cut else 1.0 - (at.step - cut) / max(1.0, at.steps - cut)
    return (1.0 + max(0.0, p) * (settings.lr_ratio - 1.0)) / settings.lr_ratio


SCHEDULES: Mapping[str, ScheduleKind] = {
    "constant": ScheduleKind(lambda _, __: 1.0, {}),
    "exponential": ScheduleKind(lambda settings, at: settings.decay**at.epoch, {"decay": 0.95}),
    "cosine": ScheduleKind(_cosine, {"warmup": 0.05}),
    "slanted": ScheduleKind(_slanted, {"warmup": 0.1, "lr_ratio": 32.0}),
    "plateau": ScheduleKind(lambda settings, at: settings.decay**at.drops, {"decay": 0.5}),
}
"""Defaults as for optimizers: a schedule that was not the tuned one starts from its own."""
