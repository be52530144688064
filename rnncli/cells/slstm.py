"""The scalar LSTM of xLSTM: exponential input gates over a normalised memory, in one head or several."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.cells.base import Cell
from rnncli.errors import UsageError


class SLSTMState(NamedTuple):
    """The hidden layer, the memory c / n and the log of the normaliser n, all (B, M)."""

    h: Tensor
    c: Tensor
    m: Tensor


class SLSTM(Cell[SLSTMState]):
    """The scalar LSTM (Beck et al. 2024, arXiv:2405.04517, section 2.2 and appendix A.2).

    z = tanh(x Wxz + h' Whz + bz);  o = sigmoid(x Wxo + h' Who + bo);  i = exp(ĩ), ĩ = x Wxi + h' Whi + bi;
    f = sigmoid(x Wxf + h' Whf + bf);  c = f c' + i z;  n = f n' + i;  h = o c / n.
    The state has c / n and m = log n in place of c and n, so that nothing overflows: with a = log f + m',
    m = log(e^a + e^ĩ) and c / n = c' / n' + sigmoid(ĩ - a) (z - c' / n'). The paper's stabiliser, max(a, ĩ), differs
    from m by at most log 2, and h is the same.
    Variants: a number of heads, `2-heads`, `4-heads`, `8-heads`; the first has one. Wh is block-diagonal with a block
    for each head, M / heads units wide.
    Shapes: x (B, D), h, c and m (B, M), Wx (4 M, D), Wh (4 M, M / heads): rows of the gates (i, f, z, o), in each of
    them those of the heads. Initialisation as `Cell`, but bf falls from 5 to -7 over the units of a head: the middle of
    the power laws of the authors' code. n starts at 1 and is trainable (0 in the paper, which has no trainable first
    state). Raises UsageError where heads do not divide M, and as `Cell`.
    """

    name = "slstm"
    gates = 4
    variants = ("", "2-heads", "4-heads", "8-heads")
    State = SLSTMState

    @property
    def heads(self) -> int:
        """The number of blocks of Wh."""
        return int(self.variant.partition("-")[0] or 1)

    def add_parameters(self) -> None:
        if self.hidden_size % self.heads:
            raise UsageError(f"cell {self.kind}: {self.heads} does not divide {self.hidden_size} units")
        super().add_parameters()
        self.weight_h = nn.Parameter(torch.empty(4 * self.hidden_size, self.hidden_size // self.heads))

    def init_parameter(self, name: str, parameter: Tensor) -> None:
        super().init_parameter(name, parameter)
        if name == "bias":
            M = self.hidden_size
            parameter[M : 2 * M] = torch.linspace(5, -7, M // self.heads).repeat(self.heads)

    def step(self, projected: Tensor, state: SLSTMState) -> SLSTMState:
        i, f, candidate, o = (projected + F.linear(state.h, self.recurrent_matrix())).chunk(4, -1)
        a = F.logsigmoid(f) + state.m
        c = torch.lerp(state.c, torch.tanh(candidate), torch.sigmoid(i - a))
        return SLSTMState(torch.sigmoid(o) * c, c, a + F.softplus(i - a))

    def recurrent_matrix(self) -> Tensor:
        """Wh with zeros outside of its blocks, (4 M, M)."""
        if self.heads == 1:
            return self.weight_h
        gates = self.weight_h.unflatten(0, (4, self.heads, -1))
        return torch.cat([torch.block_diag(*blocks) for blocks in gates.unbind()])
