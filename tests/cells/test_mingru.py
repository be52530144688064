"""The minimal GRU against a numpy loop, and against the paper's scan in log space."""

from typing import Any

import numpy as np
import pytest
import torch
from support.numpy_loop import Weights, block, positive, sigmoid
from torch.nn import functional as F

from rnncli.cells import make_cell
from rnncli.cells.mingru import MinGRU
from rnncli.kernels.scan import scan
from rnncli.testing import check_equations, subject

pytestmark = pytest.mark.usefixtures("plain_loops")


@pytest.mark.parametrize("variant", MinGRU.variants)
def test_equals_its_equations(variant: str) -> None:
    def step(x, state, w: Weights):
        (h,) = state
        z = sigmoid(x @ block(w["weight_x"], 0, 2) + block(w["bias"], 0, 2))
        candidate = x @ block(w["weight_x"], 1, 2) + block(w["bias"], 1, 2)
        return ((1 - z) * h + z * (positive(candidate) if variant == "positive" else candidate),)

    check_equations(subject(f"mingru:{variant}"), step)


def test_equals_the_scan_in_log_space() -> None:
    """Appendix B: h_t = exp(a_t + logcumsumexp(log b - a)), with a the sums of log (1 - z) and b = z ĥ, b_0 = h_0."""
    T, B, D, M = 40, 3, 4, 5
    torch.manual_seed(0)
    cell: Any = make_cell("mingru", D, M).double()
    with torch.no_grad():
        cell.h0.uniform_(0.5, 2)
    x = torch.randn(T, B, D, dtype=torch.float64)
    outputs, _ = scan(cell, x, cell.initial_state(B))
    gate, candidate = F.linear(x, cell.weight_x, cell.bias).chunk(2, -1)
    decay = F.pad(F.logsigmoid(-gate).cumsum(0), (0, 0, 0, 0, 1, 0))
    log_g = torch.from_numpy(np.log(positive(candidate.detach().numpy())))
    inputs = torch.cat([cell.h0.log().expand(1, B, M), F.logsigmoid(gate) + log_g])
    wanted = (decay + torch.logcumsumexp(inputs - decay, 0)).exp()[1:]
    torch.testing.assert_close(outputs, wanted, rtol=1e-11, atol=0)
