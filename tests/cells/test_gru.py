"""Both forms of the GRU against numpy loops; reset-after against torch.nn.GRU too."""

import pytest
import torch
from support.numpy_loop import ACTIVATIONS, Weights, block, sigmoid
from support.torch_layers import check_against_torch
from torch import nn

from rnncli.cells.gru import GRU
from rnncli.testing import check_equations, subject

pytestmark = pytest.mark.usefixtures("plain_loops")


@pytest.mark.parametrize("variant", GRU.variants)
@pytest.mark.parametrize("activation", GRU.activations)
def test_equals_its_equations(variant: str, activation: str) -> None:
    f = ACTIVATIONS[activation]

    def step(x, state, w: Weights):
        (h,) = state
        wx, wh, b = w["weight_x"], w["weight_h"], w["bias"]
        r = sigmoid(x @ block(wx, 0, 3) + h @ block(wh, 0, 3) + block(b, 0, 3))
        z = sigmoid(x @ block(wx, 1, 3) + h @ block(wh, 1, 3) + block(b, 1, 3))
        before = variant == "reset-before"
        inner = (r * h) @ block(wh, 2, 3) if before else r * (h @ block(wh, 2, 3) + w["bias_hh"])
        candidate = f(x @ block(wx, 2, 3) + inner + block(b, 2, 3))
        return ((1 - z) * h + z * candidate,)

    check_equations(subject(f"gru:{variant}", activation=activation), step)


def test_reset_after_equals_torch_with_z_inverted() -> None:
    M = 5
    sign = torch.ones(3 * M, dtype=torch.float64)
    sign[M : 2 * M] = -1

    def fill(cell, layer: nn.GRU) -> None:
        layer.weight_ih_l0.copy_(cell.weight_x * sign[:, None])
        layer.weight_hh_l0.copy_(cell.weight_h * sign[:, None])
        layer.bias_ih_l0.copy_(cell.bias * sign)
        layer.bias_hh_l0.zero_()
        layer.bias_hh_l0[2 * M :] = cell.bias_hh

    check_against_torch("gru:reset-after", nn.GRU(4, M), fill=fill, sign=sign)
