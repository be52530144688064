"""Less memory for more time: the backward pass computes pieces of a sequence again, from the states between them.

This is gradient checkpointing over time (Chen et al. 2016, arXiv:1604.06174; Gruslys et al. 2016, arXiv:1606.03401).
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])

MIN_STEPS = 16
"""Steps of a piece, at least: each piece prepares the weights again, and adds to their gradients."""


def scan_in_pieces(
    run: Callable[[Tensor, StateT, Tensor | None], tuple[Tensor, StateT]],
    x: Tensor,
    state: StateT,
    lengths: Tensor | None,
) -> tuple[Tensor, StateT]:
    """Unroll by `run`, which takes and returns what a backend does, and keep only h and the states between pieces.

    A piece has about √T steps. Sequences of several lengths are one piece.
    """
    outputs = []
    steps = max(MIN_STEPS, math.isqrt(len(x))) if lengths is None else len(x)

    def piece(x: Tensor, *state: Tensor) -> Any:
        outputs, last = run(x, Kind(*state), lengths)
        return outputs, *(value.clone() for value in last)  # the last one may be part of all states of the piece

    Kind: Any = type(state)
    for part in x.split(steps):
        found, *last = checkpoint(piece, part, *state, use_reentrant=False)
        outputs.append(found)
        state = Kind(*last)
    return torch.cat(outputs) if len(outputs) > 1 else outputs[0], state
