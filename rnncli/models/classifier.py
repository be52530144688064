"""One label per sequence: a reader, a stack of cells, and a linear layer over the stack's last state.

Shapes: T steps, B batch, K classes, R members of a committee.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rnncli.data.features import Tokens
from rnncli.kernels.scan import blank_padding
from rnncli.models.reader import TokenReader
from rnncli.models.stack import Stack, StackShape, last_outputs


class Classifier(nn.Module):
    """Labels a whole sequence with one of K classes: softmax(h_T Wo + bo), T its last valid step.

    In both directions, the backward half of the output is that of the first step, where that direction ends. With
    `bag`, the sum of all that was read, over the square root of T, is appended too. Raises UsageError as `Stack`.
    """

    def __init__(
        self,
        reader: TokenReader,
        classes: int,
        shape: StackShape,
        *,
        bag: bool = False,
        dropout: float = 0.0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.bag = bag
        self.reader = reader
        self.stack = Stack(reader.output_size, shape, backend)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(self.stack.output_size + bag * reader.output_size, classes)

    def forward(self, tokens: Tokens, states: None = None, lengths: Tensor | None = None) -> tuple[Tensor, None]:
        """Score sequences of the given lengths: logits (B, K), and None in place of a state to continue from."""
        x = self.reader(tokens)
        h, _ = self.stack(x, lengths=lengths)
        parts = [last_outputs(h, lengths, self.stack.directions)]
        if self.bag:
            count = x.new_full((), x.shape[0]) if lengths is None else lengths.to(x)[:, None]
            parts.append((x if lengths is None else blank_padding(x, lengths)).sum(0) / count.sqrt())
        return self.output(self.dropout(torch.cat(parts, dim=-1))), states


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

    def forward(self, tokens: Tokens, states: None = None, lengths: Tensor | None = None) -> tuple[Tensor, None]:
        """Return the members' logits, side by side: (B, R, K), and None in place of states."""
        return torch.stack([member(tokens, None, lengths)[0] for member in self.members], dim=1), states
