"""A label at every step: a stack of cells and a linear layer over its outputs."""

from torch import Tensor, nn

from rnncli.models.stack import Stack, StackShape, States


class Tagger(nn.Module):
    """Labels every step of a sequence with one of K classes: softmax(h_t Wo + bo).

    Raises UsageError as `Stack`.
    """

    def __init__(self, input_size: int, classes: int, shape: StackShape, backend: str = "auto") -> None:
        super().__init__()
        self.stack = Stack(input_size, shape, backend)
        self.output = nn.Linear(self.stack.output_size, classes)

    def forward(self, x: Tensor, states: States | None = None, lengths: Tensor | None = None) -> tuple[Tensor, States]:
        """Score x (T, B, D): logits (T, B, K), and the last states, to go on from."""
        h, states = self.stack(x, states, lengths)
        return self.output(h), states

    def initial_states(self, batch: int) -> States:
        """The learned states before the first step, for a batch of that size."""
        return self.stack.initial_states(batch)
