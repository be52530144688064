"""Gradient flow: the norm of the loss gradient at each earlier state, for fresh cells and trained nets.

Shapes: T steps, B sequences, D input, M hidden; everything is computed in float64.
"""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from rnncli.cells import label_of, make_cell
from rnncli.cells.base import Cell, recurrent_blocks
from rnncli.errors import RnnError, UsageError
from rnncli.models.block import PLAIN, PlainBlock
from rnncli.models.stack import Stack
from rnncli.task import Trained
from rnncli.tasks import TASKS

SHARE = 0.01
"""Below this share of the gradient at lag 0, the past counts as out of reach."""

MAX_STEPS, MAX_UNITS = 10_000, 2_048
"""The most steps and units that are unrolled: all states stay in memory."""


class Flow(NamedTuple):
    """The gradient of a loss at the last step T with respect to earlier states."""

    name: str  # of the net, for the legend
    state: str  # the state's name: h of a single layer, c2 for the memory cell of the second
    norms: list[float]  # of dL_T/dh_t, the mean over the sequences, at the lags T - t = 0, 1, …
    weight_norm: float  # of the gradient of the layers' weights, the mean over the sequences
    clipped_norm: float  # the norm after clipping

    @property
    def horizon(self) -> int | None:
        """The effective horizon, see `horizon`."""
        return horizon(self.norms)

    @property
    def factor(self) -> float:
        """The factor of the norm per step backwards: the geometric mean over the lags with a non-zero norm."""
        first = first_lag(self.norms)
        last = next((lag for lag in reversed(range(len(self.norms))) if self.norms[lag]), 0)
        return (self.norms[last] / self.norms[first]) ** (1 / (last - first)) if last > first else math.nan

    @property
    def clipped(self) -> list[float]:
        """The norms after clipping, which scales the weight gradient and so the share of every lag equally."""
        scale = self.clipped_norm / self.weight_norm if self.weight_norm else 1.0
        return [scale * norm for norm in self.norms]


def horizon(norms: Sequence[float], share: float = SHARE) -> int | None:
    """The first lag whose norm is below `share` of the norm at `first_lag`; None if there is none."""
    first = first_lag(norms)
    return next((lag for lag in range(first, len(norms)) if norms[lag] < share * norms[first]), None)


def first_lag(norms: Sequence[float]) -> int:
    """The first lag with a gradient: 0, or 1 of a field that reaches the output a step later."""
    return next((lag for lag, norm in enumerate(norms) if norm), 0)


def of_fresh_cells(
    kinds: Sequence[str],
    radii: Sequence[float | None] = (None,),
    *,
    hidden: int = 64,
    length: int = 100,
    inputs: float = 0.1,
    sequences: int = 16,
    clip: float = 1.0,
    seed: int = 0,
    device: str = "cpu",
    skips_radii: bool = False,
) -> list[Flow]:
    """The flows through initialised cells, for each cell, radius and state tensor (an LSTM's memory has its own).

    A radius scales every gate's block of the recurrent matrices to it; None keeps the initial radius, 1. A cell without
    such matrices raises UsageError, or with `skips_radii` has one flow without a radius. Inputs x (T, B, M) are drawn
    from N(0, inputs^2), the same for all; the loss is h_T in a random direction of length 1 (B, M). Raises UsageError
    for unknown cells and invalid sizes, RnnError where gradients overflow.
    """
    _check(hidden, length, inputs, radii)
    generator = torch.Generator().manual_seed(seed)
    x = inputs * torch.randn(length, sequences, hidden, dtype=torch.float64, generator=generator)
    direction = F.normalize(torch.randn(sequences, hidden, dtype=torch.float64, generator=generator), dim=-1)
    x, direction = x.to(device), direction.to(device)
    flows = []
    for kind in kinds:
        lacks_radius = skips_radii and not _fresh_cell(kind, hidden, seed).recurrent_weights()
        for radius in (None,) if lacks_radius else radii:
            cell = _fresh_cell(kind, hidden, seed)
            if radius is not None:
                scale_to_radius(cell, radius)
            cell.to(device)
            name = cell.kind if radius is None else f"{cell.kind}, radius {radius:g}"
            flows += flows_of([cell], x, lambda h: (h * direction).sum(), name, clip)
    return flows


def _fresh_cell(kind: str, hidden: int, seed: int) -> Cell[Any]:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        cell = make_cell(kind, hidden, hidden).double()
        cell.reset_parameters()  # draws again, so that the weights are exact in float64
    return cell


