"""The moving average of weights against a loop, in the trainer and by itself."""

import copy

import pytest
import torch
from support.experiments import make_trainer, train

from rnncli.training.averaging import MovingAverage


def test_equals_an_average_by_hand() -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(3, dtype=torch.float64))
    average, wanted = MovingAverage([weight], 0.9), weight.detach().clone()
    for steps in range(1, 200):
        with torch.no_grad():
            weight.add_(torch.randn(3))
        average.update(average.weight(steps))
        decay = min(0.9, (1 + steps) / (10 + steps)) if steps > 1 else 0.0
        wanted = decay * wanted + (1 - decay) * weight.detach()
    unaveraged = weight.detach().clone()
    with average.in_place():
        torch.testing.assert_close(weight.detach(), wanted, rtol=0, atol=1e-12)
    assert torch.equal(weight, unaveraged)


def test_average_is_validated_and_saved() -> None:
    trainer = make_trainer(average=0.8, epochs=2)
    train(trainer)
    values, tensors = trainer.snapshot()
    assert any(not torch.equal(tensors[f"learned.{place}"], each) for place, each in enumerate(_kept(tensors)))
    plain = copy.deepcopy(make_trainer(epochs=2).model)
    plain.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
    plain.eval()
    with torch.no_grad():
        loss = trainer.experiment.validate(plain)["loss"]
    assert values["progress"]["history"][-1]["loss"] == pytest.approx(loss, rel=1e-6)


def _kept(tensors: dict) -> list:
    return [value for name, value in tensors.items() if name.startswith("model.")]
