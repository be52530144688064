"""The LSTM with each kind of peepholes against numpy loops; without peepholes against torch.nn.LSTM too."""

import numpy as np
import pytest
from support.numpy_loop import Weights, block, sigmoid
from support.torch_layers import check_against_torch
from torch import nn

from rnncli.cells import make_cell
from rnncli.cells.lstm import LSTM
from rnncli.testing import check_equations, subject

pytestmark = pytest.mark.usefixtures("plain_loops")


@pytest.mark.parametrize("variant", LSTM.variants)
def test_equals_its_equations(variant: str) -> None:
    def peep(c: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return c @ weight.T if variant == "full" else c * weight

    def step(x, state, w: Weights):
        h, c = state
        pre = [
            x @ block(w["weight_x"], gate, 4) + h @ block(w["weight_h"], gate, 4) + block(w["bias"], gate, 4)
            for gate in range(4)
        ]
        peeps = variant != "none"
        i = sigmoid(pre[0] + (peep(c, np.split(w["weight_c"], 2)[0]) if peeps else 0))
        f = sigmoid(pre[1] + (peep(c, np.split(w["weight_c"], 2)[1]) if peeps else 0))
        c = f * c + i * np.tanh(pre[2])
        o = sigmoid(pre[3] + (peep(c, w["weight_co"]) if peeps else 0))
        return o * np.tanh(c), c

    check_equations(subject(f"lstm:{variant}"), step)


def test_without_peepholes_equals_torch() -> None:
    check_against_torch("lstm:none", nn.LSTM(4, 5))


def test_forget_gates_start_open() -> None:
    bias = make_cell("lstm", 3, 4).bias
    assert bias.tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
