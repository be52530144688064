"""An independent reference for cells: a plain float64 numpy loop over the equations in their docstrings."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from rnncli.cells import make_cell
from rnncli.kernels.scan import scan

Weights = Mapping[str, np.ndarray]
Step = Callable[[np.ndarray, tuple[np.ndarray, ...], Weights], tuple[np.ndarray, ...]]
"""One step: x (B, D), the state's fields, the weights by name -> the new state's fields."""

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": np.tanh,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "relu": lambda a: np.where(a > 0, a, 0),
}
sigmoid = ACTIVATIONS["sigmoid"]


def block(weight: np.ndarray, gate: int, gates: int) -> np.ndarray:
    """Return one gate's rows of a stacked weight, transposed for row vectors: (D, M); of a bias: (M,)."""
    return np.split(weight, gates)[gate].T


def check_cell(kind: str, step: Step, activation: str | None = None) -> None:
    """Compare a cell, unrolled by the reference backend, with `step` in a loop: every output and the last state."""
    T, B, D, M = 6, 3, 4, 5
    torch.manual_seed(7)
    cell: Any = make_cell(kind, D, M, activation=activation).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(0, 0.7)
    x = torch.randn(T, B, D, dtype=torch.float64)
    weights = {name: value.detach().numpy() for name, value in cell.named_parameters()}
    state = tuple(np.tile(weights[f"{field}0"], (B, 1)) for field in cell.state_fields)
    wanted = []
    for x_t in x.numpy():
        state = step(x_t, state, weights)
        wanted.append(state[0])
    outputs, last = scan(cell, x, cell.initial_state(B), backend="reference")
    np.testing.assert_allclose(outputs.detach().numpy(), np.stack(wanted), rtol=0, atol=1e-12)
    for ours, theirs in zip(last, state, strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=0, atol=1e-12)
