"""A label at every step: a stack of cells and a linear layer over its outputs."""

from torch import Tensor, nn

from rnncli.models.dropout import LockedDropout
from rnncli.models.reader import EmbeddingReader, TokenReader
from rnncli.models.stack import Stack, StackShape, States


class Tagger(nn.Module):
    """Labels every step of a sequence with one of K classes: softmax(h_t Wo + bo).

    It reads vectors (T, B, D), or the output of a `reader`. Raises UsageError as `Stack`.
    """

    def __init__(
        self,
        reader: TokenReader | EmbeddingReader | int,
        classes: int,
        shape: StackShape,
        *,
        dropout: float = 0.0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.reader = nn.Identity() if isinstance(reader, int) else reader
        self.stack = Stack(reader if isinstance(reader, int) else reader.output_size, shape, backend)
        self.dropout = LockedDropout(dropout)
        self.output = nn.Linear(self.stack.output_size, classes)

    def forward(self, x: object, states: States | None = None, lengths: Tensor | None = None) -> tuple[Tensor, States]:
        """Score x: logits (T, B, K), and the last states to continue from."""
        h, states = self.stack(self.reader(x), states, lengths)
        return self.output(self.dropout(h)), states

    @property
    def by_layer(self) -> list[list[nn.Module]]:
        """Its parts by layer, from the reader to the output."""
        return [[self.reader], *self.stack.by_layer, [self.output]]

    def initial_states(self, batch: int) -> States:
        """Return the trainable states before the first step, for a batch of that size."""
        return self.stack.initial_states(batch)
