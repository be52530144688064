"""Cells of a user's own file whose step has no matrix: one pass over memory could compute them."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rnncli.cells.base import Cell, Hidden


class MinGRU(Cell[Hidden]):
    """The minimal GRU (Feng et al. 2024, arXiv:2410.01201); the blocks are (z, candidate)."""

    recurrent = ()

    def add_parameters(self) -> None:
        self.weight_x = nn.Parameter(torch.empty(2 * self.hidden_size, self.input_size))
        self.bias = nn.Parameter(torch.empty(2 * self.hidden_size))

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        z, candidate = projected.chunk(2, -1)
        positive = torch.where(candidate >= 0, candidate + 0.5, torch.sigmoid(candidate))
        return Hidden(torch.lerp(state.h, positive, torch.sigmoid(z)))


class IndRNN(Cell[Hidden]):
    """Units that see only themselves (Li et al. 2018, arXiv:1803.04831): h = relu(x Wx + b + u h')."""

    recurrent = ()

    def add_parameters(self) -> None:
        self.weight_x = nn.Parameter(torch.empty(self.hidden_size, self.input_size))
        self.bias = nn.Parameter(torch.empty(self.hidden_size))
        self.own = nn.Parameter(torch.empty(self.hidden_size))

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        return Hidden(torch.relu(projected + self.own * state.h))


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
