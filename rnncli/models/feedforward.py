"""A feed-forward net that sees a whole sequence at once, as a contrast to recurrent nets."""

from collections.abc import Sequence

from torch import Tensor, nn


class FeedForward(nn.Module):
    """Layers of rectified units (Glorot et al. 2011) over n inputs, and scores of K classes."""

    def __init__(self, inputs: int, classes: int, hidden: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(inputs, size), nn.ReLU()]
            inputs = size
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, classes))

    @property
    def by_layer(self) -> list[list[nn.Module]]:
        """Its layers, the first one first."""
        return [[each] for each in self.layers if isinstance(each, nn.Linear)]

    def forward(self, x: Tensor, states: None = None, lengths: None = None) -> tuple[Tensor, None]:
        """Score x (..., n): logits (..., K), and None in place of a state."""
        del lengths  # all inputs are always present
        return self.layers(x), states
