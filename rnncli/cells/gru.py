"""The gated recurrent unit, in its original form and in the form of vendor kernels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.cells.base import Cell, Hidden
from rnncli.kernels import ACTIVATIONS


class GRU(Cell[Hidden]):
    """The gated recurrent unit (Cho et al. 2014, arXiv:1406.1078; h and z as in Chung et al. 2014, arXiv:1412.3555).

    r = sigmoid(x Wxr + h' Whr + br);  z = sigmoid(x Wxz + h' Whz + bz);  h = (1 - z) h' + z ĥ, where
    `reset-before` (the original): ĥ = f(x Wxh + (r h') Whh + bh);
    `reset-after` (torch.nn.GRU, whose z, like Cho's, is our 1 - z): ĥ = f(x Wxh + bh + r (h' Whh + bhh)).
    f is tanh, sigmoid or relu. Shapes: x (B, D), h (B, M); the three blocks of the weights are (r, z, ĥ).
    Initialisation and errors as `Cell`; bhh starts at 0.
    """

    name = "gru"
    gates = 3
    variants = ("reset-before", "reset-after")
    activations = ACTIVATIONS

    def add_parameters(self) -> None:
        super().add_parameters()
        if self.variant == "reset-after":
            self.bias_hh = nn.Parameter(torch.empty(self.hidden_size))

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        M, h = self.hidden_size, state.h
        if self.variant == "reset-after":
            recurrent = F.linear(h, self.weight_h)
            gates = torch.sigmoid(projected[:, : 2 * M] + recurrent[:, : 2 * M])
            inner = gates[:, :M] * (recurrent[:, 2 * M :] + self.bias_hh)
        else:
            gates = torch.sigmoid(projected[:, : 2 * M] + F.linear(h, self.weight_h[: 2 * M]))
            inner = F.linear(gates[:, :M] * h, self.weight_h[2 * M :])
        return Hidden(torch.lerp(h, self.f(projected[:, 2 * M :] + inner), gates[:, M:]))
