"""A walk through time: at each step products of torch, by the way that is fastest at their size, and pointwise work.

Shapes: T steps, B batch, K and N rows and columns of a weight.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnncli.kernels.fused.arithmetic import narrow, widen
from rnncli.kernels.products import ROUNDED, fast_products, product, repeated

TURNED = 4
"""Steps from which on it pays to lay a weight out anew for its product."""

ONEDNN = 1_000_000
"""Multiplications of a product: below it oneDNN's call costs more than its speed gains."""


class Stage(NamedTuple):
    """A part of a step: a product of source (T or 1, B, K) and weight (K, N) into out (B, N), and pointwise work."""

    step: Callable[..., None]  # (t, ends, *buffers): after the product on the way forward, before it on the way back
    buffers: tuple[Tensor | int, ...]
    source: Tensor
    weight: Tensor
    out: Tensor


class Steps(NamedTuple):
    """A walk through T steps: where each sequence ends (B,), the activation f by its number, and how exact it is."""

    T: int
    ends: Any
    f: int
    rounded: bool = False  # whether large products may go by way of bfloat16

    def forward(self, *stages: Stage) -> None:
        """At each step the product of each stage, then its pointwise work."""
        with _products(stages):
            prepared = [(self._multiplied(each), each.step, arrays(each.buffers)) for each in stages]
            for t in range(self.T):
                for multiply, step, views in prepared:
                    multiply(t)
                    step(t, self.ends, *views)

    def backward(self, *stages: Stage) -> None:
        """From the last step to the first: the pointwise work of each stage, then its product."""
        with _products(stages):
            prepared = [(self._multiplied(each), each.step, arrays(each.buffers)) for each in stages]
            for t in range(self.T - 1, -1, -1):
                for multiply, step, views in prepared:
                    step(t, self.ends, *views)
                    multiply(t)

    def weight_gradient(self, d: Tensor, x: Tensor) -> Tensor:
        """The gradient (N, K) of a weight that took x (T, B, K) to what has the gradient d (T, B, N)."""
        return product(rows(d).t(), rows(x), rounded=self.rounded)

    def _multiplied(self, stage: Stage) -> Callable[[int], None]:
        """How the product of a stage is made at step t, with all done that need not be done at each step."""
        _, _, source, weight, out = stage
        if self.rounded and _work(stage) >= ROUNDED:
            return self._rounded(stage)
        weight = weight.contiguous() if self.T >= TURNED else weight
        sources = source.unbind(0) * (self.T // len(source))

        def multiply(t: int) -> None:
            torch.mm(sources[t], weight, out=out)

        return multiply

    def _rounded(self, stage: Stage) -> Callable[[int], None]:
        """The same of values rounded to bfloat16, on their way to the product and from it."""
        multiplied = repeated(stage.weight.bfloat16(), len(stage.out), self.T)
        values, wide = arrays((stage.source, stage.out))
        near = torch.empty(stage.source.shape[1:], dtype=torch.bfloat16)
        bits, moving = near.view(torch.uint16).numpy(), len(values) > 1

        def multiply(t: int) -> None:
            narrow(values[t if moving else 0], bits)
            widen(multiplied(near).view(torch.uint16).numpy(), wide)

        return multiply


def _work(stage: Stage) -> int:
    """Multiplications of a stage's product."""
    return len(stage.out) * stage.weight.numel()


def _products(stages: Sequence[Stage]) -> Any:
    """Where the products of a step are best done."""
    return fast_products() if max(map(_work, stages)) >= ONEDNN else nullcontext()


def rows(value: Tensor) -> Tensor:
    """All but the last dimension as one."""
    return value.reshape(-1, value.shape[-1])


def arrays(values: Iterable[Tensor | int]) -> list[Any]:
    """The tensors as numpy sees them; numbers stay as they are."""
    return [value if isinstance(value, int) else value.detach().numpy() for value in values]
