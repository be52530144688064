"""The simple recurrent unit against a numpy loop, with inputs of M features and of others; its first values."""

from typing import Any

import numpy as np
import pytest
import torch
from support.numpy_loop import Weights, sigmoid

from rnncli.cells import make_cell
from rnncli.testing import check_equations, subject

pytestmark = pytest.mark.usefixtures("plain_loops")


@pytest.mark.parametrize("hidden", [3, 4])  # the inputs of `subject` have 3 features
def test_equals_its_equations(hidden: int) -> None:
    def step(x, state, w: Weights):
        M, c = hidden, state[1]
        wx = w["weight_x"]
        f = sigmoid(x @ wx[:M].T + w["weight_c"][:M] * c + w["bias"][:M])
        r = sigmoid(x @ wx[M : 2 * M].T + w["weight_c"][M:] * c + w["bias"][M:])
        c = f * c + (1 - f) * (x @ wx[2 * M : 3 * M].T)
        skip = 3**0.5 * x if hidden == 3 else x @ wx[3 * M :].T
        return r * c + (1 - r) * skip, c

    check_equations(subject("sru", hidden=hidden), step)


def test_first_values_have_the_papers_variances() -> None:
    torch.manual_seed(0)
    D, M = 50, 400
    cell: Any = make_cell("sru", D, M)
    gates, candidate, skip = cell.weight_x.split([2 * M, M, M])
    for parameter, variance in ((gates, 0.5 / D), (candidate, 1 / D), (skip, 3 / D), (cell.weight_c, 0.5)):
        weight = parameter.detach()
        assert float(weight.square().mean()) == pytest.approx(variance, rel=0.1)
        assert float(weight.abs().max()) <= np.sqrt(3 * variance) + 1e-6
    assert not cell.bias.any()
