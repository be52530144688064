"""Dropout for sequences."""

from torch import Tensor, nn


class LockedDropout(nn.Module):
    """Zeroes a share p of a sequence's features, the same ones at every step, and scales the rest by 1 / (1 - p).

    Gal and Ghahramani 2016, arXiv:1512.05287; it does nothing outside of training.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop features of x (T, B, D), one mask (B, D) for all steps."""
        if not self.training or not self.p:
            return x
        return x * x.new_empty(1, *x.shape[1:]).bernoulli_(1 - self.p).div_(1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class WordDropout(nn.Module):
    """Zeroes the whole vector of a share p of the words (Iyyer et al. 2015): what a reader may have missed."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop words of x (T, B, D), each on its own."""
        if not self.training or not self.p:
            return x
        return x * x.new_empty(*x.shape[:2], 1).bernoulli_(1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"
