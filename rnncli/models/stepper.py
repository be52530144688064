"""A language model one step at a time, for decoding.

Shapes: B streams, V words.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rnncli.models.stack import States

TABLE = 1 << 20
"""Numbers. A larger table of projected words takes longer to fill than a few lines take to write."""


def advance(cells: Sequence[Any], projected: Tensor, states: States) -> States:
    """Advance the states of all layers by one step, from the projected input of the first cell, (B, P)."""
    after: States = []
    for cell, state in zip(cells, states, strict=True):
        projected = cell.project(after[-1][0]) if after else projected
        after.append(cell.step(projected, state))
    return after


class ReadsAndScores(Protocol):
    """What a stepper needs of a language model."""

    @property
    def embedding(self) -> Any: ...
    @property
    def stack(self) -> nn.Module: ...
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
        cells: Any = model.stack.cells
        self.model, self.cells, self.readout = model, list(cells), model.readout
        words = model.embedding.weight
        self.label = None if label is None else torch.tensor(label, device=words.device)
        tokens = torch.arange(len(words), device=words.device)
        fits = len(words) * self._project(tokens[:1]).numel() <= TABLE
        self.projected = self._project(tokens) if fits else None

    def __call__(self, tokens: Tensor, states: States) -> tuple[Tensor, States]:
        """Score the token after each of the tokens (B,): logits (B, V), and the states after them."""
        x = self._project(tokens) if self.projected is None else self.projected.index_select(0, tokens)
        after = advance(self.cells, x, states)
        return self.readout.logits(self.model.projection(after[-1][0])), after

    def _project(self, tokens: Tensor) -> Tensor:
        """Return the projected input (B, P) of the first cell for tokens (B,)."""
        projected: Tensor = self.cells[0].project(self.model.add_label(self.model.read(tokens), self.label))
        return projected
