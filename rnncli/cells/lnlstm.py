"""The LSTM with layer normalisation."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.cells.lstm import LSTMState, Memory


class LayerNormLSTM(Memory):
    """The LSTM with layer normalisation (Ba et al. 2016, arXiv:1607.06450, equations 20 to 22).

    (i, f, g, o) = gx N(x Wx) + gh N(h' Wh) + b, with N(a) = (a - mean(a)) / sqrt(var(a) + 1e-5) over all 4 M numbers;
    c = sigmoid(f) c' + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(gc N(c) + bc), with N over the M units.
    Shapes: x (B, D), h and c (B, M); the four blocks of Wx, Wh, gx, gh and b are (i, f, g, o). The paper has a shift
    for each N; those of the gates are part of b here. Initialisation as `Cell`, but bf = 1 and the gains gx, gh and gc
    1; errors as `Cell`.
    """

    name = "lnlstm"

    def add_parameters(self) -> None:
        super().add_parameters()
        M = self.hidden_size
        self.gain_x = nn.Parameter(torch.empty(4 * M))
        self.gain_h = nn.Parameter(torch.empty(4 * M))
        self.gain_c = nn.Parameter(torch.empty(M))
        self.bias_c = nn.Parameter(torch.empty(M))

    def init_parameter(self, name: str, parameter: Tensor) -> None:
        super().init_parameter(name, parameter)
        if name.startswith("gain"):
            nn.init.ones_(parameter)

    def project(self, x: Tensor) -> Tensor:
        return F.layer_norm(F.linear(x, self.weight_x), self.gain_x.shape, self.gain_x, self.bias)

    def step(self, projected: Tensor, state: LSTMState) -> LSTMState:
        recurrent = F.layer_norm(F.linear(state.h, self.weight_h), self.gain_h.shape, self.gain_h)
        i, f, candidate, o = (projected + recurrent).chunk(4, -1)
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(candidate)
        normal = F.layer_norm(c, self.gain_c.shape, self.gain_c, self.bias_c)
        return LSTMState(torch.sigmoid(o) * torch.tanh(normal), c)
