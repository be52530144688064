"""--accumulate N takes the steps of a batch N times as large: the same losses and weights, in every task."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.experiments import make_trainer, train
from torch import Tensor

from rnncli.api import Training
from rnncli.data import dates
from rnncli.data.corpora import CORPORA
from rnncli.data.sources import Generated
from rnncli.errors import Interrupted
from rnncli.presets import resolve
from rnncli.tasks import TASKS
from rnncli.training.interrupts import Interrupts
from rnncli.training.loop import Stepped, Trainer
from rnncli.training.losses import prediction_loss

PLAIN = (
    "dropout",
    "word_dropout",
    "char_dropout",
    "input_dropout",
    "embedding_dropout",
    "output_dropout",
    "weight_drop",
)
MORE: dict[str, dict[str, Any]] = {
    "char-lm": {"activation_penalty": 2.0, "change_penalty": 1.0, "clip": 0.05},
    "poetry-lm": {"activation_penalty": 2.0, "change_penalty": 1.0, "bptt": 5},
    "poetry-classify": {"class_weights": True, "folds": 2, "ensemble": 1, "clip": 0.05},
    "tag": {"clip": 0.05},
    "parity": {"patience_steps": 0, "precision": "float32"},
    "running": {"running": True, "average": 0.9},
}
"""What each task adds to the loss, cuts, carries or clips."""


def training(task: str, name: str, **flags: Any) -> Training:
    """Build a task's training without dropout."""
    extra = MORE.get("running" if flags.get("running") else task, {})
    kinds = TASKS[task].Config.__dataclass_fields__
    plain = {each: 0.0 for each in PLAIN if each in kinds}
    given = {"hidden": "3", "epochs": 1, "schedule": "constant", **plain, **extra, **flags}
    return Training.start(task, resolve(TASKS[task], given), name)


def ended(started: Training, steps: int = 12) -> tuple[list[float], dict[str, Tensor]]:
    """Return the losses of the first steps, and the weights after them."""
    trainer = started.trainer
    losses = [event.loss for event in train(trainer, steps) if isinstance(event, Stepped)]
    assert trainer.progress.step > 2
    return losses, {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}


@pytest.mark.parametrize("task", [*TASKS, "running"])
def test_accumulated_steps_equal_those_of_the_larger_batch(
    task: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SGD, which would reveal a gradient of another size; the number of sequences is no multiple of N."""
    monkeypatch.setitem(CORPORA, "dates", Generated("dates", "some days", lambda: dates.write(lines=100)))
    flags: dict[str, Any] = {
        "optimizer": "sgd",
        "momentum": 0.5,
        "lr": 0.1,
        **({"running": True} if task == "running" else {}),
    }
    name = "wiki-lm" if task == "running" else task
    one, many = (
        ended(training(name, f"{size}", batch_size=size, accumulate=N, **flags)) for size, N in ((15, 1), (3, 5))
    )
    assert many[0] == pytest.approx(one[0], rel=1e-5)
    for key, value in one[1].items():
        torch.testing.assert_close(many[1][key], value, rtol=1e-4, atol=1e-6, msg=key)


def doubles(**settings: Any) -> Trainer:
    """Build a float64 trainer on batches of four rows, without dropout."""
    trainer = make_trainer(**settings)
    model: Any = trainer.model.double()
    model.stack.dropout.p = 0.0
    model.stack.backend = "reference"
    batches = trainer.experiment.batches

    def in_double(epoch: int, begin: int = 0) -> Any:
        return (batch._replace(inputs=batch.inputs.double()) for batch in batches(epoch, begin))

    def validate(model: Any) -> dict[str, float]:
        return {"loss": sum(float(prediction_loss(model, batch, None).loss_sum) for batch in in_double(0))}

    experiment = replace(trainer.experiment, batches=in_double, model=model, validate=validate)
    return Trainer(experiment, trainer.settings)


@pytest.mark.parametrize("N", [2, 3, 9])
@pytest.mark.parametrize(
    "settings",
    [{"clip": 0.01, "optimizer": "sgd"}, {"streams": True, "clip": 0.0}, {"bptt": 2, "average": 0.9, "streams": True}],
    ids=["clipped", "carried", "windows"],
)
def test_curve_in_double_precision_is_the_same_to_the_last_digits(settings: dict[str, Any], N: int) -> None:
    """Rows not divisible by N, more parts than rows, carried states, the average, clipping once per step."""
    one, many = doubles(**settings), doubles(**settings, accumulate=N)
    losses = [[event.loss for event in train(each, 16) if isinstance(event, Stepped)] for each in (one, many)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-12)
    states = [each.snapshot()[1] for each in (one, many)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-10, atol=1e-12, msg=name)


def test_accumulated_part_is_no_larger_than_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(accumulate=2)
    seen: list[int] = []
    loss = trainer.loss

    def recorded(batch: Any, states: Any) -> Any:
        seen.append(batch.rows)
        return loss(batch, states)

    monkeypatch.setattr(trainer, "loss", recorded)
    train(trainer, 1)
    assert seen == [2, 2]


def test_interrupted_run_ends_bitwise_equal(home: Path) -> None:
    """Bitwise, in mid-epoch, with carried states and dropout."""
    settings = resolve(
        TASKS["char-lm"],
        {"hidden": "3", "epochs": 1, "batch_size": 3, "accumulate": 3, "bptt": 40, "corpus": ("hillside",)},
    )
    whole = Training.start("char-lm", settings, "whole")
    whole.train(lambda _: None, pytest.fail)
    part = Training.start("char-lm", settings, "part")

    def stop(event: object) -> None:
        if isinstance(event, Stepped) and part.trainer.progress.step == 5:
            patched.setattr(Interrupts, "received", 2)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Interrupted):
        part.train(stop, pytest.fail)
    resumed = Training.resume(part.run, {})
    resumed.train(lambda _: None, pytest.fail)
    tensors = [each.trainer.snapshot()[1] for each in (whole, resumed)]
    assert all(torch.equal(value, tensors[1][name]) for name, value in tensors[0].items())
    assert resumed.trainer.rows == 9


def test_float16_scales_sums_like_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is divided by about the count before the backward pass, so that the scale need not fall."""
    trainer = make_trainer(accumulate=2)
    divisors: list[list[float]] = []
    window = Trainer._window

    def recorded(self: Trainer, batch: Any, states: Any, given: list[float]) -> Any:
        divisors.append(copy.copy(given))
        return window(self, batch, states, given)

    monkeypatch.setattr(Trainer, "_window", recorded)
    train(trainer, 3)
    assert divisors == [[4.0]] * 2 + [[16.0]] * 4  # 4 rows; then 20 predictions per step
