"""Learning-rate schedules: pure functions of where a run stands, so that a resumed run needs no state of theirs."""

import math

from rnncli.training.settings import TrainingSettings


def learning_rate(settings: TrainingSettings, step: int, epoch: int, steps: int, drops: int) -> float:
    """The learning rate of one step.

    step counts from 0 and epoch from 0; steps is the planned number of steps; drops, how often a plateau was met.
    constant: lr. exponential: lr decay^epoch. plateau: lr decay^drops. cosine: linear warm-up over the first share
    `warmup` of the steps, then half a cosine down to 1 % of lr (Loshchilov and Hutter 2017, arXiv:1608.03983).
    """
    if settings.schedule == "exponential":
        return settings.lr * settings.decay**epoch
    if settings.schedule == "plateau":
        return settings.lr * settings.decay**drops
    if settings.schedule == "cosine":
        warm = settings.warmup * steps
        if step < warm:
            return settings.lr * (step + 1) / (warm + 1)
        done = min(1.0, (step - warm) / max(1.0, steps - warm))
        return settings.lr * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * done)))
    return settings.lr
