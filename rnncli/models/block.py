"""Blocks: what surrounds the cells of a layer in a stack.

Shapes: B batch, D input, M output: the hidden units of all directions. An input is (..., D), an output (..., M).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.errors import UsageError
from rnncli.models import BLOCKS

EPSILON = 1e-8
"""Added to the mean square of an input: an input of zeros stays zero."""

FIRST_GAIN = 0.1
"""Of the projection's initial weights, so that a layer starts near its skip connection."""


class PlainBlock(nn.Module):
    """No block: the cells read the layer's input, and their h is its output."""

    def split(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return what the cells read of an input, (..., D), and what goes past them, here nothing."""
        return x, ()

    def join(self, h: Tensor, *past: Tensor) -> Tensor:
        """Return the layer's output from h (..., M) of its cells, and from what went past them."""
        del past
        return h


PLAIN = PlainBlock()
"""It has no weights, so that one serves all layers."""


class ResidualBlock(PlainBlock):
    """A residual block: norm, recurrence, gate, projection, and a skip connection.

    u = x / sqrt(mean(x²) + ε); h = cells(u); y = x S + σ(h Wg + bg) (h Wp)

    The order is that of the LRU's blocks (Orvieto et al. 2023, arXiv:2303.06349, figure 1), with a gated linear unit
    (Dauphin et al. 2017, arXiv:1612.08083) around h; SRU's highway (Lei et al. 2018, arXiv:1709.02755) and the blocks
    of sLSTM (Beck et al. 2024, arXiv:2405.04517) serve the same purpose. The norm is RMSNorm (Zhang and Sennrich 2019,
    arXiv:1910.07467) without its own scale, which the cells' Wx contains. S is the identity where D = M, else a matrix
    (He et al. 2016, arXiv:1512.03385).
    Shapes: S (M, D), Wg and Wp (M, M) stored transposed, bg (M,). Matrices start Glorot-uniform, bg at 0, and Wp at a
    tenth of Glorot's values: a deep stack starts near the product of its S.
    """

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        same = input_size == output_size
        self.skip = nn.Identity() if same else nn.Linear(input_size, output_size, bias=False)
        self.gate = nn.Linear(output_size, output_size)
        self.projection = nn.Linear(output_size, output_size, bias=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.xavier_uniform_(parameter)
        nn.init.zeros_(self.gate.bias)
        with torch.no_grad():
            self.projection.weight.mul_(FIRST_GAIN)

    def split(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return u, which the cells read, and x S, which goes past them."""
        return F.rms_norm(x, x.shape[-1:], eps=EPSILON), (self.skip(x),)

    def join(self, h: Tensor, *past: Tensor) -> Tensor:
        """Return y from h and x S; its type is that of h, also where matmuls round."""
        (skipped,) = past
        y: Tensor = skipped.to(h.dtype) + torch.sigmoid(self.gate(h)) * self.projection(h)
        return y


def make_block(kind: str, input_size: int, output_size: int) -> PlainBlock:
    """Return a block around the cells of a layer, one of `BLOCKS`; raises UsageError for any other."""
    if kind not in BLOCKS:
        raise UsageError(f"--block must be one of {', '.join(BLOCKS)}, not {kind!r}")
    return ResidualBlock(input_size, output_size) if kind == "residual" else PLAIN
