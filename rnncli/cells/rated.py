"""The rated recurrent unit: an Elman unit whose new value is blended with the old one."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rnncli.cells.base import Cell, Hidden
from rnncli.kernels import ACTIVATIONS


class Rated(Cell[Hidden]):
    """The rated unit (LazyProgrammer 2016, Deep Learning: Recurrent Neural Networks in Python, chapter 5).

    ĥ = f(x Wx + h' Wh + bh);  z = sigmoid(x Wxz + h' Whz + bz);  h = (1 - z) h' + z ĥ, with f tanh, sigmoid or relu.
    Shapes: x (B, D), h (B, M); the two blocks of the weights are (ĥ, z). Initialisation and errors as `Cell`.
    """

    name = "rated"
    gates = 2
    activations = ACTIVATIONS

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        candidate, rate = (projected + F.linear(state.h, self.weight_h)).chunk(2, dim=-1)
        return Hidden(torch.lerp(state.h, self.f(candidate), torch.sigmoid(rate)))
