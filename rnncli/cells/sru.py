"""The simple recurrent unit: its gates see the past only through their own memory cell."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.cells.base import Cell

SKIP = 3.0**0.5
"""The scale of the skip connection: sqrt(1 + 2 e^br) keeps the variance of h at the first br, 0."""


class SRUState(NamedTuple):
    """The output h and the memory cell c, both (B, M); the next step reads only c."""

    h: Tensor
    c: Tensor


class SRU(Cell[SRUState]):
    """The simple recurrent unit (Lei et al. 2018, arXiv:1709.02755v5, equations 1 to 4).

    f = sigmoid(x Wxf + vf c' + bf);  r = sigmoid(x Wxr + vr c' + br);  c = f c' + (1 - f) (x Wxc);
    h = r c + (1 - r) s, where s = sqrt(3) x if D = M, else x Wxs.
    Shapes: x (B, D), h and c (B, M), vf and vr (M,); the blocks of Wx are (f, r, c) and, if D is not M, s; those of b
    and of the vectors v, `weight_c`, are (f, r). Initialisation (section 3.2 of the paper): Wx uniform with variance
    1 / D, for the gates half of it, for s three times; v uniform with variance 1/2; biases 0. Errors as `Cell`.
    """

    name = "sru"
    State = SRUState
    recurrent = ()
    unread = ("h",)

    def add_parameters(self) -> None:
        D, M = self.input_size, self.hidden_size
        self.weight_x = nn.Parameter(torch.empty(3 * M if D == M else 4 * M, D))
        self.weight_c = nn.Parameter(torch.empty(2 * M))
        self.bias = nn.Parameter(torch.empty(2 * M))

    def init_parameter(self, name: str, parameter: Tensor) -> None:
        M = self.hidden_size
        if name == "weight_x":
            bound = (3 / self.input_size) ** 0.5
            nn.init.uniform_(parameter, -bound, bound)
            parameter[: 2 * M] *= 0.5**0.5
            parameter[3 * M :] *= SKIP
        elif name == "weight_c":
            nn.init.uniform_(parameter, -(1.5**0.5), 1.5**0.5)
        else:
            super().init_parameter(name, parameter)

    def project(self, x: Tensor) -> Tensor:
        M = self.hidden_size
        parts = [F.linear(x, self.weight_x[: 2 * M], self.bias), F.linear(x, self.weight_x[2 * M :])]
        return torch.cat([*parts, SKIP * x] if self.input_size == M else parts, -1)

    def step(self, projected: Tensor, state: SRUState) -> SRUState:
        M = self.hidden_size
        gates = projected[:, : 2 * M] + self.weight_c * state.c.repeat(1, 2)
        f, r = torch.sigmoid(gates).chunk(2, -1)
        c = torch.lerp(projected[:, 2 * M : 3 * M], state.c, f)
        return SRUState(torch.lerp(projected[:, 3 * M :], c, r), c)
