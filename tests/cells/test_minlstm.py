"""The minimal LSTM against a numpy loop, against the paper's scan in log space, and with extreme gates."""

from typing import Any

import numpy as np
import pytest
import torch
from support.numpy_loop import Weights, positive, sigmoid
from torch.nn import functional as F

from rnncli.cells import make_cell
from rnncli.cells.minlstm import MinLSTM
from rnncli.kernels.scan import scan
from rnncli.testing import check_equations, subject

pytestmark = pytest.mark.usefixtures("plain_loops")


@pytest.mark.parametrize("variant", MinLSTM.variants)
def test_equals_its_equations(variant: str) -> None:
    def step(x, state, w: Weights):
        (h,) = state
        f, i, candidate = np.split(x @ w["weight_x"].T + w["bias"], 3, -1)
        f, i = sigmoid(f) / (sigmoid(f) + sigmoid(i)), sigmoid(i) / (sigmoid(f) + sigmoid(i))
        return (f * h + i * (positive(candidate) if variant == "positive" else candidate),)

    check_equations(subject(f"minlstm:{variant}"), step)


def test_equals_the_scan_in_log_space() -> None:
    """Appendix B: as that of the minimal GRU, with log f = -softplus(d), log i = -softplus(-d), d = log i - log f."""
    T, B, D, M = 40, 3, 4, 5
    torch.manual_seed(0)
    cell: Any = make_cell("minlstm", D, M).double()
    with torch.no_grad():
        cell.h0.uniform_(0.5, 2)
    x = torch.randn(T, B, D, dtype=torch.float64)
    outputs, _ = scan(cell, x, cell.initial_state(B))
    f, i, candidate = F.linear(x, cell.weight_x, cell.bias).chunk(3, -1)
    d = F.softplus(-f) - F.softplus(-i)
    decay = F.pad(-F.softplus(d).cumsum(0), (0, 0, 0, 0, 1, 0))
    log_g = torch.from_numpy(np.log(positive(candidate.detach().numpy())))
    inputs = torch.cat([cell.h0.log().expand(1, B, M), log_g - F.softplus(-d)])
    wanted = (decay + torch.logcumsumexp(inputs - decay, 0)).exp()[1:]
    torch.testing.assert_close(outputs, wanted, rtol=1e-11, atol=0)


def test_two_shut_gates_share_by_their_ratio() -> None:
    cell: Any = make_cell("minlstm:linear", 1, 1)
    with torch.no_grad():
        cell.weight_x.zero_()
        cell.bias.copy_(torch.tensor([-200.0, -201.0, 1.0]))  # in float32 both gates round to 0
    outputs, _ = scan(cell, torch.zeros(1, 1, 1), cell.initial_state(1))
    assert outputs.item() == pytest.approx(1 - sigmoid(np.float64(1.0)))
