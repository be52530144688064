"""Long short-term memory, with full-matrix, diagonal or no peepholes."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.cells.base import Cell


class LSTMState(NamedTuple):
    """The hidden layer and the memory cell, both (B, M)."""

    h: Tensor
    c: Tensor


class Memory(Cell[LSTMState]):
    """A cell with a memory: the four blocks of its weights are (i, f, c, o), and its forget gates start open."""

    gates = 4
    State = LSTMState

    def init_parameter(self, name: str, parameter: Tensor) -> None:
        super().init_parameter(name, parameter)
        if name == "bias":
            nn.init.ones_(parameter[self.hidden_size : 2 * self.hidden_size])


class LSTM(Memory):
    """Long short-term memory (Hochreiter and Schmidhuber 1997) with forget gate (Gers et al. 2000) and peepholes.

    i = sigmoid(x Wxi + h' Whi + c' Wci + bi);  f = sigmoid(x Wxf + h' Whf + c' Wcf + bf);
    c = f c' + i tanh(x Wxc + h' Whc + bc);  o = sigmoid(x Wxo + h' Who + c Wco + bo);  h = o tanh(c).
    Variants: `full` peephole matrices (Graves 2013, arXiv:1308.0850, equations 7 to 11, with Wc* not diagonal),
    `diagonal` (the same, Wc* diagonal; Gers and Schmidhuber 2000), `none` (Wc* = 0, as torch.nn.LSTM).
    Shapes: x (B, D), h and c (B, M); the four blocks of the weights are (i, f, c, o), of the peepholes (i, f) and o.
    Initialisation as `Cell`, but bf = 1 (Jozefowicz et al. 2015) and Glorot-uniform peepholes; errors as `Cell`.
    """

    name = "lstm"
    variants = ("full", "diagonal", "none")

    def add_parameters(self) -> None:
        super().add_parameters()
        M = self.hidden_size
        if self.variant != "none":
            columns = (M,) if self.variant == "full" else ()
            self.weight_c = nn.Parameter(torch.empty(2 * M, *columns))  # of i and f, which see the old c
            self.weight_co = nn.Parameter(torch.empty(M, *columns))  # of o, which sees the new c

    def init_parameter(self, name: str, parameter: Tensor) -> None:
        if name in ("weight_c", "weight_co"):
            bound = (3.0 / self.hidden_size) ** 0.5  # Glorot's, for an M x M matrix
            nn.init.uniform_(parameter, -bound, bound)
        else:
            super().init_parameter(name, parameter)

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
