"""From features to a distribution over words: over all words, in classes, or over a sample.

Shapes: N predictions, M features, V words.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.data.batching import IGNORED
from rnncli.errors import UsageError
from rnncli.kernels.graphs import in_graph
from rnncli.kernels.linear import blocks, linear_cross_entropy, linear_score, linear_surprisals

NOISE_WORDS = 2_000
"""Words that a sampled softmax draws for each batch."""

MIN_WORDS, MIN_FEATURES = 10, 16
"""What an adaptive softmax needs for its classes, and for the features that score the rarest words."""


@dataclass(frozen=True)
class FullSoftmax:
    """softmax(h W' + b), W (V, M) and b (V,)."""

    weight: Tensor
    bias: Tensor

    def logits(self, h: Tensor) -> Tensor:
        """Score all words: features (..., M) to logits (..., V)."""
        return F.linear(h, self.weight, self.bias)

    def loss(self, h: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Sum -log p of targets (N,) given features (N, M); smoothing as in `cross_entropy_sum`."""
        return linear_cross_entropy(h, self.weight, self.bias, targets, smoothing=smoothing, ignore_index=IGNORED)

    def score(self, h: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss, and how many targets are the likeliest word."""
        return linear_score(h, self.weight, self.bias, targets, ignore_index=IGNORED)

    def surprisals(self, h: Tensor, targets: Tensor) -> Tensor:
        """Return -log p (N,) of each target (N,) given features (N, M)."""
        return linear_surprisals(h, self.weight, self.bias, targets)

    def init_bias(self, probs: Tensor) -> None:
        """Make each word as likely as `probs` (V,) say, before the features carry information."""
        with torch.no_grad():
            self.bias.copy_(probs.log())


@dataclass(frozen=True)
class SampledSoftmax(FullSoftmax):
    """A full softmax trained on a few words at a time: the targets of a batch, and words drawn by `noise_probs` (V,).

    As Jean et al. 2015 (arXiv:1412.2007): the log-probability that a word is drawn is subtracted from its score, so
    that the expected gradient is that of all words.
    """

    noise_probs: Tensor

    def loss(self, h: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Sum -log p of targets (N,) among the words drawn; raises ValueError for smoothing."""
        if smoothing:
            raise ValueError("the sampled softmax supports no label smoothing")
        if in_graph():
            return self._loss_of_fixed_size(h, targets)
        targeted = (targets != IGNORED).nonzero().flatten()
        others = torch.multinomial(self.noise_probs, NOISE_WORDS, replacement=True)
        words, places = torch.cat([targets[targeted], others]).unique(return_inverse=True)
        scores = F.linear(h.index_select(0, targeted), self.weight[words], self.bias[words] - self._log_drawn(words))
        return F.cross_entropy(scores, places[: len(targeted)], reduction="sum")

    def _loss_of_fixed_size(self, h: Tensor, targets: Tensor) -> Tensor:
        """Compute the same loss with N + NOISE_WORDS scores for each target: a word that occurs again scores -inf."""
        has_target = targets != IGNORED
        others = torch.multinomial(self.noise_probs, NOISE_WORDS, replacement=True)
        words = torch.cat([targets.where(has_target, others[0]), others]).sort().values
        again = F.pad(words[1:] == words[:-1], (1, 0))
        offset = (self.bias[words] - self._log_drawn(words)).masked_fill(again, -torch.inf)
        places = torch.searchsorted(words, targets.contiguous()).where(has_target, IGNORED)
        scores = F.linear(h, self.weight[words], offset)
        return F.cross_entropy(scores, places, ignore_index=IGNORED, reduction="sum")

    def _log_drawn(self, words: Tensor) -> Tensor:
        """Return the log-probability that each word is drawn at least once."""
        return (-torch.expm1(NOISE_WORDS * torch.log1p(-self.noise_probs[words]))).log()


def zipf_probs(words: int) -> Tensor:
    """Return the frequency of each of V words by Zipf's law, for words numbered by frequency: (V,)."""
    ranks = torch.arange(1, words + 1, dtype=torch.get_default_dtype(), device="cpu")  # on the CPU even in an outline
    return torch.log1p(1 / ranks) / math.log(words + 1)


class AdaptiveSoftmax(nn.AdaptiveLogSoftmaxWithLoss):
    """The adaptive softmax (Grave et al. 2017, arXiv:1609.04309), for words numbered by frequency.

    The most frequent tenth of the words is scored directly. The next three tenths and the rest form two classes, whose
    words are scored from M / 4 and M / 16 features, and only where a target needs them. Raises UsageError for fewer
    than 10 words or 16 features.
    """

    def __init__(self, features: int, words: int) -> None:
        for what, count, minimum in (("words", words, MIN_WORDS), ("units", features, MIN_FEATURES)):
            if count < minimum:
                raise UsageError(f"an adaptive softmax needs {minimum} {what} or more, not {count}")
        super().__init__(features, words, [words // 10, words * 4 // 10], head_bias=True)

    def logits(self, h: Tensor) -> Tensor:
        """Return log-probabilities of all words: features (..., M) to (..., V)."""
        probs: Tensor = self.log_prob(h.flatten(0, -2))
        return probs.view(*h.shape[:-1], -1)

    def loss(self, h: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Sum -log p of targets (N,) given features (N, M); raises ValueError for smoothing."""
        if smoothing:
            raise ValueError("the adaptive softmax supports no label smoothing")
        targeted = (targets != IGNORED).nonzero().flatten()
        if not len(targeted):
            return h.sum() * 0.0
        probs: Tensor = self(h.index_select(0, targeted), targets[targeted]).output
        return -probs.sum()

    @torch.no_grad()
    def score(self, h: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss, and how many targets are the likeliest word."""
        hits = [(self.predict(h[part]) == targets[part]).sum() for part in blocks(h, self.n_classes)]
        return self.loss(h, targets), torch.stack(hits).sum()

    @torch.no_grad()
    def surprisals(self, h: Tensor, targets: Tensor) -> Tensor:
        """Return -log p (N,) of each target (N,) given features (N, M)."""
        probs: Tensor = self(h, targets).output if len(targets) else h.new_zeros(0)
        return -probs.double()

    @torch.no_grad()
    def init_bias(self, probs: Tensor) -> None:
        """Make words as likely as `probs` (V,) say, before the features carry information; equally within a class."""
        ends = [0, *self.cutoffs]
        classes = [probs[begin:end].sum() for begin, end in pairwise(ends[1:])]
        self.head.bias.copy_(torch.cat([probs[: ends[1]], torch.stack(classes)]).log())
