"""How long a training will take: a few steps are timed on a copy that leaves no trace."""

import copy
import time
from dataclasses import replace
from itertools import islice

import torch

from rnncli.training.distributed import greatest
from rnncli.training.loop import Trainer
from rnncli.training.machine import suited_products
from rnncli.training.randomness import cuda_devices

STEPS = 20
SECONDS = 0.5


def seconds_a_step(trainer: Trainer) -> float:
    """The mean time of a training step, over at most 20 steps or half a second; weights and chance stay as they are."""
    with torch.random.fork_rng(cuda_devices()), suited_products(trainer.model, trainer.settings.precision):
        experiment = replace(trainer.experiment, model=copy.deepcopy(trainer.model))
        shadow = Trainer(experiment, trainer.settings)
        shadow.progress.step, shadow.progress.epoch = trainer.progress.step, trainer.progress.epoch
        batches = iter(experiment.batches(trainer.progress.epoch))
        for batch in islice(batches, 1):  # the first step pays for what later ones find ready
            shadow.take_step(batch)
        began, taken = time.perf_counter(), 0
        for batch in islice(batches, STEPS):
            shadow.take_step(batch)
            taken += 1
            if greatest(time.perf_counter() - began)[0] > SECONDS:
                break
        return (time.perf_counter() - began) / taken if taken else shadow.progress.seconds
