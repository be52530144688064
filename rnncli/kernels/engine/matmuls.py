"""The matmuls of a loop over time, by the method that is fastest at their size.

Shapes: T steps, B batch, K and N rows and columns of a weight.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnncli.kernels.engine.arithmetic import to_bf16
from rnncli.kernels.engine.blas import IS_EXPORTED
from rnncli.kernels.matmul import ROUND_FROM, fast_matmul, matmul, prefers_onednn, repeated_matmul

TRANSPOSE_FROM = 4
"""Steps. From this number on, copying a weight into the matmul's layout pays."""

ONEDNN = 1_000_000
"""Multiplications of a matmul. Below this, oneDNN's call costs more than its speed gains."""

Matmul = Callable[[int], Any]
"""Computes a product at step t, (B, N), as an array; the next call may overwrite its result."""


class StepMatmul(NamedTuple):
    """A matmul of every step: source (T or 1, B, K) times weight (K, N)."""

    source: Tensor
    weight: Tensor
    rounded: bool = False  # whether it may round to bfloat16, if it is large

    @property
    def work(self) -> int:
        """The number of multiplications of a step."""
        return self.source.shape[1] * self.weight.numel()

    @property
    def rounds(self) -> bool:
        """Whether the results are the bits of bfloat16."""
        return self.rounded and self.work >= ROUND_FROM

    @property
    def suits_blas(self) -> bool:
        """Whether compiled code should call BLAS for it."""
        return IS_EXPORTED and not self.rounds and (self.work < ONEDNN or not prefers_onednn())

    def empty(self) -> Any:
        """An array for a result."""
        return self.source.new_empty(self.source.shape[1], self.weight.shape[1]).numpy()

    def prepare(self, T: int) -> Matmul:
        """Do everything that need not be done at each of T steps."""
        source, weight, _ = self
        if self.rounds:
            return self._prepare_rounded(T)
        sources = source.unbind(0) * (T // len(source))
        if self.work >= ONEDNN and prefers_onednn():
            multiply = repeated_matmul(weight, source.shape[1], T)
            return lambda t: multiply(sources[t]).numpy()
        weight = weight.contiguous() if T >= TRANSPOSE_FROM else weight
        out = source.new_empty(source.shape[1], weight.shape[1])
        found = out.numpy()

        def run(t: int) -> Any:
            torch.mm(sources[t], weight, out=out)
            return found

        return run

    def _prepare_rounded(self, T: int) -> Matmul:
        """Prepare the same in bfloat16."""
        multiply = repeated_matmul(self.weight.bfloat16(), self.source.shape[1], T)
        near = torch.empty(self.source.shape[1:], dtype=torch.bfloat16)
        values, bits, moving = self.source.numpy(), near.view(torch.uint16).numpy(), len(self.source) > 1

        def run(t: int) -> Any:
            to_bf16(values[t if moving else 0], bits)
            return multiply(near).view(torch.uint16).numpy()

        return run

    def bits(self, value: Tensor) -> Any:
        """A result (B, N) that is known otherwise, as an array of this matmul's results."""
        return (value.bfloat16().view(torch.uint16) if self.rounds else value).numpy()

    def values(self, result: Any) -> Tensor:
        """A result as a tensor of numbers."""
        found = torch.from_numpy(result)
        return found.view(torch.bfloat16).float() if self.rounds else found


def policy(matmuls: Iterable[StepMatmul]) -> Any:
    """Choose where the matmuls of a step run."""
    return fast_matmul() if max((each.work for each in matmuls), default=0) >= ONEDNN else nullcontext()


def weight_gradient(d: Tensor, x: Tensor, *, rounded: bool) -> Tensor:
    """Return the gradient (N, K) of a weight that maps x (T, B, K) to values whose gradient is d (T, B, N)."""
    return matmul(rows(d).t(), rows(x), rounded=rounded)


def rows(value: Tensor) -> Tensor:
    """View all but the last dimension as one."""
    return value.reshape(-1, value.shape[-1])
