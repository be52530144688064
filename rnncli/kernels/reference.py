"""The reference backend: a plain loop over the steps under autograd, which every other backend is tested against."""

from typing import Protocol, TypeVar

import torch
from torch import Tensor

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])


class SteppedCell(Protocol[StateT]):
    """What a scan needs of a cell: the projection of all steps at once, and one step."""

    def project(self, x: Tensor) -> Tensor: ...
    def step(self, projected: Tensor, state: StateT) -> StateT: ...


def scan_reference(
    cell: SteppedCell[StateT], x: Tensor, state: StateT, lengths: Tensor | None = None
) -> tuple[Tensor, StateT]:
    """Unroll a cell step by step.

    x (T, B, D), state of (B, M) tensors whose first is h, lengths (B,) on the CPU. Returns h of every step (T, B, M)
    and the last state. Beyond the end of a sequence its state stays constant.
    """
    outputs = []
    ends = None if lengths is None else lengths.to(x.device)[:, None]
    # only matmuls are in autocast's type; what is added to this one is not
    for t, projected in enumerate(cell.project(x).to(state[0].dtype).unbind(0)):
        after = cell.step(projected, state)
        if ends is not None:
            alive = t < ends
            after = type(state)(*(torch.where(alive, new, old) for new, old in zip(after, state, strict=True)))
        state = after
        outputs.append(state[0])
    return torch.stack(outputs), state
