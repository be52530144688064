"""The independently recurrent unit: an Elman unit that sees only its own past."""

import torch
from torch import Tensor, nn

from rnncli.cells.base import Cell, Hidden


class IndRNN(Cell[Hidden]):
    """The independently recurrent unit (Li et al. 2018, arXiv:1803.04831).

    h = f(x Wx + u h' + b), with a vector u, and f one of relu, tanh, sigmoid.
    Shapes: x (B, D), u (M,), h (B, M), Wx (M, D) stored transposed. u starts between 0 and 1, uniformly. The paper
    keeps |u| at most 2^(1/T) for sequences of T steps; here the step cuts u to [-1, 1], the range for any T. Otherwise
    initialisation and errors as `Cell`.
    """

    name = "indrnn"
    activations = ("relu", "tanh", "sigmoid")
    recurrent = ()

    def add_parameters(self) -> None:
        super().add_parameters()
        self.weight_u = nn.Parameter(torch.empty(self.hidden_size))

    def init_parameter(self, name: str, parameter: Tensor) -> None:
        if name == "weight_u":
            nn.init.uniform_(parameter)
        else:
            super().init_parameter(name, parameter)

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        return Hidden(self.f(projected + self.weight_u.clamp(-1, 1) * state.h))
