"""Long short-term memory, with full-matrix, diagonal or no peepholes."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.cells.base import Cell
from rnncli.kernels.forms import TorchForm


class LSTMState(NamedTuple):
    """The hidden layer and the memory cell, both (B, M)."""

    h: Tensor
    c: Tensor


class LSTM(Cell[LSTMState]):
    """Long short-term memory (Hochreiter and Schmidhuber 1997) with forget gate (Gers et al. 2000) and peepholes.

    i = sigmoid(x Wxi + h' Whi + c' Wci + bi);  f = sigmoid(x Wxf + h' Whf + c' Wcf + bf);
    c = f c' + i tanh(x Wxc + h' Whc + bc);  o = sigmoid(x Wxo + h' Who + c Wco + bo);  h = o tanh(c).
    Variants: `full` peephole matrices (Graves 2013, arXiv:1308.0850, equations 7 to 11, with Wc* not diagonal),
    `diagonal` (the same, Wc* diagonal; Gers and Schmidhuber 2000), `none` (Wc* = 0, as torch.nn.LSTM).
    Shapes: x (B, D), h and c (B, M); the four blocks of the weights are (i, f, c, o), of the peepholes (i, f) and o.
    Initialisation as `Cell`, but bf = 1 (Jozefowicz et al. 2015) and Glorot-uniform peepholes; errors as `Cell`.
    """

    name = "lstm"
    gates = 4
    variants = ("full", "diagonal", "none")
    State = LSTMState

    def add_parameters(self) -> None:
        super().add_parameters()
        M = self.hidden_size
        if self.variant != "none":
            columns = (M,) if self.variant == "full" else ()
            self.weight_c = nn.Parameter(torch.empty(2 * M, *columns))  # of i and f, which see the old c
            self.weight_co = nn.Parameter(torch.empty(M, *columns))  # of o, which sees the new c

    def init_parameter(self, name: str, parameter: Tensor) -> None:
        M = self.hidden_size
        if name in ("weight_c", "weight_co"):
            bound = (3.0 / M) ** 0.5  # Glorot's, for an M x M matrix
            nn.init.uniform_(parameter, -bound, bound)
            return
        super().init_parameter(name, parameter)
        if name == "bias":
            nn.init.ones_(parameter[M : 2 * M])

    def step(self, projected: Tensor, state: LSTMState) -> LSTMState:
        M = self.hidden_size
        a = projected + F.linear(state.h, self.weight_h)
        gates, output = a[:, : 2 * M], a[:, 3 * M :]
        if self.variant != "none":
            gates = gates + self._peep(state.c, self.weight_c, 2)
        i, f = torch.sigmoid(gates).chunk(2, dim=-1)
        c = f * state.c + i * torch.tanh(a[:, 2 * M : 3 * M])
        if self.variant != "none":
            output = output + self._peep(c, self.weight_co, 1)
        return LSTMState(torch.sigmoid(output) * torch.tanh(c), c)

    def _peep(self, c: Tensor, weight: Tensor, gates: int) -> Tensor:
        """Return what the memory cell c (B, M) adds to `gates` gates: (B, gates*M)."""
        if self.variant == "full":
            return F.linear(c, weight)
        return c.repeat(1, gates) * weight

    def torch_form(self) -> TorchForm | None:
        if self.variant != "none":
            return None
        return TorchForm(torch.lstm, [self.weight_x, self.weight_h, self.bias, self.bias.new_zeros(len(self.bias))])
