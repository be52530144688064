"""The states of a stack of cells after every step, for inspection.

Shapes: T steps, B batch, D input, M hidden.
"""

from typing import Any

import torch
from torch import Tensor

from rnncli.models.stack import Stack, States

WINDOW = 1024
"""Steps whose inputs are projected together."""


@torch.inference_mode()
def trace(stack: Stack, x: Tensor) -> States:
    """Run a stack over x (T, B, D) from its first states; return the state after each step, (T, B, M) per field.

    The order is layer by layer, within a layer forward before backward, each as its cell's `State`. Both directions are
    indexed by the step that was read. Dropout is off. The cells' own `step` runs, since the scans only keep h.
    """
    cells: Any = stack.cells
    blocks: Any = stack.blocks
    traced: States = []
    for first, block in zip(range(0, len(cells), stack.directions), blocks, strict=True):
        read, past = block.split(x)
        ways = enumerate(cells[first:][: stack.directions])
        layer = [_unrolled(cell, read.flip(0) if way else read) for way, cell in ways]
        if stack.directions == 2:
            layer[1] = type(layer[1])(*(field.flip(0) for field in layer[1]))
        x = block.join(torch.cat([states[0] for states in layer], dim=-1), *past)
        traced += layer
    return traced


def _unrolled(cell: Any, x: Tensor) -> Any:
    """Return the states of one cell, as its `State` of (T, B, M) fields."""
    state, states = cell.initial_state(x.shape[1]), []
    for window in x.split(WINDOW):
        for projected in cell.project(window):
            state = cell.step(projected, state)
            states.append(state)
    return cell.State(*(torch.stack(field) for field in zip(*states, strict=True)))
