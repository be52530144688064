"""The minimal GRU: a linear recurrence whose gate and candidate see only the input."""

import torch
from torch import Tensor

from rnncli.cells.base import Cell, Hidden

VARIANTS = ("positive", "linear")
"""Of minGRU and minLSTM: the candidates of the paper's experiments, and those of its main text."""


class MinGRU(Cell[Hidden]):
    """The minimal GRU (Feng et al. 2024, arXiv:2410.01201).

    z = sigmoid(x Wxz + bz);  h = (1 - z) h' + z ĥ, where
    `positive` (the log-space version, appendix B): ĥ = g(x Wxh + bh), with g(a) = a + 1/2 for a >= 0, else sigmoid(a);
    `linear` (section 3.1): ĥ = x Wxh + bh.
    Shapes: x (B, D), h (B, M); the two blocks of the weights are (z, ĥ). Initialisation and errors as `Cell`.
    """

    name = "mingru"
    gates = 2
    variants = VARIANTS
    recurrent = ()

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        gate, candidate = projected.chunk(2, -1)
        if self.variant == "positive":
            candidate = positive(candidate)
        return Hidden(torch.lerp(state.h, candidate, torch.sigmoid(gate)))


def positive(a: Tensor) -> Tensor:
    """Map numbers to positive ones: a + 1/2 for a >= 0, else sigmoid(a)."""
    return torch.where(a >= 0, a + 0.5, torch.sigmoid(a))
