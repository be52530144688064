"""Layers of cells, stacked, in one direction or both.

Shapes: T steps, B batch, D input, M hidden.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnncli.cells import make_cell
from rnncli.errors import UsageError
from rnncli.kernels import precision as precisions
from rnncli.kernels.matmul import may_round
from rnncli.kernels.scan import blank_padding, choose_backend, reverse_valid, scan
from rnncli.models.block import PlainBlock, make_block
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
    block: str = "none"  # around each layer, as `make_block` takes it
    recompute: bool = False  # whether only states are kept for the backward pass


class Stack(nn.Module):
    """A cell scanned over time, layer upon layer, with dropout between the layers; each layer may have a block.

    Raises UsageError for an unknown cell, variant, activation or backend.
    """

    def __init__(self, input_size: int, shape: StackShape, backend: str = "auto") -> None:
        super().__init__()
        self.shape, self.backend = shape, backend
        self.directions = 2 if shape.bidirectional else 1
        self.dropout = LockedDropout(shape.dropout)
        self.cells, blocks = nn.ModuleList(), []
        for size in shape.hidden:
            for _ in range(self.directions):
                self.cells.append(
                    make_cell(shape.cell, input_size, size, activation=shape.activation, learn_h0=shape.learn_h0)
                )
            blocks.append(make_block(shape.block, input_size, size * self.directions))
            input_size = size * self.directions
        self.blocks = nn.ModuleList(blocks)
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
        if lengths is not None:
            x = blank_padding(x, lengths)  # a block reads it too

        def unroll(place: int, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            cell: Any = self.cells[place]
            if self.training and self.shape.weight_drop:
                cell = cell.with_weight_drop(self.shape.weight_drop)
            h, state = scan(cell, x, states[place], lengths, self.backend, recompute=self.shape.recompute)
            return h, state

        blocks: Any = self.blocks
        return run_layers(x, blocks, self.directions, unroll, self.dropout, lengths)

    def prepare(self, layer: int, x: Tensor) -> tuple[Tensor, ...]:
        """Return all that a step of a layer needs of its input x (B, D): what its cell projects, and what goes past."""
        cell: Any = self.cells[layer]
        block: Any = self.blocks[layer]
        read, past = block.split(x)
        return (cell.project(read), *past)

    def step(self, prepared: tuple[Tensor, ...], states: States) -> tuple[Tensor, States]:
        """Advance all layers of one direction by one step, from what `prepare` returns for the first layer.

        Returns the top layer's output (B, M), and the states after the step.
        """
        cells: Any = self.cells
        blocks: Any = self.blocks
        after: States = []
        for layer, (cell, block, state) in enumerate(zip(cells, blocks, states, strict=True)):
            projected, *past = prepared
            after.append(cell.step(projected, state))
            top = block.join(after[-1][0], *past)
            if layer + 1 < len(cells):
                prepared = self.prepare(layer + 1, top)
        return top, after

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
    blocks: Iterable[PlainBlock],
    directions: int,
    unroll: Callable[[int, Tensor], tuple[Tensor, tuple[Tensor, ...]]],
    dropout: Callable[[Tensor], Tensor],
    lengths: Tensor | None = None,
) -> tuple[Tensor, States]:
    """Run layer upon layer over x (T, B, D), one per block, with `dropout` before the cells of each but the first.

    `unroll` runs the layer and direction of a place in `States`, and returns h of every step and the last state.
    Returns the top layer's outputs, (T, B, M) or (T, B, 2 M) for both directions, and the last states.
    """
    last: States = []
    for layer, block in enumerate(blocks):
        read, past = block.split(x)
        if layer:
            read = dropout(read)
        outputs = []
        for direction in range(directions):
            h, state = unroll(layer * directions + direction, reverse_valid(read, lengths) if direction else read)
            outputs.append(reverse_valid(h, lengths) if direction else h)
            last.append(state)
        x = block.join(torch.cat(outputs, dim=-1) if directions == 2 else outputs[0], *past)
    return x, last


def last_outputs(outputs: Tensor, lengths: Tensor | None, directions: int) -> Tensor:
    """Return the output of each direction where it stops: forward at a sequence's last valid step, backward at 0.

    outputs (T, B, M), or (T, B, 2 M) of both directions; lengths (B,) as `scan` takes them. Returns (B, M) or (B, 2 M).
    """
    rows = torch.arange(outputs.shape[1], device=outputs.device)
    ends = outputs[-1] if lengths is None else outputs[lengths.to(outputs.device) - 1, rows]
    M = outputs.shape[-1] // directions
    return ends if directions == 1 else torch.cat([ends[:, :M], outputs[0, :, M:]], dim=-1)


def rows_of(states: States, rows: slice) -> States:
    """Return the states (B, ...) of some rows."""
    return [type(state)(*(value[rows] for value in state)) for state in states]


def select_rows(states: States, rows: Tensor) -> States:
    """Return the states (B, ...) of rows (N,) by number."""
    return [type(state)(*(value.index_select(0, rows) for value in state)) for state in states]


def join_rows(parts: Sequence[States]) -> States:
    """Join the states of consecutive rows into the states of all."""
    if len(parts) == 1:
        return parts[0]
    return [type(state[0])(*map(torch.cat, zip(*state, strict=True))) for state in zip(*parts, strict=True)]


def detach(states: States) -> States:
    """Detach the states from their past, for truncated backpropagation through time."""
    return [type(state)(*(value.detach() for value in state)) for state in states]
