"""A cell in the terms of each backend. Shapes: T steps, B batch, D input, M hidden, G gates."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from rnncli.kernels.fused.scan import Kernel


class TorchForm(NamedTuple):
    """A cell in torch's terms: its function, and weights in its layout and gate order."""

    function: Callable[..., Any]  # torch.rnn_tanh, torch.rnn_relu, torch.gru or torch.lstm
    weights: list[Tensor]  # (G*M, D), (G*M, M), (G*M,), (G*M,)


class FusedForm(NamedTuple):
    """A cell in the fused backend's terms: the loops of its equations, its activation, and the weights they take."""

    kernel: "type[Kernel]"
    activation: str
    weights: tuple[Tensor, ...]  # Wx (G*M, D), b (G*M,), then what the kernel names


class TritonForm(NamedTuple):
    """A cell in the triton backend's terms: the name of its recipe, its activation, and its weights."""

    recipe: str
    activation: str
    weights: tuple[Tensor, ...]  # Wx (G*M, D), b (G*M,), then in the recipe's order (n*M, M) matrices, (k*M,) vectors
