"""parity: the data, the metrics, and a default recipe that solves it and generalizes to longer strings."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rnncli.api import Training, load
from rnncli.models.stack import StackShape
from rnncli.models.tagger import Tagger
from rnncli.presets import resolve
from rnncli.tasks import TASKS, parity


def test_all_strings_of_a_length() -> None:
    strings = parity.all_strings(5, seed=0)
    assert {tuple(row) for row in strings.tolist()} == set(np.ndindex(2, 2, 2, 2, 2))
    assert parity.all_strings(17, seed=0).shape == (parity.SAMPLE, 17)


def test_labels_are_the_parity_so_far() -> None:
    batch = parity.sequences(torch.tensor([[1, 0, 1, 1], [0, 0, 1, 0]]), -1)
    assert batch.inputs[:, 0, 0].tolist() == [1, -1, 1, 1]
    assert batch.targets.T.tolist() == [[1, 1, 0, 1], [0, 0, 1, 1]]
    assert parity.sequences(torch.tensor([[1, 0, 1, 1]]), 0).inputs.flatten().tolist() == [1, 0, 1, 1]
    assert parity.whole_strings(torch.tensor([[1, 0, 1, 1], [0, 0, 1, 0]]), 0).targets.tolist() == [[1, 1]]


def exact_solver() -> Tagger:
    """An Elman net with hand-made weights: two relus compute XOR of the state and the bit."""
    model = Tagger(1, 2, StackShape("elman", (2,), "relu"))
    cell = model.stack.cells[0]
    with torch.no_grad():
        # p' = a - 2 b with a = relu(p + x), b = relu(p + x - 1), x = (input + 1) / 2
        cell.weight_x.copy_(torch.tensor([[0.5], [0.5]]))
        cell.weight_h.copy_(torch.tensor([[1.0, -2.0], [1.0, -2.0]]))
        cell.bias.copy_(torch.tensor([0.5, -0.5]))
        model.output.weight.copy_(torch.tensor([[0.0, 0.0], [9.0, -18.0]]))
        model.output.bias.copy_(torch.tensor([4.5, 0.0]))
    return model


@torch.no_grad()
def test_metrics_of_a_hand_made_net_are_right() -> None:
    model = exact_solver()
    metrics = parity.validate(
        model, parity.sequences(parity.all_strings(8, 0), -1), parity.sequences(parity.long_strings(0), -1)
    )
    assert metrics["accuracy"] == metrics["long_accuracy"] == 1
    assert metrics["long_margin"] == pytest.approx(4.5)
    model.output.bias[1] += 4.6  # now even strings are labelled odd
    metrics = parity.validate(model, parity.sequences(parity.all_strings(8, 0), -1), None)
    assert metrics["accuracy"] == 0.5


@pytest.mark.parametrize(
    "cell", ["elman", *(pytest.param(each, marks=pytest.mark.slow) for each in ("rated", "gru", "lstm"))]
)
def test_default_recipe_solves_strings_of_any_length(cell: str, home: Path) -> None:
    training = Training.start("parity", resolve(TASKS["parity"], {"cell": cell, "seed": 1}), "test")
    training.train(lambda _: None, pytest.fail)
    assert training.trainer.progress.finished == "solved"
    trained = load(home / "checkpoints/parity/test/best.safetensors")
    assert parity.evaluate(trained, parity.EvaluateOptions())["accuracy"] == 1
    assert parity.evaluate(trained, parity.EvaluateOptions(bits=1000, strings=200))["accuracy"] == 1


def test_unsolved_weights_restart_and_are_counted(home: Path) -> None:
    flags = {"seed": 0, "lr": 1e-9, "patience_steps": 100, "epochs": 5}
    training = Training.start("parity", resolve(TASKS["parity"], flags), "test")
    training.train(lambda _: None, pytest.fail)
    assert training.trainer.progress.restarts == 3  # at 100, 200, 300 of 320 steps
    assert training.trainer.progress.finished == "done"


def test_feed_forward_net_solves_short_strings(home: Path) -> None:
    training = Training.start("parity", resolve(TASKS["parity"], {"model": "mlp", "bits": 6, "hidden": "32"}), "foil")
    training.train(lambda _: None, pytest.fail)
    assert training.trainer.progress.finished == "solved"
    trained = load(home / "checkpoints/parity/foil/best.safetensors")
    assert parity.evaluate(trained, parity.EvaluateOptions()) == {
        "bits": 6,
        "strings": 64,
        "accuracy": 1.0,
        "loss": pytest.approx(training.trainer.progress.history[-1]["loss"]),
        "confusion": {"even": {"even": 32, "odd": 0}, "odd": {"even": 0, "odd": 32}},
    }
