"""The scan by triton's kernels: which tier runs the loop, and the matmuls before and after it.

Shapes: T steps, B batch, D input, M hidden, G projected blocks, N blocks of pre-activations.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import torch
import triton
from torch import Tensor
from torch.nn import functional as F

from rnncli.errors import RnnError
from rnncli.kernels.forms import TritonForm
from rnncli.kernels.triton import graphs, on_chip, stepwise
from rnncli.kernels.triton.recipes import RECIPES, Recipe

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])
Weights = tuple[Tensor, Tensor]  # (n*M, M) matrices, (k, M) vectors

ROWS = 16
"""Sequences in a program's tile: the minimum for a matmul on tensor cores."""
COLUMNS = 32
"""Hidden units in a program's tile, with one launch per step."""


def unroll(
    form: TritonForm, x: Tensor, state: StateT, lengths: Tensor | None = None, tier: "type[Loop] | None" = None
) -> tuple[Tensor, StateT]:
    """Unroll as `scan_triton`; the tier is chosen where none is given."""
    projected = F.linear(x, *form.weights[:2])
    dense, vectors = concat_weights(form, projected.dtype)
    recipe = RECIPES[form.recipe]
    tier = tier or choose_tier(recipe, dense)
    ends = torch.full((x.shape[1],), x.shape[0], device=x.device) if lengths is None else lengths
    loop = tier(recipe, form.activation, ends.to(x.device, torch.int32))
    with torch.cuda.device_of(x):  # the kernels launch there
        outputs, *last = Unrolled.apply(  # type: ignore[no-untyped-call]  # torch gives it no types
            loop, torch.is_grad_enabled(), projected, dense, vectors, *state
        )
    return outputs, type(state)(outputs[-1], *last)


def concat_weights(form: TritonForm, dtype: torch.dtype) -> Weights:
    """Join all matrices of a form into one tensor, all vectors into another."""
    weights = [weight.to(dtype) for weight in form.weights[2:]]
    dense = torch.cat([weight for weight in weights if weight.dim() == 2])
    vectors = torch.cat([dense.new_empty(0), *(weight for weight in weights if weight.dim() == 1)])
    return dense, vectors.view(-1, dense.shape[1])


def choose_tier(recipe: Recipe, dense: Tensor) -> "type[Loop]":
    """Take the tier on chip where it fits, else a launch per step."""
    fits = on_chip_bytes(recipe, dense.shape[1], dense.dtype) <= shared_memory(dense.device)
    return OnChip if fits else Stepwise


def on_chip_bytes(recipe: Recipe, M: int, dtype: torch.dtype) -> int:
    """Return the shared memory that a program of the tier on chip needs: all matrices, and the tiles of two steps."""
    size = dtype.itemsize
    matrices = sum(term.dense for term in recipe.terms)
    parts = 2 if precision() == "tf32x3" and size == 4 else 1  # a float32 is split into two of TF32
    tile = ROWS * padded(M)
    tiles = tile * sum(4 if name in ("c", "c'") else size for name in recipe.values) + 3 * tile * size
    return matrices * padded(M) ** 2 * size * parts + tiles


def padded(M: int) -> int:
    """Return the width of a tile that holds M columns: a power of two, and no less than matmuls need."""
    return int(max(16, triton.next_power_of_2(M)))


def precision() -> str:
    """Say how float32 is multiplied: in three tensor-core matmuls, or in one where torch allows TF32."""
    allowed: str = torch.backends.cuda.matmul.fp32_precision
    return "tf32" if allowed == "tf32" else "tf32x3"


