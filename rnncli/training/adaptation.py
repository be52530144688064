"""Evaluation of a model that adapts to the text it reads: dynamic evaluation, and the neural cache.

Shapes: T steps of one sequence, M features, V words, N remembered steps.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from rnncli.data.batching import Batch, LazyBatch, Sentences, built
from rnncli.data.streams import ConcatIds, Ids, RunningText
from rnncli.models.stack import States, detach
from rnncli.terminal import progress_bar
from rnncli.training.experiment import Metrics
from rnncli.training.metrics import perplexity, prediction_metrics, running_metrics

SEGMENT = 20
"""Steps that are scored, and then trained on, at a time."""

ROWS = 64
"""Sentences measured side by side without adaptation."""

FLOOR = 1e-4
"""Added to the root of the gradients' mean square."""


@dataclass(frozen=True)
class Adaptation:
    """How a model adapts while it is measured; 0 turns a method off."""

    dynamic: float = 0.0  # the learning rate of dynamic evaluation
    cache: int = 0  # steps that the neural cache remembers, N
    theta: float = 0.3  # how strongly the weight grows with similarity
    share: float = 0.1  # of the probability that comes from the cache (lambda)


def running_metrics_as(
    model: nn.Module, ids: Ids | ConcatIds, how: Adaptation | None, voices: Sequence[tuple[int, int]] = ()
) -> Metrics:
    """Measure as `running_metrics`; an adapting model reads the running text (N,) from start to end in one row."""
    if how is None:
        return running_metrics(model, ids, voices)
    text = RunningText(ids, rows=1, steps=SEGMENT, voices=voices)
    return adaptive_metrics(model, _shown(text.batches(next(model.parameters()).device), text.batches_per_epoch), how)


def sentence_metrics_as(model: nn.Module, pools: Iterable[Sentences], how: Adaptation | None) -> Metrics:
    """Measure sentences as `prediction_metrics`; an adapting model reads them one by one."""
    if how is None:
        return prediction_metrics(model, chain.from_iterable(some.in_order(ROWS) for some in pools))
    return adaptive_metrics(model, chain.from_iterable(some.each() for some in pools), how)


def adaptive_metrics(model: nn.Module, batches: Iterable[Batch | LazyBatch], how: Adaptation) -> Metrics:
    """Measure loss in nats, accuracy and perplexity of a model that adapts while reading, one sequence per batch.

    Dynamic evaluation (Krause et al. 2018, arXiv:1709.07432): each segment is scored, and then trained on. A batch that
    does not continue the previous one starts from the first states, with everything learned so far. The model itself
    does not change.
    """
    language: Any = copy.deepcopy(model).eval() if how.dynamic else model.eval()
    cache, rule = Cache(how), _rule(language, how.dynamic)
    states: States | None = None
    loss_sum, hits, count = 0.0, 0, 0
    for batch in built(batches):
        for window in batch.windows(SEGMENT):
            with torch.set_grad_enabled(how.dynamic > 0):
                h, states = language.features(window.inputs, states if window.continues else None, labels=window.labels)
                h, targets = h.flatten(0, 1), window.targets.flatten()
                probs = cache.mixed(language.readout, h.detach(), targets)
            loss_sum -= float(probs.gather(1, targets[:, None]).log().sum())
            hits += int((probs.argmax(-1) == targets).sum())
            count += len(targets)
            states = detach(states)
            if how.dynamic:
                rule.zero_grad()
                (language.readout.loss(h, targets) / len(targets)).backward()
                rule.step()
    loss = loss_sum / count
    return {"loss": loss, "accuracy": hits / count, "perplexity": perplexity(loss)}


def _shown(batches: Iterable[LazyBatch], total: int) -> Iterator[LazyBatch]:
    """Yield the same batches, with a progress bar on standard error where it takes long."""
    with progress_bar(total, "segment", delay=2.0, leave=False) as bar:
        for batch in batches:
            yield batch
            bar.update()


def _rule(model: nn.Module, rate: float) -> torch.optim.Optimizer:
    """Build Krause's RMS rule: a step down the gradient over the root of its mean square.

    The mean covers the gradients met so far, not those of the training text, which may be unavailable.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.Adam(trainable, rate, betas=(0.0, 0.999), eps=FLOOR)


class Cache:
    """The neural cache (Grave et al. 2017, arXiv:1612.04426): words that followed features like the present ones.

    p(w) = (1 - share) p_model(w) + share p_cache(w), p_cache(w) ~ sum of exp(theta h' h_i) over those of the last N
    steps i that w followed. While the cache is empty, p is the model's.
    """

    def __init__(self, how: Adaptation) -> None:
        self.how = how
        self.features: Tensor | None = None  # (n, M), n at most N
        self.words: Tensor | None = None  # (n,)

    @torch.no_grad()
    def mixed(self, readout: Any, h: Tensor, targets: Tensor) -> Tensor:
        """Return the probabilities (T, V) after features (T, M), and remember the targets (T,) step by step."""
        probs: Tensor = readout.logits(h).double().softmax(-1)
        if not self.how.cache:
            return probs
        before = 0 if self.features is None else len(self.features)
        features = h if self.features is None else torch.cat([self.features, h])
        words = targets if self.words is None else torch.cat([self.words, targets])
        steps, places = torch.arange(before, before + len(h))[:, None], torch.arange(len(words))
        there = ((places < steps) & (places >= steps - self.how.cache)).to(h.device)
        nearness = (self.how.theta * h @ features.T).double().masked_fill(~there, -torch.inf)
        weights = nearness.softmax(-1).nan_to_num(0.0) * self.how.share  # the cache is empty at the first step
        kept = 1.0 - weights.sum(-1, keepdim=True)
        self.features, self.words = features[-self.how.cache :], words[-self.how.cache :]
        return (kept * probs).scatter_add_(1, words.expand_as(weights), weights)
