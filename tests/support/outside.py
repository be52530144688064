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


class Deep(Cell[Hidden]):
    """A unit with a deep transition (Pascanu et al. 2014, arXiv:1312.6026): h = tanh(tanh(x Wx + h' Wh + b) Ws)."""

    recurrent = ("weight_h", "weight_s")

    def add_parameters(self) -> None:
        super().add_parameters()
        self.weight_s = nn.Parameter(torch.empty(self.hidden_size, self.hidden_size))

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        s = torch.tanh(projected + F.linear(state.h, self.weight_h))
        return Hidden(torch.tanh(F.linear(s, self.weight_s)))


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


class MultiplicativeRNN(Cell[Hidden]):
    """h = tanh(x Wx + ((x Wfx) (h' Wfh)) Wf) with a factor of M + 2 numbers (Sutskever et al. 2011)."""

    recurrent = ("weight_fh", "weight_f")

    def add_parameters(self) -> None:
        D, M = self.input_size, self.hidden_size
        self.weight_x = nn.Parameter(torch.empty(M, D))
        self.weight_fx = nn.Parameter(torch.empty(M + 2, D))
        self.weight_fh = nn.Parameter(torch.empty(M + 2, M))
        self.weight_f = nn.Parameter(torch.empty(M, M + 2))

    def project(self, x: Tensor) -> Tensor:
        return torch.cat([F.linear(x, self.weight_x), F.linear(x, self.weight_fx)], -1)

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        M = self.hidden_size
        factor = projected[:, M:] * F.linear(state.h, self.weight_fh)
        return Hidden(torch.tanh(projected[:, :M] + F.linear(factor, self.weight_f)))


class Normalised(Cell[Hidden]):
    """An Elman unit with a module inside: h = tanh(layer norm of x Wx + h' Wh + b) (Ba et al. 2016, equation 4)."""

    def add_parameters(self) -> None:
        super().add_parameters()
        self.norm = nn.LayerNorm(self.hidden_size)

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        return Hidden(torch.tanh(self.norm(projected + F.linear(state.h, self.weight_h))))


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


class Turning(NamedTuple):
    """The output (B, M), and the real and the imaginary part of M / 2 numbers."""

    h: Tensor
    real: Tensor
    imaginary: Tensor


class Rotating(Cell[Turning]):
    """A linear unit with complex state (after Orvieto et al. 2023, arXiv:2303.06349) and one gain for all units."""

    State = Turning
    recurrent = ()

    @property
    def state_sizes(self) -> dict[str, int]:
        M = self.hidden_size
        return {"h": M, "real": M // 2, "imaginary": M - M // 2}

    def add_parameters(self) -> None:
        self.weight_x = nn.Parameter(torch.empty(self.hidden_size, self.input_size))
        self.bias = nn.Parameter(torch.empty(self.hidden_size))
        self.size, self.angle = nn.Parameter(torch.empty(1)), nn.Parameter(torch.empty(self.hidden_size // 2))

    def step(self, projected: Tensor, state: Turning) -> Turning:
        shrink = torch.exp(-torch.exp(self.size))
        a, b = shrink * torch.cos(self.angle), shrink * torch.sin(self.angle)
        x, y = projected.chunk(2, -1)
        real, imaginary = a * state.real - b * state.imaginary + x, b * state.real + a * state.imaginary + y
        return Turning(torch.cat([real, imaginary], -1), real, imaginary)


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
