"""The form of a cell for the backend torch. Shapes: T steps, B batch, D input, M hidden, G gates."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor


class TorchForm(NamedTuple):
    """A cell as torch's own layer: its function, and the weights in that layer's layout and gate order."""

    function: Callable[..., Any]  # torch.rnn_tanh, torch.rnn_relu, torch.gru or torch.lstm
    weights: list[Tensor]  # (G*M, D), (G*M, M), (G*M,), (G*M,)
