"""The LSTM with layer normalisation against a numpy loop, and its first values."""

from typing import Any

import numpy as np
import pytest
from support.numpy_loop import Weights, sigmoid

from rnncli.cells import make_cell
from rnncli.testing import check_equations, subject

pytestmark = pytest.mark.usefixtures("plain_loops")


def normal(a: np.ndarray) -> np.ndarray:
    """Each row with mean 0 and variance 1."""
    return (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5)


def test_equals_its_equations() -> None:
    def step(x, state, w: Weights):
        h, c = state
        gates = w["gain_x"] * normal(x @ w["weight_x"].T) + w["gain_h"] * normal(h @ w["weight_h"].T) + w["bias"]
        i, f, new, o = np.split(gates, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(new)
        return sigmoid(o) * np.tanh(w["gain_c"] * normal(c) + w["bias_c"]), c

    check_equations(subject("lnlstm"), step)


def test_gains_start_at_one_and_forget_gates_open() -> None:
    cell: Any = make_cell("lnlstm", 3, 2)
    assert all((gain == 1).all() for gain in (cell.gain_x, cell.gain_h, cell.gain_c))
    assert cell.bias.tolist() == [0.0] * 2 + [1.0] * 2 + [0.0] * 4
