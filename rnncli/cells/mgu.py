"""The minimal gated unit: a GRU whose only gate both resets and updates."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rnncli.cells.base import Cell, Hidden


class MGU(Cell[Hidden]):
    """The minimal gated unit (Zhou et al. 2016, arXiv:1603.09420).

    f = sigmoid(x Wxf + h' Whf + bf);  ĥ = tanh(x Wxh + (f h') Whh + bh);  h = (1 - f) h' + f ĥ.
    Shapes: x (B, D), h (B, M); the two blocks of the weights are (f, ĥ). Initialisation and errors as `Cell`.
    """

    name = "mgu"
    gates = 2

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        M, h = self.hidden_size, state.h
        f = torch.sigmoid(projected[:, :M] + F.linear(h, self.weight_h[:M]))
        candidate = torch.tanh(projected[:, M:] + F.linear(f * h, self.weight_h[M:]))
        return Hidden(torch.lerp(h, candidate, f))
