"""One label per sequence: a reader, a stack of cells, and a linear layer over the stack's last state.

Shapes: T steps, B batch, K classes, R members of a committee.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rnncli.data.features import Tokens
from rnncli.kernels.scan import blank_padding, padding_mask
from rnncli.models.reader import EmbeddingReader, TokenReader
from rnncli.models.stack import Stack, StackShape, last_outputs


class Classifier(nn.Module):
    """Labels a whole sequence with one of K classes: softmax(h_T Wo + bo), T its last valid step.

    In both directions, the backward half of the output is that of the first step, where that direction ends. With the
    `pooling` `concat`, the maximum and the mean of all h_t are appended (Howard and Ruder 2018, arXiv:1801.06146). With
    `bag`, the sum of all that was read, over the square root of T, is appended too. Raises UsageError as `Stack`.
    """

    def __init__(
        self,
        reader: TokenReader | EmbeddingReader,
        classes: int,
        shape: StackShape,
        *,
        pooling: str = "last",
        bag: bool = False,
        dropout: float = 0.0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.pooling, self.bag = pooling, bag
        self.reader = reader
        self.stack = Stack(reader.output_size, shape, backend)
        self.dropout = nn.Dropout(dropout)
        pooled = self.stack.output_size * (3 if pooling == "concat" else 1)
        self.output = nn.Linear(pooled + bag * reader.output_size, classes)

    @property
    def by_layer(self) -> list[list[nn.Module]]:
        """Its parts by layer, from the reader to the output."""
        return [[self.reader], *self.stack.by_layer, [self.output]]

    def forward(self, tokens: Tokens, states: None = None, lengths: Tensor | None = None) -> tuple[Tensor, None]:
        """Score sequences of the given lengths: logits (B, K), and None in place of a state to continue from."""
        x = self.reader(tokens)
        h, _ = self.stack(x, lengths=lengths)
        parts = [last_outputs(h, lengths, self.stack.directions)]
        count = x.new_full((), x.shape[0]) if lengths is None else lengths.to(x)[:, None]
        if self.pooling == "concat":
            parts += pooled_outputs(h, lengths, count)
        if self.bag:
            parts.append((x if lengths is None else blank_padding(x, lengths)).sum(0) / count.sqrt())
        return self.output(self.dropout(torch.cat(parts, dim=-1))), states


def pooled_outputs(h: Tensor, lengths: Tensor | None, count: Tensor) -> list[Tensor]:
    """Return the maximum and the mean of h (T, B, M) over each sequence's valid steps, whose number is `count`."""
    if lengths is None:
        return [h.amax(0), h.mean(0)]
    padding = padding_mask(len(h), lengths).to(h.device)[:, :, None]
    return [h.masked_fill(padding, -torch.inf).amax(0), h.masked_fill(padding, 0.0).sum(0) / count]


class Committee(nn.Module):
    """Nets of one kind that read the same batches and share nothing else: folds, or members of an ensemble."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def stack(self) -> Stack:
        """The cells of one member; all members have the same kind."""
        first: Any = self.members[0]
        stack: Stack = first.stack
        return stack

    @property
    def by_layer(self) -> list[list[nn.Module]]:
        """The parts of all members by layer, from the readers to the outputs."""
        members: Any = self.members
        layers = zip(*(member.by_layer for member in members), strict=True)
        return [[part for parts in layer for part in parts] for layer in layers]

    def forward(self, tokens: Tokens, states: None = None, lengths: Tensor | None = None) -> tuple[Tensor, None]:
        """Return the members' logits, side by side: (B, R, K), and None in place of states."""
        return torch.stack([member(tokens, None, lengths)[0] for member in self.members], dim=1), states
