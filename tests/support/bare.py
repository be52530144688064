"""A cell with only a `step`, like the first cell of a newcomer; only tests register it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rnncli.cells.base import Cell, Hidden

NAME, PLACE = "leaky", f"{__name__}:Leaky"
"""An entry of `CELLS`."""


class Leaky(Cell[Hidden]):
    """A leaky integrator (Jaeger 2001, GMD Report 148): h = h' + (tanh(x Wx + h' Wh + b) - h') / 4."""

    name = NAME

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        return Hidden(torch.lerp(state.h, self.f(projected + F.linear(state.h, self.weight_h)), 0.25))