def of_model(
    trained: Trained, text: str | None = None, *, length: int = 100, clip: float = 1.0, seed: int = 0
) -> list[Flow]:
    """The flows through a trained net that reads a text, and through the same net before training.

    The loss is that of its last prediction, defined by its task's `last_step`. Reads at most the first `length` steps.
    Raises UsageError for a task that does not read forwards, and for a text without a prediction.
    """
    task = TASKS[trained.task]
    if task.last_step is None:
        readers = ", ".join(name for name, each in TASKS.items() if each.last_step)
        raise UsageError(f"{trained.source} is a model of {task.name}: gradients are shown of {readers}")
    _check(1, length, 0.0, ())
    model: Any = deepcopy(trained.model).double()
    last = task.last_step(replace(trained, model=model), text, length)
    stack: Stack = model.stack
    shape = stack.shape
    name = f"{label_of(shape.cell)} {','.join(map(str, shape.hidden))}"
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        fresh = type(stack)(last.inputs.shape[-1], shape).double()
        trained.config.draw_first_weights(fresh)
    fresh.to(last.inputs.device)
    flows = []
    for net, when in ((stack, "trained"), (fresh, "fresh")):
        cells: Any = net.cells
        blocks: Any = net.blocks
        flows += flows_of(cells, last.inputs, last.loss, f"{name}, {when}", clip, blocks)
    return flows


def scale_to_radius(cell: Cell[Any], radius: float) -> None:
    """Scale every gate's block of the recurrent matrices to a spectral radius (the greatest absolute eigenvalue).

    Of a block that is not square, the greatest singular value is scaled. Raises UsageError for a cell without such
    matrices.
    """
    weights = cell.recurrent_weights()
    if not weights:
        raise UsageError(f"--radius: cell {cell.kind} declares no recurrent matrices")
    with torch.no_grad():
        for weight in weights.values():
            for block in recurrent_blocks(weight):
                square = block.shape[0] == block.shape[1]
                of = torch.linalg.eigvals(block).abs() if square else torch.linalg.svdvals(block)
                block.mul_(radius / of.max())


def flows_of(
    cells: Sequence[Cell[Any]],
    x: Tensor,
    loss: Callable[[Tensor], Tensor],
    name: str,
    clip: float,
    blocks: Sequence[PlainBlock] = (),
) -> list[Flow]:
    """The flows of a loss of the last output (B, M), summed over sequences, through layers that read x (T, B, D).

    Without `blocks` around the cells, the output is h_T of the top layer. One flow for each tensor of each layer's
    state. Backpropagation through time (Werbos 1990): the gradient at a state is the sum over all paths from there to
    the loss. Clipping by the norm as Pascanu et al. 2013; 0: none.
    """
    B, kept, outputs = x.shape[1], [], list(x.detach())
    for cell, block in zip(cells, blocks or [PLAIN] * len(cells), strict=True):
        read, past = block.split(torch.stack(outputs))
        state, states = cell.initial_state(B), []
        for projected in cell.project(read):
            state = cell.step(projected, state)
            states.append(state)
        kept.append(states)
        outputs = [block.join(state[0], *parts) for state, *parts in zip(states, *past, strict=True)]
    weights = [each for layer in (*cells, *blocks) for each in layer.parameters() if each.requires_grad]
    wanted = [tensor for states in kept for state in states for tensor in state]
    # without a block, the last output is h itself, not a copy: its gradient is requested
    grads = torch.autograd.grad(loss(outputs[-1]), [*wanted, *weights], allow_unused=True)
    weight_norm = float(torch.nn.utils.get_total_norm([each for each in grads[len(wanted) :] if each is not None])) / B
    clipped = min(weight_norm, clip) if clip else weight_norm
    norms = iter([0.0 if each is None else float(each.norm(dim=-1).mean()) for each in grads[: len(wanted)]])
    flows = []
    for layer, (cell, states) in enumerate(zip(cells, kept, strict=True), start=1):
        table = [[next(norms) for _ in cell.state_fields] for _ in states]
        for field, column in zip(cell.state_fields, zip(*table, strict=True), strict=True):
            label = field if len(cells) == 1 else f"{field}{layer}"
            flows.append(Flow(name, label, list(reversed(column)), weight_norm, clipped))
    if not all(math.isfinite(norm) for flow in flows for norm in (*flow.norms, weight_norm)):
        raise RnnError(f"{name}: the gradient overflows: take a smaller --length or --radius")
    return flows


def _check(hidden: int, length: int, inputs: float, radii: Sequence[float | None]) -> None:
    if not 1 <= length <= MAX_STEPS:
        raise UsageError(f"--length must lie between 1 and {MAX_STEPS:,}, not {length}")
    if not 1 <= hidden <= MAX_UNITS:
        raise UsageError(f"--hidden must lie between 1 and {MAX_UNITS:,}, not {hidden}")
    if not 0 <= inputs < math.inf:
        raise UsageError(f"--inputs must be a finite number of at least 0, not {inputs:g}")
    for radius in radii:
        if radius is not None and not 0 < radius <= 100:
            raise UsageError(f"--radius must lie above 0 and be at most 100, not {radius:g}")
