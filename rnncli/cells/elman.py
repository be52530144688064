"""The simple recurrent unit of Elman."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rnncli.cells.base import Cell, Hidden
from rnncli.kernels import ACTIVATIONS
from rnncli.kernels.forms import TorchForm


class Elman(Cell[Hidden]):
    """Elman's simple recurrent unit (Elman 1990, Finding Structure in Time).

    h = f(x Wx + h' Wh + b), with f one of tanh, sigmoid, relu.
    Shapes: x (B, D), h (B, M), Wx (M, D) and Wh (M, M) stored transposed. Initialisation and errors as `Cell`.
    """

    name = "elman"
    activations = ACTIVATIONS

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        return Hidden(self.f(projected + F.linear(state.h, self.weight_h)))

    def torch_form(self) -> TorchForm | None:
        functions = {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}
        if self.activation not in functions:
            return None
        weights = [self.weight_x, self.weight_h, self.bias, torch.zeros_like(self.bias)]
        return TorchForm(functions[self.activation], weights)
