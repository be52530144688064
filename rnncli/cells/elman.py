"""The simple recurrent unit of Elman."""

from torch import Tensor
from torch.nn import functional as F

from rnncli.cells.base import Cell, Hidden
from rnncli.kernels import ACTIVATIONS


class Elman(Cell[Hidden]):
    """Elman's simple recurrent unit (Elman 1990, Finding Structure in Time).

    h = f(x Wx + h' Wh + b), with f one of tanh, sigmoid, relu.
    Shapes: x (B, D), h (B, M), Wx (M, D) and Wh (M, M) stored transposed. Initialisation and errors as `Cell`.
    """

    name = "elman"
    activations = ACTIVATIONS

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        return Hidden(self.f(projected + F.linear(state.h, self.weight_h)))
