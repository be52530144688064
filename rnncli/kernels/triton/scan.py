"""The scan by triton's kernels: which tier runs the loop, and the products before and after it.

Shapes: T steps, B batch, M hidden, G projected blocks, N blocks of pre-activations.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnncli.errors import UsageError
from rnncli.kernels.triton import on_chip, stepwise
from rnncli.kernels.triton.form import TritonForm
from rnncli.kernels.triton.recipes import RECIPES, Recipe

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
ON_CHIP = 128 * 1024
"""How many bytes of padded matrices a program holds on chip; a cell with more takes a launch a step."""


def scan_triton(
    form: TritonForm,
    projected: Tensor,
    state: StateT,
    lengths: Tensor | None = None,
    tier: "type[Loop] | None" = None,
) -> tuple[Tensor, StateT]:
    """Unroll a cell whose inputs are projected already, (T, B, G*M); else as `scan_reference`.

    `tier` is chosen by M where it is not given. Raises UsageError for tensors that the kernels cannot compute on.
    """
    _check(projected)
    T, B, _ = projected.shape
    dtype, device = projected.dtype, projected.device
    ends = torch.full((B,), T, dtype=torch.int32) if lengths is None else lengths
    recipe = RECIPES[form.recipe]
    weights = [weight.to(dtype) for weight in form.weights]
    dense = torch.cat([weight for weight in weights if weight.dim() == 2])
    M = dense.shape[1]
    vectors = torch.cat([projected.new_empty(0), *(weight for weight in weights if weight.dim() == 1)]).view(-1, M)
    loop = (tier or choose_tier(recipe, M, dtype))(recipe, form.activation, ends.to(device, torch.int32))
    outputs, *last = Unrolled.apply(loop, torch.is_grad_enabled(), projected, dense, vectors, *state)
    return outputs, type(state)(outputs[-1], *last)


def choose_tier(recipe: Recipe, M: int, dtype: torch.dtype) -> "type[Loop]":
    """On chip where the matrices fit."""
    matrices = sum(term.dense for term in recipe.terms)
    return OnChip if matrices * padded(M) ** 2 * dtype.itemsize <= ON_CHIP else Stepwise


def padded(M: int) -> int:
    """The width of a tile that holds M columns: a power of two, and no less than products ask for."""
    return max(16, triton.next_power_of_2(M))


def _check(projected: Tensor) -> None:
    if projected.dtype not in DTYPES:
        name = str(projected.dtype).removeprefix("torch.")
        raise UsageError(f"the triton backend computes in float32, float16 or bfloat16, not {name}: use another backend")
    if not projected.is_cuda and not triton.knobs.runtime.interpret:
        raise UsageError(f"the triton backend needs a CUDA device, not {projected.device.type}: use another backend")


@dataclass(frozen=True)
class Loop(ABC):
    """A cell's loop over the steps, forward and backward, by one of the tiers."""

    recipe: Recipe
    activation: str
    lengths: Tensor  # (B,) int32

    @abstractmethod
    def forward(self, projected: Tensor, tape: tuple[Tensor, ...], weights: tuple[Tensor, Tensor], keep: bool) -> None:
        """Fill the tape from projected (T, B, G*M) and the first state in its slot 0."""

    @abstractmethod
    def backward(
        self,
        d_outputs: Tensor,
        d_state: tuple[Tensor, ...],
        d_blocks: Tensor,
        tape: tuple[Tensor, ...],
        weights: tuple[Tensor, Tensor],
    ) -> None:
        """Fill d_blocks (T + 1, B, N*M), zeros at T; d_state, of the last state, becomes that of the first."""

    def options(self, M: int) -> dict[str, Any]:
        """What every launch is told at compile time."""
        exact = torch.get_float32_matmul_precision() == "highest"
        precision = "tf32x3" if exact else "tf32"
        return {"F": self.activation, "CELL": self.recipe, "M": M, "PRECISION": precision, "enable_fp_fusion": True}

    def new_tape(self, projected: Tensor, state: tuple[Tensor, ...], keep: bool) -> tuple[Tensor, ...]:
        """Room for what the steps give, with the first state in it; all in the inputs' type but c, kept in float32."""
        T, B, _ = projected.shape
        recipe, found = self.recipe, []
        for name in recipe.values[len(recipe.state) :]:
            is_state = name in recipe.state
            dtype = torch.float32 if name == "c" else projected.dtype
            value = projected.new_empty(T + 1 if keep or is_state else 1, B, state[0].shape[1], dtype=dtype)
            if is_state:
                value[0] = state[recipe.state.index(name)]
            found.append(value)
        return tuple(found)


class OnChip(Loop):
    """One launch: a program takes 16 sequences through all steps, and holds the weights on chip."""

    def forward(self, projected: Tensor, tape: tuple[Tensor, ...], weights: tuple[Tensor, Tensor], keep: bool) -> None:
        T, B, _ = projected.shape
        on_chip.forward[self.grid(B)](
            projected, tape, *weights, self.lengths, T, B, KEEP=keep, **self.options(tape[0].shape[2])
        )

    def backward(
        self,
        d_outputs: Tensor,
        d_state: tuple[Tensor, ...],
        d_blocks: Tensor,
        tape: tuple[Tensor, ...],
        weights: tuple[Tensor, Tensor],
    ) -> None:
        T, B, M = d_outputs.shape
        on_chip.backward[self.grid(B)](
            d_outputs, d_state, d_blocks, tape, *weights, self.lengths, T, B, **self.options(M)
        )

    def grid(self, B: int) -> tuple[int]:
        return (triton.cdiv(B, 16),)

    def options(self, M: int) -> dict[str, Any]:
        return super().options(M) | {"ROWS": 16, "P": padded(M), "num_warps": 8}


