"""A language model one step at a time, for decoding.

Shapes: B streams, V words.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rnncli.models.stack import Stack, States

TABLE = 1 << 20
"""Numbers. A larger table of prepared words takes longer to fill than a few lines take to write."""


class ReadsAndScores(Protocol):
    """What a stepper needs of a language model."""

    @property
    def embedding(self) -> Any: ...
    @property
    def stack(self) -> Stack: ...
    @property
    def projection(self) -> nn.Module: ...
    @property
    def readout(self) -> Any: ...
    def read(self, tokens: Tensor) -> Tensor: ...
    def add_label(self, x: Tensor, labels: Tensor | None) -> Tensor: ...


class Stepper:
    """Steps of a language model, for any number of streams and any cells; work that needs no state is done once.

    The weights must not change meanwhile, and dropout is off. A step is the cell's own: the scan's backends only gain
    over many steps. All streams have the same label, or none.
    """

    def __init__(self, model: ReadsAndScores, label: int | None = None) -> None:
        self.model, self.stack, self.readout = model, model.stack, model.readout
        words = model.embedding.weight
        self.label = None if label is None else torch.tensor(label, device=words.device)
        tokens = torch.arange(len(words), device=words.device)
        fits = len(words) * sum(each.numel() for each in self._prepare(tokens[:1])) <= TABLE
        self.prepared = self._prepare(tokens) if fits else None

    def __call__(self, tokens: Tensor, states: States) -> tuple[Tensor, States]:
        """Score the token after each of the tokens (B,): logits (B, V), and the states after them."""
        if self.prepared is None:
            prepared = self._prepare(tokens)
        else:
            prepared = tuple(each.index_select(0, tokens) for each in self.prepared)
        top, after = self.stack.step(prepared, states)
        return self.readout.logits(self.model.projection(top)), after

    def _prepare(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Return what the first layer needs of tokens (B,)."""
        return self.stack.prepare(0, self.model.add_label(self.model.read(tokens), self.label))
