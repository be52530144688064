"""The loop: its events, when it stops, its effect on weights; compared with torch and hand-written loops."""

import copy
import itertools
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.experiments import BATCHES, make_trainer, train
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.data.batching import Batch
from rnncli.errors import RnnError
from rnncli.models.feedforward import FeedForward
from rnncli.training.estimate import seconds_a_step
from rnncli.training.experiment import Experiment
from rnncli.training.loop import Restarted, Stepped, Trainer, Validated
from rnncli.training.losses import prediction_loss
from rnncli.training.settings import OPTIMIZERS, TrainingSettings


def without_dropout(trainer: Trainer) -> Trainer:
    model: Any = trainer.model
    model.stack.dropout.p = 0.0
    return trainer


def test_equals_a_plain_torch_loop() -> None:
    trainer = without_dropout(make_trainer(optimizer="adam", clip=0.5, epochs=2))
    model: Any = copy.deepcopy(trainer.model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(2):
        for batch in trainer.experiment.batches(epoch):
            logits, _ = model(batch.inputs)
            loss = F.cross_entropy(logits.reshape(-1, 2), batch.targets.reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
    train(trainer)
    for ours, theirs in zip(trainer.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(optimizer: str) -> None:
    trainer = make_trainer(
        optimizer=optimizer, epochs=15, lr={"sgd": 0.05, "muon": 0.03, "normuon": 0.03}.get(optimizer, 0.01)
    )
    records = [event.record for event in train(trainer) if isinstance(event, Validated)]
    assert len(records) == 15
    assert records[-1]["loss"] < 0.8 * records[0]["loss"]


def test_without_epochs_time_ends_training_and_drives_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr("rnncli.training.loop.time", SimpleNamespace(perf_counter=lambda: next(ticks) / 2))
    trainer = make_trainer(epochs=0, max_time=12.0, schedule="cosine", lr=1.0)  # a step, a validation: half a second
    rates = []
    for event in trainer.events():
        if isinstance(event, Stepped):
            rates.append((trainer.progress.seconds - 0.5, trainer.progress.lr))
    assert trainer.progress.finished == "12 s are over"
    assert (trainer.progress.step, trainer.progress.seconds, trainer.progress.stepping) == (21, 12.0, 10.5)
    for seconds, rate in rates[1:]:
        assert rate == pytest.approx(0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * seconds / 12)), abs=0.06)
    assert trainer.progress.predictions == sum(batch.predictions for batch in trainer.experiment.batches(0)) * 3


def test_yields_steps_and_a_validation_per_epoch() -> None:
    trainer = make_trainer(epochs=2)
    events = train(trainer)
    assert [type(event) for event in events] == ([Stepped] * BATCHES + [Validated]) * 2
    assert trainer.progress.finished == "done"
    assert [record["step"] for record in trainer.progress.history] == [BATCHES, 2 * BATCHES]
    losses = [event.loss for event in events if isinstance(event, Stepped)]
    assert trainer.progress.history[0]["train_loss"] == pytest.approx(sum(losses[:BATCHES]) / BATCHES)


def test_validates_every_n_steps_and_at_the_end() -> None:
    trainer = make_trainer(epochs=1, validate_every=3)
    train(trainer)
    assert [record["step"] for record in trainer.progress.history] == [3, 6, 7]


def test_stops_without_improvement() -> None:
    trainer = make_trainer(epochs=50, lr=1e-12, optimizer="sgd", patience=2, validate_every=1)
    values = iter([3.0, 2.0, 2.5, 2.1, 1.0])
    trainer.experiment = replace(trainer.experiment, validate=lambda _: {"loss": next(values)})
    train(trainer)
    assert trainer.progress.finished == "no gain in 2 validations"
    assert trainer.progress.best_step == 2


def test_plateau_lowers_the_learning_rate() -> None:
    trainer = make_trainer(epochs=1, lr=0.1, schedule="plateau", decay=0.5, patience=1, validate_every=1)
    trainer.experiment = replace(trainer.experiment, validate=lambda _: {"loss": 1.0})
    train(trainer)
    rates = [record["lr"] for record in trainer.progress.history]
    assert rates == [0.1, 0.1, 0.05, 0.025, 0.0125, 0.00625, 0.003125]


def test_stops_when_solved_and_calls_that_model_the_best() -> None:
    trainer = make_trainer(epochs=9)
    values = iter([{"loss": 1.0}, {"loss": 2.0, "done": 1.0}])
    trainer.experiment = replace(
        trainer.experiment, validate=lambda _: next(values), solved=lambda metrics: "done" in metrics
    )
    events = train(trainer)
    assert trainer.progress.finished == "solved"
    assert isinstance(events[-1], Validated)
    assert events[-1].improved


def test_stops_at_its_time_limit() -> None:
    trainer = make_trainer(epochs=10**6, max_time=0.05)
    train(trainer)
    assert trainer.progress.finished == "0.05 s are over"
    assert trainer.progress.history[-1]["step"] == trainer.progress.step


def test_hopeless_run_restarts_with_new_averages() -> None:
    trainer = make_trainer(epochs=3)
    drawn = []

    def reset() -> None:
        drawn.append(trainer.optimizer.state)

    trainer.experiment = replace(trainer.experiment, hopeless=lambda _, steps: steps >= BATCHES, reset=reset)
    events = train(trainer)
    assert all(averages is not trainer.optimizer.state for averages in drawn)
    assert sum(isinstance(event, Restarted) for event in events) == len(drawn) == trainer.progress.restarts == 2
    assert trainer.progress.restarted == 2 * BATCHES  # and not at the end, after which nothing is trained


def test_average_starts_again_after_a_restart() -> None:
    trainer = make_trainer(epochs=2, average=0.9)
    trainer.experiment = replace(trainer.experiment, hopeless=lambda _, steps: steps >= BATCHES, reset=lambda: None)
    for event in trainer.events():
        if isinstance(event, Stepped) and trainer.progress.step in (1, BATCHES + 1):
            assert trainer.average is not None
            for value, parameter in zip(trainer.average.values, trainer.average.parameters, strict=True):
                assert torch.equal(value, parameter)  # the first weights of each start are not averaged
    assert trainer.progress.restarts == 1


def test_solved_run_is_not_restarted() -> None:
    """A run once drew new weights in the very validation that found it solved."""
    trainer = make_trainer(epochs=2)
    trainer.experiment = replace(
        trainer.experiment, hopeless=lambda _, steps: steps >= BATCHES, solved=lambda _: True, reset=pytest.fail
    )
    train(trainer)
    assert trainer.progress.finished == "solved"
    assert trainer.progress.restarts == 0


def test_nan_validation_is_never_the_best() -> None:
    trainer = make_trainer(epochs=3)
    values = iter([math.nan, 2.0, 3.0])
    trainer.experiment = replace(trainer.experiment, validate=lambda _: {"loss": next(values)})
    assert [event.improved for event in train(trainer) if isinstance(event, Validated)] == [False, True, False]


def test_estimate_leaves_no_trace() -> None:
    trainer = make_trainer(streams=True)
    train(trainer, steps=3)
    before, _ = trainer.snapshot()
    kept = {name: value.clone() for name, value in trainer.snapshot()[1].items()}
    assert 0 < seconds_a_step(trainer) < 1
    values, tensors = trainer.snapshot()
    assert values == before
    assert tensors.keys() == kept.keys()
    assert all(torch.equal(tensors[name], kept[name]) for name in kept)


def test_clipping_bounds_the_step() -> None:
    lengths = []
    for clip in (0.0, 1e-3):
        trainer = make_trainer(optimizer="sgd", momentum=0.0, lr=1.0, clip=clip)
        before = torch.cat([parameter.detach().flatten().clone() for parameter in trainer.trainable])
        train(trainer, steps=1)
        after = torch.cat([parameter.detach().flatten() for parameter in trainer.trainable])
        lengths.append(float((after - before).norm()))
    assert lengths[0] > 0.01
    assert lengths[1] == pytest.approx(1e-3, rel=1e-3)


def test_truncation_cuts_the_gradient_but_carries_the_state() -> None:
    """Against a hand-written loop: two windows, the second from the first's detached state, one mean over both."""
    trainer = without_dropout(make_trainer(optimizer="sgd", momentum=0.0, lr=1.0, clip=0.0, bptt=3))
    whole = without_dropout(make_trainer(optimizer="sgd", momentum=0.0, lr=1.0, clip=0.0))
    model: Any = copy.deepcopy(trainer.model)
    batch = next(iter(trainer.experiment.batches(0)))
    first, states = model(batch.inputs[:3])
    second, _ = model(batch.inputs[3:], [type(state)(*(part.detach() for part in state)) for state in states])
    logits = torch.cat([first, second])
    loss = F.cross_entropy(logits.reshape(-1, 2), batch.targets.reshape(-1))
    loss.backward()
    event = trainer.take_step(batch)
    whole.take_step(batch)
    differs = False
    for ours, theirs, untruncated in zip(trainer.trainable, model.parameters(), whole.trainable, strict=True):
        torch.testing.assert_close(ours, theirs - theirs.grad, rtol=1e-5, atol=1e-7)
        differs = differs or not torch.allclose(ours, untruncated, rtol=1e-5, atol=1e-7)
    assert differs
    assert event.loss == pytest.approx(loss.item(), rel=1e-5)


def test_streams_continue_from_the_carried_state() -> None:
    trainer = without_dropout(make_trainer(streams=True, lr=1e-12, optimizer="sgd"))
    batches = list(trainer.experiment.batches(0))
    model: Any = copy.deepcopy(trainer.model).train()
    inputs = torch.cat([batch.inputs for batch in batches])
    targets = torch.cat([batch.targets for batch in batches])
    wanted = F.cross_entropy(model(inputs)[0].reshape(-1, 2), targets.reshape(-1))
    events = [event for event in train(trainer, steps=BATCHES) if isinstance(event, Stepped)]
    assert sum(event.loss for event in events) / BATCHES == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_non_finite_value_stops_before_the_step(poison: str) -> None:
    trainer = make_trainer()
    loss = trainer.experiment.loss

    def ill(model: Any, batch: Batch, states: Any) -> Any:
        outcome = loss(model, batch, states)
        if trainer.progress.step < 2:
            return outcome
        if poison == "loss":
            return outcome._replace(loss_sum=outcome.loss_sum * math.nan)
        vanishing = model.output.bias.sum() * 0
        return outcome._replace(loss_sum=outcome.loss_sum + torch.sqrt(vanishing))

    trainer = Trainer(replace(trainer.experiment, loss=ill), trainer.settings)
    train(trainer, steps=2)
    before = [parameter.detach().clone() for parameter in trainer.trainable]
    with pytest.raises(RnnError, match=r"at batch 3 of epoch 1 \(step 3\): training stopped before that step"):
        train(trainer)
    assert trainer.progress.step == 2
    for ours, earlier in zip(trainer.trainable, before, strict=True):
        assert torch.equal(ours, earlier)


@pytest.mark.cuda
def test_trains_on_cuda_and_resumes_on_cpu() -> None:
    trainer = make_trainer()
    on_gpu = trainer.model.to("cuda")
    trainer = Trainer(replace(trainer.experiment, model=on_gpu), trainer.settings)
    batch = next(iter(trainer.experiment.batches(0)))
    trainer.take_step(Batch(batch.inputs.cuda(), batch.targets.cuda()))
    values, tensors = trainer.snapshot()
    resumed = make_trainer()
    resumed.restore(values, {name: value.cpu() for name, value in tensors.items()})
    assert math.isfinite(resumed.take_step(batch).loss)


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_independent_parts_train_as_if_separately(clip: float) -> None:
    """Two nets in one training, each with its own data, against two trainings: no gradient norm is shared."""

    class Pair(nn.Module):
        def __init__(self, *nets: nn.Module) -> None:
            super().__init__()
            self.nets = nn.ModuleList(nets)

        def forward(self, x: Tensor, states: None = None, lengths: None = None) -> tuple[Tensor, None]:
            return torch.stack([net(x[:, place])[0] for place, net in enumerate(self.nets)], 1), None

    data = torch.Generator().manual_seed(3)
    x = torch.randn(5, 8, 2, 3, generator=data).double()
    y = torch.randint(2, (5, 8, 2), generator=data)
    settings = TrainingSettings(epochs=4, lr=0.1, clip=clip)

    def trained(model: nn.Module, batches: list[Batch], **more: Any) -> Trainer:
        experiment = Experiment(
            model, lambda _, begin: batches[begin:], len(batches), prediction_loss, lambda _: {"loss": 1.0}, **more
        )
        trainer = Trainer(experiment, settings)
        for _ in trainer.events():
            pass
        return trainer

    torch.manual_seed(5)
    nets = [FeedForward(3, 2, [4]).double() for _ in range(2)]
    alone = copy.deepcopy(nets)
    both = trained(Pair(*nets), [Batch(x[i], y[i]) for i in range(5)], independent_parts=lambda pair: pair.nets)
    ones = [
        trained(net, [Batch(x[i, :, p : p + 1], y[i, :, p : p + 1]) for i in range(5)]) for p, net in enumerate(alone)
    ]
    for one, other in zip(nets, alone, strict=True):
        for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    losses = [trainer.progress.history[-1]["train_loss"] for trainer in (both, *ones)]
    assert losses[0] == pytest.approx((losses[1] + losses[2]) / 2)


def test_newest_is_best_keeps_the_newest_model() -> None:
    losses = iter([1.0, 3.0, 2.0])
    trainer = make_trainer(epochs=3)
    experiment = replace(trainer.experiment, validate=lambda _: {"loss": next(losses)}, newest_is_best=True)
    trainer = Trainer(experiment, trainer.settings)
    kept = [event.improved for event in trainer.events() if isinstance(event, Validated)]
    assert kept == [True, True, True]
    assert trainer.progress.best_step == trainer.progress.step
