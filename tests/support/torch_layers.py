"""A second reference for cells: torch's own layers with the same weights, compared in values and gradients."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rnncli.cells import make_cell
from rnncli.kernels.scan import scan
from support.kinds import CPU_BACKENDS

NAMES = {"weight_x": "weight_ih_l0", "weight_h": "weight_hh_l0", "bias": "bias_ih_l0"}
"""A cell's parameters, and torch's names for them."""


def copy_weights(cell: Any, layer: Any) -> None:
    """Copy the cell's weights to the layer unchanged."""
    for ours, theirs in NAMES.items():
        getattr(layer, theirs).copy_(getattr(cell, ours))
    layer.bias_hh_l0.zero_()


def check_against_torch(
    kind: str,
    layer: nn.RNNBase,
    *,
    fill: Callable[[Any, Any], None] = copy_weights,
    activation: str | None = None,
    sign: Tensor | None = None,
) -> None:
    """Compare every backend of a cell with `layer`, which `fill` gives the cell's weights.

    `sign` (G*M,) undoes in the layer's gradients the signs that `fill` inverted in its weights. The comparison covers
    outputs, last states, and the gradients of input, first state and weights.
    """
    torch.manual_seed(3)
    layer = layer.double()
    cell: Any = make_cell(kind, layer.input_size, layer.hidden_size, activation=activation).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(0, 0.7)
        fill(cell, layer)
    x = torch.randn(7, 3, layer.input_size, dtype=torch.float64, requires_grad=True)
    weigh = torch.randn(7, 3, layer.hidden_size, dtype=torch.float64)
    starts = [
        getattr(cell, f"{field}0").detach().expand(1, 3, -1).clone().requires_grad_() for field in cell.state_fields
    ]
    theirs, last = layer(x, tuple(starts) if len(starts) > 1 else starts[0])
    (theirs * weigh).sum().backward()
    x_grad, x.grad = x.grad, None
    for backend in CPU_BACKENDS:
        cell.zero_grad()
        x.grad = None
        ours, state = scan(cell, x, cell.initial_state(3), backend=backend)
        (ours * weigh).sum().backward()
        close = {"rtol": 0, "atol": 1e-11}
        torch.testing.assert_close(ours, theirs, **close)
        for field, value in zip(state, last if isinstance(last, tuple) else (last,), strict=True):
            torch.testing.assert_close(field, value[0], **close)
        torch.testing.assert_close(x.grad, x_grad, **close)
        for field, start in zip(cell.state_fields, starts, strict=True):
            torch.testing.assert_close(getattr(cell, f"{field}0").grad, start.grad[0].sum(0), **close)
        for name, other in NAMES.items():
            wanted = getattr(layer, other).grad
            if sign is not None:
                wanted = wanted * (sign if wanted.dim() == 1 else sign[:, None])
            torch.testing.assert_close(getattr(cell, name).grad, wanted, **close)
