"""The scalar LSTM against the paper's equations in numpy, its heads against one block-diagonal matrix, its extremes."""

from typing import Any

import numpy as np
import pytest
import torch
from support.numpy_loop import Weights, sigmoid

from rnncli.cells import make_cell
from rnncli.cells.slstm import SLSTM
from rnncli.errors import UsageError
from rnncli.kernels.scan import scan
from rnncli.testing import check_cell, check_equations, subject

pytestmark = pytest.mark.usefixtures("plain_loops")


@pytest.mark.parametrize("variant", SLSTM.variants)
def test_equals_the_papers_equations(variant: str) -> None:
    """With the paper's c, n and i = exp(ĩ), without a stabiliser."""
    heads, M = int(variant[:1] or 1), 8

    def step(x, state, w: Weights):
        h, ratio, m = state
        n = np.exp(m)
        a = x @ w["weight_x"].T + w["bias"]
        for gate in range(4):
            for head in range(heads):
                part = slice(head * M // heads, (head + 1) * M // heads)
                rows = slice(gate * M + part.start, gate * M + part.stop)
                a[:, rows] += h[:, part] @ w["weight_h"][rows].T
        i, f, z, o = np.split(a, 4, -1)
        c = sigmoid(f) * ratio * n + np.exp(i) * np.tanh(z)
        n = sigmoid(f) * n + np.exp(i)
        return sigmoid(o) * c / n, c / n, np.log(n)

    check_equations(subject("slstm", variant=variant, hidden=M), step)


def test_heads_pass_every_check() -> None:
    check_cell("slstm", variant="2-heads")


def test_heads_are_blocks_that_see_only_themselves() -> None:
    torch.manual_seed(0)
    cell: Any = make_cell("slstm:4-heads", 3, 8)
    x = torch.zeros(2, 1, 3)
    start = cell.initial_state(1)
    changed = start._replace(h=start.h + torch.tensor([[0.0] * 2 + [1.0] * 2 + [0.0] * 4]))
    one, other = (scan(cell, x, state)[0][0, 0] for state in (start, changed))
    assert ((one != other) == torch.tensor([False] * 2 + [True] * 2 + [False] * 4)).all()
    assert cell.weight_h.shape == (32, 2)
    for block in cell.weight_h.split(2):
        torch.testing.assert_close(block @ block.T, torch.eye(2), rtol=0, atol=1e-5)


def test_heads_that_do_not_divide_the_units_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^cell slstm:4-heads: 4 does not divide 6 units$"):
        make_cell("slstm:4-heads", 3, 6)


def test_forget_gates_start_from_open_to_shut_in_each_head() -> None:
    bias = make_cell("slstm:2-heads", 3, 8).bias.tolist()
    assert bias == [0.0] * 8 + [5.0, 1.0, -3.0, -7.0] * 2 + [0.0] * 16


@pytest.mark.parametrize("size", [-300.0, 300.0])
def test_huge_and_tiny_input_gates_do_not_overflow(size: float) -> None:
    """An input gate of exp(300) is beyond float32; of two equal ones each new value has half of the weight."""
    cell: Any = make_cell("slstm", 1, 1)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        cell.weight_x[2] = 1.0
        cell.bias.copy_(torch.tensor([size, 100.0, 0.0, 100.0]))
        cell.m0.fill_(-1e4)
    outputs, _ = scan(cell, torch.tensor([1.0, -1.0, 2.0])[:, None, None], cell.initial_state(1))
    values = np.tanh([1.0, -1.0, 2.0])
    assert outputs.flatten().tolist() == pytest.approx([values[: end + 1].mean() for end in range(3)], rel=1e-4)
