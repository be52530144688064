"""A researcher's own file of cells: no module of the package knows them, and `--cell FILE:Class` names them."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.cells.base import Cell, Hidden


class Memory(NamedTuple):
    """The hidden layer (B, M) and a memory cell."""

    h: Tensor
    c: Tensor


class MGU(Cell[Hidden]):
    """The minimal gated unit (Zhou et al. 2016, arXiv:1603.09420).

    f = sigmoid(x Wxf + h' Whf + bf);  h = (1 - f) h' + f tanh(x Wxh + (f h') Whh + bh).
    """

    gates = 2

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        M, h = self.hidden_size, state.h
        f = torch.sigmoid(projected[:, :M] + F.linear(h, self.weight_h[:M]))
        candidate = torch.tanh(projected[:, M:] + F.linear(f * h, self.weight_h[M:]))
        return Hidden(torch.lerp(h, candidate, f))


class MinGRU(Cell[Hidden]):
    """The minimal GRU (Feng et al. 2024, arXiv:2410.01201): z = sigmoid(x Wz + bz);  h = (1 - z) h' + z (x Wn + bn)."""

    recurrent = ()

    def add_parameters(self) -> None:
        self.weight_x = nn.Parameter(torch.empty(2 * self.hidden_size, self.input_size))
        self.bias = nn.Parameter(torch.empty(2 * self.hidden_size))

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        z, content = projected.chunk(2, -1)
        return Hidden(torch.lerp(state.h, content, torch.sigmoid(z)))


class CoupledLSTM(Cell[Memory]):
    """An LSTM whose input gate is 1 - f (Greff et al. 2017, arXiv:1503.04069); the blocks are (f, c, o)."""

    State = Memory
    gates = 3
    variants = ("plain", "peephole")

    def add_parameters(self) -> None:
        super().add_parameters()
        if self.variant == "peephole":
            self.weight_c = nn.Parameter(torch.empty(self.hidden_size))

    def step(self, projected: Tensor, state: Memory) -> Memory:
        f, candidate, o = (projected + F.linear(state.h, self.weight_h)).chunk(3, -1)
        if self.variant == "peephole":
            f = f + self.weight_c * state.c
        c = torch.lerp(torch.tanh(candidate), state.c, torch.sigmoid(f))
        return Memory(torch.sigmoid(o) * torch.tanh(c), c)


class MultiplicativeLSTM(Cell[Memory]):
    """An LSTM that sees m = (x Wmx) (h' Wmh) in place of h' (Krause et al. 2016, arXiv:1609.07959)."""

    State = Memory
    recurrent = ("weight_mh", "weight_m")

    def add_parameters(self) -> None:
        D, M = self.input_size, self.hidden_size
        self.weight_mx = nn.Parameter(torch.empty(M, D))
        self.weight_mh = nn.Parameter(torch.empty(M, M))
        self.weight_x = nn.Parameter(torch.empty(4 * M, D))
        self.weight_m = nn.Parameter(torch.empty(4 * M, M))
        self.bias = nn.Parameter(torch.empty(4 * M))

    def project(self, x: Tensor) -> Tensor:
        return torch.cat([F.linear(x, self.weight_mx), F.linear(x, self.weight_x, self.bias)], -1)

    def step(self, projected: Tensor, state: Memory) -> Memory:
        M = self.hidden_size
        m = projected[:, :M] * F.linear(state.h, self.weight_mh)
        i, f, candidate, o = (projected[:, M:] + F.linear(m, self.weight_m)).chunk(4, -1)
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(candidate)
        return Memory(torch.sigmoid(o) * torch.tanh(c), c)


class LayerNormLSTM(Cell[Memory]):
    """An LSTM with layer normalisation (Ba et al. 2016, arXiv:1607.06450) of h' Wh and of c."""

    State = Memory
    gates = 4

    def add_parameters(self) -> None:
        super().add_parameters()
        self.norm_h = nn.LayerNorm(4 * self.hidden_size)
        self.norm_c = nn.LayerNorm(self.hidden_size)

    def step(self, projected: Tensor, state: Memory) -> Memory:
        i, f, candidate, o = (projected + self.norm_h(F.linear(state.h, self.weight_h))).chunk(4, -1)
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(candidate)
        return Memory(torch.sigmoid(o) * torch.tanh(self.norm_c(c)), c)


class ProjectedLSTM(Cell[Memory]):
    """An LSTM with 2 M memory cells and M outputs, h = (o tanh(c)) Wr (Sak et al. 2014, arXiv:1402.1128)."""

    State = Memory
    recurrent = ("weight_h", "weight_r")

    @property
    def state_sizes(self) -> Mapping[str, int]:
        return {"h": self.hidden_size, "c": 2 * self.hidden_size}

    def add_parameters(self) -> None:
        M, C = self.state_sizes.values()
        self.weight_x = nn.Parameter(torch.empty(4 * C, self.input_size))
        self.weight_h = nn.Parameter(torch.empty(4 * C, M))
        self.weight_r = nn.Parameter(torch.empty(M, C))
        self.bias = nn.Parameter(torch.empty(4 * C))

    def step(self, projected: Tensor, state: Memory) -> Memory:
        i, f, candidate, o = (projected + F.linear(state.h, self.weight_h)).chunk(4, -1)
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(candidate)
        return Memory(F.linear(torch.sigmoid(o) * torch.tanh(c), self.weight_r), c)


class Branching(Cell[Hidden]):
    """An Elman unit that halves its state where any unit of the batch is above 0.5: its step looks at values."""

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        h = torch.tanh(projected + F.linear(state.h, self.weight_h))
        return Hidden(h / 2 if bool((h > 0.5).any()) else h)


class Counting(Cell[Hidden]):
    """An Elman unit that forgets more at each step, which it counts outside of its state."""

    steps = 0

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        self.steps += 1
        return Hidden(torch.tanh(projected + F.linear(state.h, self.weight_h)) / self.steps)


class Doubled(Cell[Hidden]):
    """A step that returns twice as many units as it was given."""

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        return Hidden(torch.cat([projected, state.h], -1))


class Clashing(Cell[Hidden]):
    """A step that multiplies matrices which do not fit."""

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        return Hidden(projected @ F.linear(state.h, self.weight_h))


class NotACell:
    """A class of another kind."""
