"""A small experiment with everything that a resumed run must restore: dropout, shuffled batches, carried states."""

from collections.abc import Iterator
from typing import Any

import torch

from rnncli.data.batching import Batch, epoch_generator
from rnncli.models.stack import StackShape
from rnncli.models.tagger import Tagger
from rnncli.training.experiment import Experiment
from rnncli.training.loop import Event, Trainer
from rnncli.training.losses import prediction_loss
from rnncli.training.randomness import seed_everything
from rnncli.training.settings import TrainingSettings

T, B, D, K = 5, 4, 3, 2
BATCHES = 7


def make_trainer(*, cell: str = "lstm", streams: bool = False, **settings: Any) -> Trainer:
    """Build a trainer of a two-layer tagger with dropout, on fixed random data; `streams` carries states over."""
    seed_everything(settings.get("seed", 0))
    data = torch.Generator().manual_seed(99)
    inputs = torch.randn(BATCHES, T, B, D, generator=data)
    targets = (inputs.sum(-1).cumsum(1) > 0).long()
    model = Tagger(D, K, StackShape(cell, (6, 4), dropout=0.3))

    def batches(epoch: int, begin: int = 0) -> Iterator[Batch]:
        order = torch.randperm(BATCHES, generator=epoch_generator(0, epoch)).tolist()
        for place, each in enumerate(order[begin:], start=begin):
            yield Batch(inputs[each], targets[each], continues=streams and place > 0)

    def validate(model: Any) -> dict[str, float]:
        losses = [prediction_loss(model, batch, None).loss_sum for batch in batches(0)]
        return {"loss": float(torch.stack(losses).sum()) / (BATCHES * T * B)}

    experiment = Experiment(
        model=model, batches=batches, batches_per_epoch=BATCHES, loss=prediction_loss, validate=validate
    )
    return Trainer(experiment, TrainingSettings(**{"epochs": 3, "lr": 0.01, **settings}))


def train(trainer: Trainer, steps: int | None = None) -> list[Event]:
    """Receive events until the end, or until `steps` steps are done."""
    events = []
    for event in trainer.events():
        events.append(event)
        if steps is not None and trainer.progress.step >= steps:
            break
    return events
