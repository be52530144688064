"""What a cell tells the triton backend; importing it needs no triton."""

from typing import NamedTuple

from torch import Tensor


class TritonForm(NamedTuple):
    """A cell in the backend's terms: the name of its recipe, and its weights in the recipe's order."""

    recipe: str
    activation: str
    weights: tuple[Tensor, ...]  # (n*M, M) for n matrices that a step multiplies with, (k*M,) for k vectors
