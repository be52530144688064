"""The minimal LSTM: a linear recurrence whose gates and candidate see only the input."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rnncli.cells.base import Cell, Hidden
from rnncli.cells.mingru import VARIANTS, positive


class MinLSTM(Cell[Hidden]):
    """The minimal LSTM (Feng et al. 2024, arXiv:2410.01201, section 3.2).

    f = sigmoid(x Wxf + bf);  i = sigmoid(x Wxi + bi);  h = f / (f + i) h' + i / (f + i) ĥ, with ĥ as in `MinGRU`:
    `positive`: ĥ = g(x Wxh + bh), `linear`: ĥ = x Wxh + bh.
    The step computes f / (f + i) as sigmoid(log f - log i), which no gate makes 0 / 0. Shapes: x (B, D), h (B, M); the
    three blocks of the weights are (f, i, ĥ). Initialisation and errors as `Cell`.
    """

    name = "minlstm"
    gates = 3
    variants = VARIANTS
    recurrent = ()

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        f, i, candidate = projected.chunk(3, -1)
        if self.variant == "positive":
            candidate = positive(candidate)
        kept = torch.sigmoid(F.logsigmoid(f) - F.logsigmoid(i))
        return Hidden(torch.lerp(candidate, state.h, kept))
