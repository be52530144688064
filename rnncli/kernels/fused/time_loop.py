"""The loop over time: at each step, torch matmuls by the method that is fastest at their size, and pointwise work.

Shapes: T steps, B batch, K and N rows and columns of a weight.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnncli.kernels.fused.arithmetic import to_bf16
from rnncli.kernels.matmul import ROUND_FROM, fast_matmul, matmul, repeated_matmul

TRANSPOSE_FROM = 4
"""Steps. From this number on, copying a weight into the matmul's layout pays."""

ONEDNN = 1_000_000
"""Multiplications of a matmul. Below this, oneDNN's call costs more than its speed gains."""


class LoopStage(NamedTuple):
    """A part of a step: a matmul of source (T or 1, B, K) and weight (K, N), and pointwise work."""

    pointwise: Callable[..., None]  # (t, ends, *buffers, result): takes the result (B, N) of the matmul before it
    buffers: tuple[Tensor | int, ...]
    source: Tensor
    weight: Tensor


Matmul = Callable[[int], Any]
"""Computes a stage's matmul at step t, (B, N); the next call may overwrite its result."""


class TimeLoop(NamedTuple):
    """A loop over T steps: where each sequence ends (B,), the number of the activation f, and the precision."""

    T: int
    ends: Any
    f: int
    rounded: bool = False  # whether large matmuls may round to bfloat16

    def forward(self, *stages: LoopStage) -> None:
        """Compute at each step the matmul of each stage, then its pointwise work."""
        with _policy(stages):
            prepared = [(self._matmul(stage), stage.pointwise, arrays(stage.buffers)) for stage in stages]
            for t in range(self.T):
                for multiply, pointwise, views in prepared:
                    pointwise(t, self.ends, *views, multiply(t))

    def backward(self, *stages: LoopStage) -> Tensor:
        """Run from the last step to the first: each stage's pointwise work, then its matmul. Return the last result.

        Each stage takes the result of the stage before it; the first one takes the last one's result of the later step,
        or zeros.
        """
        with _policy(stages):
            prepared = [(self._matmul(stage), stage.pointwise, arrays(stage.buffers)) for stage in stages]
            last = stages[-1]
            nothing = last.source.new_zeros(last.source.shape[1], last.weight.shape[1])
            found = (nothing.bfloat16().view(torch.uint16) if self._rounds(last) else nothing).numpy()
            for t in range(self.T - 1, -1, -1):
                for multiply, pointwise, views in prepared:
                    pointwise(t, self.ends, *views, found)
                    found = multiply(t)
        result = torch.from_numpy(found)
        return result.view(torch.bfloat16).float() if self._rounds(last) else result

    def policy(self, sources: Sequence[tuple[Tensor, Tensor]]) -> Any:
        """Choose where the matmuls of these operands and weights run."""
        return _policy([LoopStage(_policy, (), *each) for each in sources])

    def weight_gradient(self, d: Tensor, x: Tensor) -> Tensor:
        """Return the gradient (N, K) of a weight that maps x (T, B, K) to values whose gradient is d (T, B, N)."""
        return matmul(rows(d).t(), rows(x), rounded=self.rounded)

    def _rounds(self, stage: LoopStage) -> bool:
        return self.rounded and _work(stage) >= ROUND_FROM

    def _matmul(self, stage: LoopStage) -> Matmul:
        """Prepare a stage's matmul: everything that need not be done at each step is done here."""
        if self._rounds(stage):
            return self._rounded_matmul(stage)
        _, _, source, weight = stage
        sources = source.unbind(0) * (self.T // len(source))
        if _work(stage) >= ONEDNN:
            multiply = repeated_matmul(weight, source.shape[1], self.T)
            return lambda t: multiply(sources[t]).numpy()
        weight = weight.contiguous() if self.T >= TRANSPOSE_FROM else weight
        out = source.new_empty(source.shape[1], weight.shape[1])
        found = out.numpy()

        def run(t: int) -> Any:
            torch.mm(sources[t], weight, out=out)
            return found

        return run

    def _rounded_matmul(self, stage: LoopStage) -> Matmul:
        """Prepare the same in bfloat16; its results are the bits."""
        multiply = repeated_matmul(stage.weight.bfloat16(), stage.source.shape[1], self.T)
        near = torch.empty(stage.source.shape[1:], dtype=torch.bfloat16)
        values, bits, moving = stage.source.numpy(), near.view(torch.uint16).numpy(), len(stage.source) > 1

        def run(t: int) -> Any:
            to_bf16(values[t if moving else 0], bits)
            return multiply(near).view(torch.uint16).numpy()

        return run


def _work(stage: LoopStage) -> int:
    """Return the number of multiplications in a stage's matmul."""
    return stage.source.shape[1] * stage.weight.numel()


def _policy(stages: Sequence[LoopStage]) -> Any:
    """Choose where the matmuls of a step run."""
    return fast_matmul() if max(map(_work, stages), default=0) >= ONEDNN else nullcontext()


def rows(value: Tensor) -> Tensor:
    """View all but the last dimension as one."""
    return value.reshape(-1, value.shape[-1])


def arrays(values: Iterable[Tensor | int]) -> list[Any]:
    """View the tensors as numpy arrays; numbers stay as they are."""
    return [value if isinstance(value, int) else value.detach().numpy() for value in values]
