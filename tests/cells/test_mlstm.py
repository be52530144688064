"""The multiplicative LSTM against a numpy loop."""

import numpy as np
import pytest
from support.numpy_loop import Weights, sigmoid

from rnncli.cells import make_cell
from rnncli.testing import check_equations, subject

pytestmark = pytest.mark.usefixtures("plain_loops")


def test_equals_its_equations() -> None:
    def step(x, state, w: Weights):
        h, c = state
        m = (x @ w["weight_mx"].T) * (h @ w["weight_mh"].T)
        i, f, new, o = np.split(x @ w["weight_x"].T + m @ w["weight_h"].T + w["bias"], 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(new)
        return sigmoid(o) * np.tanh(c), c

    check_equations(subject("mlstm"), step)


def test_forget_gates_start_open() -> None:
    assert make_cell("mlstm", 3, 2).bias.tolist() == [0.0] * 2 + [1.0] * 2 + [0.0] * 4
