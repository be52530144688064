"""A walk through time: at each step products of torch, by the way that is fastest at their size, and pointwise work.

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
"""Steps from which on it pays to lay a weight out anew for its product."""

ONEDNN = 1_000_000
"""Multiplications of a product: below it oneDNN's call costs more than its speed gains."""


class LoopStage(NamedTuple):
    """A part of a step: a product of source (T or 1, B, K) and weight (K, N), and pointwise work."""

    pointwise: Callable[..., None]  # (t, ends, *buffers, product): takes what the product before it gave, (B, N)
    buffers: tuple[Tensor | int, ...]
    source: Tensor
    weight: Tensor


Matmul = Callable[[int], Any]
"""Makes the product of a stage at step t, (B, N); what it gives may be overwritten by the next one."""


class TimeLoop(NamedTuple):
    """A walk through T steps: where each sequence ends (B,), the activation f by its number, and how exact it is."""

    T: int
    ends: Any
    f: int
    rounded: bool = False  # whether large products may go by way of bfloat16

    def forward(self, *stages: LoopStage) -> None:
        """At each step the product of each stage, then its pointwise work."""
        with _policy(stages):
            prepared = [(self._matmul(stage), stage.pointwise, arrays(stage.buffers)) for stage in stages]
            for t in range(self.T):
                for multiply, pointwise, views in prepared:
                    pointwise(t, self.ends, *views, multiply(t))

    def backward(self, *stages: LoopStage) -> Tensor:
        """From the last step to the first: the pointwise work of each stage, then its product; returns the last one.

        Each stage takes what the one before it gave: the first one what the last one gave a step later, or zeros.
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

    def weight_gradient(self, d: Tensor, x: Tensor) -> Tensor:
        """The gradient (N, K) of a weight that took x (T, B, K) to what has the gradient d (T, B, N)."""
        return matmul(rows(d).t(), rows(x), rounded=self.rounded)

    def _rounds(self, stage: LoopStage) -> bool:
        return self.rounded and _work(stage) >= ROUND_FROM

    def _matmul(self, stage: LoopStage) -> Matmul:
        """How the product of a stage is made, with all done that need not be done at each step."""
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
        """The same by way of bfloat16, whose bits it gives."""
        multiply = repeated_matmul(stage.weight.bfloat16(), stage.source.shape[1], self.T)
        near = torch.empty(stage.source.shape[1:], dtype=torch.bfloat16)
        values, bits, moving = stage.source.numpy(), near.view(torch.uint16).numpy(), len(stage.source) > 1

        def run(t: int) -> Any:
            to_bf16(values[t if moving else 0], bits)
            return multiply(near).view(torch.uint16).numpy()

        return run


def _work(stage: LoopStage) -> int:
    """Multiplications of a stage's product."""
    return stage.source.shape[1] * stage.weight.numel()


def _policy(stages: Sequence[LoopStage]) -> Any:
    """Where the products of a step are best done."""
    return fast_matmul() if max(map(_work, stages)) >= ONEDNN else nullcontext()


def rows(value: Tensor) -> Tensor:
    """All but the last dimension as one."""
    return value.reshape(-1, value.shape[-1])


def arrays(values: Iterable[Tensor | int]) -> list[Any]:
    """The tensors as numpy sees them; numbers stay as they are."""
    return [value if isinstance(value, int) else value.detach().numpy() for value in values]
