"""The form of a cell for the backend triton. Shapes: D input, M hidden, G gates."""

from typing import NamedTuple

from torch import Tensor


class TritonForm(NamedTuple):
    """A cell as the triton backend takes it: the name of its recipe, its activation, and the weights."""

    recipe: str
    activation: str
    weights: tuple[Tensor, ...]  # Wx (G*M, D), b (G*M,), then in the recipe's order (n*M, M) matrices, (k*M,) vectors
