"""A feed-forward net that sees a whole sequence at once: the foil of the recurrent ones."""

from collections.abc import Sequence

from torch import Tensor, nn


class FeedForward(nn.Module):
    """Layers of rectified units (Glorot et al. 2011) over n inputs, and one of K classes as the answer."""

    def __init__(self, inputs: int, classes: int, hidden: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(inputs, size), nn.ReLU()]
            inputs = size
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, classes))

    def forward(self, x: Tensor, states: None = None, lengths: None = None) -> tuple[Tensor, None]:
        """Score x (..., n): logits (..., K); there is no state, and None stands in its place."""
        del lengths  # all inputs are there, always
        return self.layers(x), states
