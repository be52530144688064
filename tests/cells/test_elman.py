"""Elman's unit against a numpy loop and torch.nn.RNN."""

import pytest
from support.numpy_loop import ACTIVATIONS, Weights
from support.torch_layers import check_against_torch
from torch import nn

from rnncli.cells.elman import Elman
from rnncli.testing import check_equations, subject

pytestmark = pytest.mark.usefixtures("plain_loops")


@pytest.mark.parametrize("activation", Elman.activations)
def test_equals_its_equation(activation: str) -> None:
    f = ACTIVATIONS[activation]

    def step(x, state, w: Weights):
        (h,) = state
        return (f(x @ w["weight_x"].T + h @ w["weight_h"].T + w["bias"]),)

    check_equations(subject("elman", activation=activation), step)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_equals_torch(activation: str) -> None:
    check_against_torch("elman", nn.RNN(4, 5, nonlinearity=activation), activation=activation)
