"""The linear recurrent unit against a numpy loop of complex numbers, a prefix scan and the ring of its first values."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from support.numpy_loop import Weights
from torch import Tensor

from rnncli.cells import make_cell
from rnncli.kernels.scan import scan
from rnncli.testing import check_equations, subject

pytestmark = pytest.mark.usefixtures("plain_loops")


def test_equals_its_equation() -> None:
    def step(x, state, w: Weights):
        M = len(w["nu_log"])
        s = state[0] + 1j * state[1]
        eigenvalue = np.exp(-np.exp(w["nu_log"]) + 1j * np.exp(w["theta_log"]))
        matrix = w["weight_x"][:M] + 1j * w["weight_x"][M:]
        s = eigenvalue * s + np.exp(w["gamma_log"]) * (x @ matrix.T)
        return s.real, s.imag

    check_equations(subject("lru"), step)


def prefix_scan(factor: Tensor, x: Tensor) -> Tensor:
    """The states s_t = factor s_{t-1} + x_t of x (T, B, M), from s = 0, in log2(T) rounds (Hillis and Steele 1986)."""
    distance = 1
    while distance < len(x):
        x = torch.cat([x[:distance], x[distance:] + factor**distance * x[:-distance]])
        distance *= 2
    return x


def test_equals_a_prefix_scan_by_values_and_gradients() -> None:
    T, B, D, M = 37, 3, 4, 5
    torch.manual_seed(0)
    cell: Any = make_cell("lru", D, M).double()
    x = torch.randn(T, B, D, dtype=torch.float64, requires_grad=True)
    outputs, _ = scan(cell, x, cell.initial_state(B))
    weights = [x, cell.weight_x, cell.nu_log, cell.theta_log, cell.gamma_log]
    real, imaginary = (x @ cell.weight_x.T).chunk(2, -1)
    factor = torch.polar(torch.exp(-cell.nu_log.exp()), cell.theta_log.exp())
    wanted = prefix_scan(factor, cell.gamma_log.exp() * torch.complex(real, imaginary)).real
    torch.testing.assert_close(outputs, wanted, rtol=0, atol=1e-12)
    found = [torch.autograd.grad(each.square().sum(), weights) for each in (outputs, wanted)]
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_first_values_fill_the_unit_disc_and_keep_the_variance() -> None:
    torch.manual_seed(0)
    cell: Any = make_cell("lru", 200, 4000).double()
    cell.reset_parameters()
    radius, angle = torch.exp(-cell.nu_log.detach().exp()), cell.theta_log.detach().exp()
    fractions = [float((radius < bound).double().mean()) for bound in (0.5, 0.9, 1.0)]
    assert fractions == pytest.approx([0.25, 0.81, 1.0], abs=0.03)
    assert float(angle.mean()) == pytest.approx(math.pi, abs=0.1)
    assert float(angle.max()) < 2 * math.pi
    torch.testing.assert_close(cell.gamma_log.detach().exp(), torch.sqrt(1 - radius**2))
    assert float(cell.weight_x.detach().std()) == pytest.approx((2 * 200) ** -0.5, rel=0.02)
