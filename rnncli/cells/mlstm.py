"""The multiplicative LSTM: each input chooses its own recurrent matrix."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.cells.lstm import LSTMState, Memory


class MultiplicativeLSTM(Memory):
    """The multiplicative LSTM (Krause et al. 2016, arXiv:1609.07959); not the mLSTM of Beck et al. 2024.

    m = (x Wmx) (h' Wmh);  i = sigmoid(x Wxi + m Whi + bi);  f = sigmoid(x Wxf + m Whf + bf);
    c = f c' + i tanh(x Wxc + m Whc + bc);  o = sigmoid(x Wxo + m Who + bo);  h = o tanh(c).
    Shapes: x (B, D), m, h and c (B, M); Wmx (M, D) and Wmh (M, M), stored transposed as all; the four blocks of Wx, Wh
    and b are (i, f, c, o). Initialisation as `Cell`, but bf = 1; errors as `Cell`.
    """

    name = "mlstm"
    recurrent = ("weight_mh", "weight_h")

    def add_parameters(self) -> None:
        self.weight_mx = nn.Parameter(torch.empty(self.hidden_size, self.input_size))
        self.weight_mh = nn.Parameter(torch.empty(self.hidden_size, self.hidden_size))
        super().add_parameters()

    def project(self, x: Tensor) -> Tensor:
        return torch.cat([F.linear(x, self.weight_mx), super().project(x)], -1)

    def step(self, projected: Tensor, state: LSTMState) -> LSTMState:
        M = self.hidden_size
        m = projected[:, :M] * F.linear(state.h, self.weight_mh)
        i, f, candidate, o = (projected[:, M:] + F.linear(m, self.weight_h)).chunk(4, -1)
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(candidate)
        return LSTMState(torch.sigmoid(o) * torch.tanh(c), c)
