"""Layers of cells, stacked, in one direction or both.

Shapes: T steps, B batch, D input, M hidden.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnncli.cells import make_cell
from rnncli.errors import UsageError
from rnncli.kernels import precision as precisions
from rnncli.kernels.matmul import may_round
from rnncli.kernels.scan import choose_backend, reverse_valid, scan
from rnncli.models.dropout import LockedDropout

States = list[tuple[Tensor, ...]]
"""The states of a stack: layer by layer, within a layer forward before backward."""


@dataclass(frozen=True)
class StackShape:
    """The structure of a stack: its cell, the sizes of its layers, and their connection."""

    cell: str = "elman"  # as `make_cell` takes it
    hidden: tuple[int, ...] = (64,)  # M of each layer, first layer first
    activation: str | None = None  # None: the cell's own
    learn_h0: bool = True
    dropout: float = 0.0  # between layers, one mask for all steps
    bidirectional: bool = False
    weight_drop: float = 0.0  # of the recurrent weights, one mask per sequence
    recompute: bool = False  # whether only states are kept for the backward pass


class Stack(nn.Module):
    """A cell scanned over time, layer upon layer, with dropout between the layers.

    Raises UsageError for an unknown cell, variant, activation or backend.
    """

    def __init__(self, input_size: int, shape: StackShape, backend: str = "auto") -> None:
        super().__init__()
        self.shape, self.backend = shape, backend
        self.directions = 2 if shape.bidirectional else 1
        self.dropout = LockedDropout(shape.dropout)
        self.cells = nn.ModuleList()
        for size in shape.hidden:
            for _ in range(self.directions):
                self.cells.append(
                    make_cell(shape.cell, input_size, size, activation=shape.activation, learn_h0=shape.learn_h0)
                )
            input_size = size * self.directions
        self.output_size = input_size
        cell: Any = self.cells[0]
        if shape.weight_drop and not cell.recurrent_weights():
            raise UsageError(f"--weight-drop: cell {cell.kind} declares no recurrent matrices: leave it out")
        if backend != "auto":
            choose_backend(cell, backend, device=None)  # refuses the impossible here, not during training

    def forward(self, x: Tensor, states: States | None = None, lengths: Tensor | None = None) -> tuple[Tensor, States]:
        """Run all layers over x (T, B, D) from `states`, or from the trainable first ones.

        lengths as `scan` takes them. Returns the top layer's outputs, (T, B, M) or (T, B, 2 M) for both directions, and
        the last states.
        """
        states = self.initial_states(x.shape[1]) if states is None else states

        def unroll(place: int, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            cell: Any = self.cells[place]
            if self.training and self.shape.weight_drop:
                cell = cell.with_weight_drop(self.shape.weight_drop)
            h, state = scan(cell, x, states[place], lengths, self.backend, recompute=self.shape.recompute)
            return h, state

        return run_layers(x, len(self.shape.hidden), self.directions, unroll, self.dropout, lengths)

    @property
    def backend_in_use(self) -> str:
        """The backend that will unroll the cells on their current device; unequal lengths may use another."""
        cell: Any = self.cells[0]
        like = cell.h0  # every cell has it
        where = like.device.type, precisions.type_of_factors(like)
        rounded = "bfloat16" if may_round(like) else None
        equal, unequal = (
            choose_backend(cell, self.backend, *where, packed=packed, precision=rounded) for packed in (False, True)
        )
        return equal if equal == unequal else f"{equal} (unequal lengths: {unequal})"

    def initial_states(self, batch: int) -> States:
        """Return the trainable states before the first step, for a batch of that size."""
        cells: Any = self.cells
        return [cell.initial_state(batch) for cell in cells]


def run_layers(
    x: Tensor,
    layers: int,
    directions: int,
    unroll: Callable[[int, Tensor], tuple[Tensor, tuple[Tensor, ...]]],
    dropout: Callable[[Tensor], Tensor],
    lengths: Tensor | None = None,
) -> tuple[Tensor, States]:
    """Run layer upon layer over x (T, B, D), with `dropout` before each but the first.

    `unroll` runs the layer and direction of a place in `States`, and returns h of every step and the last state.
    Returns the top layer's outputs, (T, B, M) or (T, B, 2 M) for both directions, and the last states.
    """
    last: States = []
    for layer in range(layers):
        if layer:
            x = dropout(x)
        outputs = []
        for direction in range(directions):
            h, state = unroll(layer * directions + direction, reverse_valid(x, lengths) if direction else x)
            outputs.append(reverse_valid(h, lengths) if direction else h)
            last.append(state)
        x = torch.cat(outputs, dim=-1) if directions == 2 else outputs[0]
    return x, last


def rows_of(states: States, rows: slice) -> States:
    """Return the states (B, ...) of some rows."""
    return [type(state)(*(value[rows] for value in state)) for state in states]


def join_rows(parts: Sequence[States]) -> States:
    """Join the states of consecutive rows into the states of all."""
    if len(parts) == 1:
        return parts[0]
    return [type(state[0])(*map(torch.cat, zip(*state, strict=True))) for state in zip(*parts, strict=True)]


def detach(states: States) -> States:
    """Detach the states from their past, for truncated backpropagation through time."""
    return [type(state)(*(value.detach() for value in state)) for state in states]