class Stepwise(Loop):
    """A launch a step, or two; a program computes a tile of rows and columns."""

    def forward(self, projected: Tensor, tape: tuple[Tensor, ...], weights: tuple[Tensor, Tensor], keep: bool) -> None:
        T, B, _ = projected.shape
        M = tape[0].shape[2]
        grid, options = self.grid(B, M), self.options(M)
        for t in range(T):
            for which in range(len(self.recipe.launches)):
                stepwise.forward[grid](
                    projected, tape, *weights, self.lengths, t, B, KEEP=keep, WHICH=which, **options
                )

    def backward(
        self,
        d_outputs: Tensor,
        d_state: tuple[Tensor, ...],
        d_blocks: Tensor,
        tape: tuple[Tensor, ...],
        weights: tuple[Tensor, Tensor],
    ) -> None:
        T, B, M = d_outputs.shape
        grid, options = self.grid(B, M), self.options(M)
        for t in reversed(range(T)):
            for which in reversed(range(len(self.recipe.launches))):
                stepwise.backward[grid](
                    d_outputs, d_state, d_blocks, tape, *weights, self.lengths, t, B, WHICH=which, **options
                )
        self.add_products(d_state, d_blocks[0], *weights)

    def add_products(self, d_state: tuple[Tensor, ...], d_blocks: Tensor, dense: Tensor, vectors: Tensor) -> None:
        """Add to d_state what the first step's products bring to it, as a launch does for the step before its own."""
        M = dense.shape[1]
        for term in self.recipe.terms:
            if 0 <= term.operand < len(d_state):
                d = d_blocks[:, term.block * M : (term.block + 1) * M]
                through = d @ dense[term.tile * M : (term.tile + 1) * M] if term.dense else d * vectors[term.tile]
                d_state[term.operand].add_(through)

    def grid(self, B: int, M: int) -> tuple[int, int]:
        return triton.cdiv(B, 16), triton.cdiv(M, 32)

    def options(self, M: int) -> dict[str, Any]:
        return super().options(M) | {"ROWS": 16, "COLUMNS": 32, "DEPTH": min(64, padded(M)), "num_warps": 4}


class Unrolled(torch.autograd.Function):
    """The loop under autograd; all products with inputs, and those for the weights' gradients, are outside of it."""

    @staticmethod
    def forward(
        ctx: Any, loop: Loop, keep: bool, projected: Tensor, dense: Tensor, vectors: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        """Outputs (T, B, M), then what the last state has beside h."""
        weights = (dense.contiguous(), vectors.contiguous())
        tape = loop.new_tape(projected, state, keep)
        loop.forward(projected.contiguous(), tape, weights, keep)
        if keep:
            ctx.loop = loop
            ctx.dtypes = [value.dtype for value in state]
            ctx.save_for_backward(*weights, *tape)
        h, *rest = (tape[new - len(state)] for new in loop.recipe.new)
        return h[1:], *(value[-1].to(first.dtype, copy=True) for value, first in zip(rest, state[1:], strict=True))

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, d_outputs: Tensor, *d_last: Tensor) -> tuple[Tensor | None, ...]:
        loop: Loop = ctx.loop
        dense, vectors, *tape = ctx.saved_tensors
        T, B, M = d_outputs.shape
        d_h = torch.zeros(B, M, dtype=torch.float32, device=d_outputs.device)  # the outputs' last has it
        d_state = (d_h, *(value.to(torch.float32, copy=True).contiguous() for value in d_last))
        d_blocks = d_outputs.new_zeros(T + 1, B, len(loop.recipe.blocks) * M)
        loop.backward(d_outputs.contiguous(), d_state, d_blocks, tuple(tape), (dense, vectors))
        d_blocks = d_blocks[:-1]
        d_dense, d_vectors = weight_gradients(loop.recipe, tape, d_blocks)
        d_first = (value.to(dtype) for value, dtype in zip(d_state, ctx.dtypes, strict=True))
        return None, None, d_blocks[:, :, : loop.recipe.projected * M], d_dense, d_vectors, *d_first


def weight_gradients(recipe: Recipe, tape: list[Tensor], d_blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the matrices (n*M, M), one product for neighbours that see the same value, and of the vectors."""
    T, B, M = tape[0].shape[0] - 1, *tape[0].shape[1:]

    def seen(operand: int) -> Tensor:
        state = operand < len(recipe.state)
        value = tape[(recipe.new[operand] if state else operand) - len(recipe.state)]
        return (value[:-1] if state else value[1:]).to(d_blocks.dtype)

    dense, vectors = [], []
    for (operand, _, is_dense), group in groupby(recipe.terms, lambda term: (term.operand, term.block - term.tile, term.dense)):
        terms = list(group)
        d = d_blocks[:, :, terms[0].block * M : (terms[-1].block + 1) * M]
        if is_dense:
            dense.append(d.reshape(T * B, -1).T @ seen(operand).reshape(T * B, M))
        else:
            d = d.unflatten(2, (-1, M))
            vectors.append((d if operand < 0 else d * seen(operand)[:, :, None]).sum((0, 1)))
    return torch.cat(dense), torch.cat(vectors) if vectors else d_blocks.new_empty(0, M)

