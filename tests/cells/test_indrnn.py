"""The independently recurrent unit against a numpy loop, and the range of its recurrent weights."""

from typing import Any

import numpy as np
import pytest
import torch
from support.numpy_loop import ACTIVATIONS, Weights

from rnncli.cells import make_cell
from rnncli.cells.indrnn import IndRNN
from rnncli.kernels.scan import scan
from rnncli.testing import check_equations, subject

pytestmark = pytest.mark.usefixtures("plain_loops")


@pytest.mark.parametrize("activation", IndRNN.activations)
def test_equals_its_equation(activation: str) -> None:
    f = ACTIVATIONS[activation]

    def step(x, state, w: Weights):
        (h,) = state
        return (f(x @ w["weight_x"].T + np.clip(w["weight_u"], -1, 1) * h + w["bias"]),)

    check_equations(subject("indrnn", activation=activation), step)


def test_recurrent_weights_start_between_0_and_1() -> None:
    torch.manual_seed(0)
    cell: Any = make_cell("indrnn", 2, 1000)
    assert 0 <= cell.weight_u.min() < 0.01
    assert 0.99 < cell.weight_u.max() <= 1


def test_weights_beyond_1_do_not_make_the_state_grow_exponentially() -> None:
    cell: Any = make_cell("indrnn", 1, 1)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.fill_(2.0)
    outputs, _ = scan(cell, torch.zeros(50, 1, 1), cell.initial_state(1))
    assert outputs[:, 0, 0].tolist() == [2.0 * (step + 2) for step in range(50)]
