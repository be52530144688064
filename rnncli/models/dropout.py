"""Dropout for sequences, x (T, B, D); like any dropout, it is inactive outside training."""

from torch import Tensor, nn


class LockedDropout(nn.Dropout):
    """Zeroes a share p of each sequence's features, the same at every step, and scales the rest by 1 / (1 - p).

    Gal and Ghahramani 2016, arXiv:1512.05287.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        return x * x.new_empty(1, *x.shape[1:]).bernoulli_(1 - self.p).div_(1 - self.p)


class WordDropout(nn.Dropout):
    """Zeroes the whole vectors of a share p of the words, independently (Iyyer et al. 2015)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        return x * x.new_empty(*x.shape[:2], 1).bernoulli_(1 - self.p)
