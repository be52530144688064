"""An estimate of a training's duration: a few steps are timed on a copy that leaves no trace."""

import copy
import time
from dataclasses import replace
from itertools import islice

import torch

from rnncli.kernels.compiling import COMPILATION
from rnncli.training.distributed import maxima
from rnncli.training.loop import Trainer
from rnncli.training.machine import matmul_policy
from rnncli.training.randomness import cuda_devices

WARM_UP, STEPS = 2, 20
SECONDS = 0.5


def seconds_a_step(trainer: Trainer) -> float:
    """Return the mean seconds per training step; weights and random generators do not change.

    It times 20 steps, or half a second of them, after two warm-up steps. Steps that compile kernels or record graphs do
    not count. If no step is left to time, the last one stands for all, without its compilation.
    """
    with torch.random.fork_rng(cuda_devices()), matmul_policy(trainer.model, trainer.settings.precision):
        experiment = replace(trainer.experiment, model=copy.deepcopy(trainer.model))
        shadow = Trainer(experiment, trainer.settings)
        if trainer.graphs.recorder:
            shadow.record_steps(trainer.graphs.recorder)
        shadow.progress.step, shadow.progress.epoch = trainer.progress.step, trainer.progress.epoch
        timed: list[float] = []
        last = 0.0
        for place, batch in enumerate(islice(experiment.batches(trainer.progress.epoch), WARM_UP + STEPS)):
            began, compiling, prepared = time.perf_counter(), COMPILATION.seconds, shadow.graphs.prepared
            shadow.take_step(batch)
            compiling = COMPILATION.seconds - compiling
            last = time.perf_counter() - began - compiling
            if place >= WARM_UP and not compiling and shadow.graphs.prepared == prepared:
                timed.append(last)
            if maxima(sum(timed))[0] > SECONDS:
                break
        return sum(timed) / len(timed) if timed else last