def shared_memory(device: torch.device) -> int:
    """Return the bytes of shared memory that a program can have."""
    if device.type != "cuda":
        return 227 * 1024  # as much as the largest cards have
    return int(getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", 48 * 1024))


@dataclass(frozen=True)
class Loop(ABC):
    """A cell's loop over the steps, forward and backward, by one of the tiers; tapes and blocks as in `tiles`."""

    recipe: Recipe
    activation: str
    lengths: Tensor  # (B,) int32

    @abstractmethod
    def run(self, backward: bool, tensors: tuple[Any, ...], T: int, B: int, M: int, **constants: Any) -> None:
        """Launch the kernels of all steps; `constants` are known at compile time."""

    def forward(self, projected: Tensor, tape: tuple[Tensor, ...], weights: Weights, keep: bool) -> None:
        """Fill the tape from projected (T, B, G*M) and the first state in its slot 0."""
        T, B, _ = projected.shape
        tensors = (projected, tape, *weights, self.lengths)
        self.run(False, tensors, T, B, weights[0].shape[1], KEEP=keep, **self.constants)

    def backward(
        self, d_outputs: Tensor, d_state: tuple[Tensor, ...], d_blocks: Tensor, tape: list[Tensor], weights: Weights
    ) -> None:
        """Fill d_blocks (T + 1, B, N*M), zeros at T; d_state, of the last state, becomes that of the first."""
        tensors = (d_outputs, d_state, d_blocks, tuple(tape), *weights, self.lengths)
        self.run(True, tensors, *d_outputs.shape, **self.constants)

    @property
    def constants(self) -> dict[str, Any]:
        """The compile-time constants of all kernels."""
        cell = {"F": self.activation, "CELL": self.recipe, "ROWS": ROWS, "PRECISION": precision()}
        return cell | {"enable_fp_fusion": True}

    def new_tape(self, projected: Tensor, state: tuple[Tensor, ...], keep: bool) -> tuple[Tensor, ...]:
        """Allocate the values of all steps, fill in the first state; in the inputs' type except c, in float32."""
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
    """One launch: a program takes its sequences through all steps and holds the weights on chip."""

    def run(self, backward: bool, tensors: tuple[Any, ...], T: int, B: int, M: int, **constants: Any) -> None:
        kernel = on_chip.backward if backward else on_chip.forward
        warps = 8 if M > 32 else 4
        kernel[(triton.cdiv(B, ROWS),)](*tensors, T, B, M=M, P=padded(M), num_warps=warps, **constants)


class Stepwise(Loop):
    """One or two launches per step, under a CUDA graph; a program computes a tile of rows and columns."""

    def run(self, backward: bool, tensors: tuple[Any, ...], T: int, B: int, M: int, **constants: Any) -> None:
        kernel = stepwise.backward if backward else stepwise.forward
        grid = triton.cdiv(B, ROWS), triton.cdiv(M, COLUMNS)
        launches = [(t, which) for t in range(T) for which in range(len(self.recipe.launches))]
        constants |= {"M": M, "COLUMNS": COLUMNS, "DEPTH": min(64, padded(M))}

        def launch(flat: list[Tensor]) -> None:
            grouped = regrouped(flat, tensors)
            for t, which in reversed(launches) if backward else launches:
                kernel[grid](*grouped, t, B, WHICH=which, **constants)

        flat = [tensor for group in tensors for tensor in (group if isinstance(group, tuple) else (group,))]
        key = (backward, T, B, str(constants), tuple((tensor.dtype, tensor.device) for tensor in flat))
        graphs.run(key, launch, flat, written=range(1, 2 + len(tensors[1]) - (not backward)))

    def backward(
        self, d_outputs: Tensor, d_state: tuple[Tensor, ...], d_blocks: Tensor, tape: list[Tensor], weights: Weights
    ) -> None:
        super().backward(d_outputs, d_state, d_blocks, tape, weights)
        dense, vectors = weights
        M = dense.shape[1]
        for term in self.recipe.terms:  # the next step's launch would do this, but there is no next step
            if 0 <= term.operand < len(d_state):
                d = d_blocks[0, :, term.block * M : (term.block + 1) * M]
                d_h_matmul = d @ dense[term.tile * M : (term.tile + 1) * M] if term.dense else d * vectors[term.tile]
                d_state[term.operand].add_(d_h_matmul)


def regrouped(flat: list[Tensor], like: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arrange the tensors in the given order, in tuples where `like` has tuples."""
    rest = iter(flat)
    return tuple(tuple(next(rest) for _ in group) if isinstance(group, tuple) else next(rest) for group in like)


class Unrolled(torch.autograd.Function):
    """The loop under autograd; the matmuls with the inputs are outside."""

    @staticmethod
    def forward(
        ctx: Any, loop: Loop, keep: bool, projected: Tensor, dense: Tensor, vectors: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        """Return outputs (T, B, M), then the other fields of the last state."""
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
    def backward(ctx: Any, d_outputs: Tensor, *d_last: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # else a second derivative would silently be zero
            raise RnnError("the triton backend has no second derivatives: use --backend reference")
        loop: Loop = ctx.loop
        dense, vectors, *tape = ctx.saved_tensors
        T, B, M = d_outputs.shape
        d_h = torch.zeros(B, M, dtype=torch.float32, device=d_outputs.device)  # the last output holds it
        d_state = (d_h, *(value.to(torch.float32, copy=True).contiguous() for value in d_last))
        d_blocks = d_outputs.new_zeros(T + 1, B, len(loop.recipe.blocks) * M)
        loop.backward(d_outputs.contiguous(), d_state, d_blocks, tape, (dense, vectors))
        d_blocks = d_blocks[:-1]
        d_weights = weight_gradients(loop.recipe, tape, d_blocks)
        d_first = (value.to(dtype) for value, dtype in zip(d_state, ctx.dtypes, strict=True))
        return None, None, d_blocks[:, :, : loop.recipe.projected * M], *d_weights, *d_first


def weight_gradients(recipe: Recipe, tape: list[Tensor], d_blocks: Tensor) -> Weights:
    """Return the gradients of the matrices, one matmul for neighbours that see the same value, and of the vectors."""
    T, B, _ = d_blocks.shape
    M = tape[0].shape[2]

    def seen(operand: int) -> Tensor:
        old = operand < len(recipe.state)
        value = tape[(recipe.new[operand] if old else operand) - len(recipe.state)]
        return (value[:-1] if old else value[1:]).to(d_blocks.dtype)

    dense, vectors = [], [d_blocks.new_empty(0, M)]
    for (operand, is_dense, _), group in groupby(recipe.terms, lambda at: (at.operand, at.dense, at.block - at.tile)):
        terms = list(group)
        d = d_blocks[:, :, terms[0].block * M : (terms[-1].block + 1) * M]
        if is_dense:
            dense.append(d.reshape(T * B, -1).T @ seen(operand).reshape(T * B, M))
        else:
            each = d.unflatten(2, (-1, M))
            vectors.append((each if operand < 0 else each * seen(operand)[:, :, None]).sum((0, 1)))
    return torch.cat(dense), torch.cat(vectors)
