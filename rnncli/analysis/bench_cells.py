"""A layer's forward and backward: our cells, torch's layers, a plain loop under autograd, JAX's jitted scan.

Shapes: T steps, B batch, D input, M hidden.
"""

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rnncli.analysis.bench import Contender, Row, Step
from rnncli.analysis.bench_floor import floor, of_layer_matmuls
from rnncli.cells import CELLS, CLASSIC, label_of, make_cell, use_cell
from rnncli.cells.outside import outside_cell
from rnncli.extras import installed
from rnncli.kernels.fused import fused_form, trouble
from rnncli.kernels.matmul import fast_matmul, switched
from rnncli.kernels.precision import has_bfloat16
from rnncli.kernels.scan import choose_backend, scan


class Shape(NamedTuple):
    """The sizes of a layer and its input."""

    T: int
    B: int
    D: int
    M: int

    def __str__(self) -> str:
        return f"T{self.T}-B{self.B}-M{self.M}"


SHAPES = (Shape(35, 20, 200, 200), Shape(35, 20, 650, 650), Shape(100, 64, 512, 512))

RIVALS: dict[str, Any] = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
"""Torch's layers, by the cell that they compete with; any other cell competes with its own plain loop."""

KINDS = ("elman", "gru:reset-before", "lstm:none", "lstm:full")
"""The cells and variants that are timed against torch's layers."""

ROUNDED = Shape(64, 32, 512, 512)
"""A layer of a model of characters."""

TINY = {"elman": Shape(12, 1, 1, 4), "gru:reset-before": Shape(20, 1, 30, 30)}
"""The book's nets."""


def rows() -> Iterator[Row]:
    """The classic cells at every shape, also in bfloat16 if the processor has it, then the tiny nets as in training."""
    for kind, shape in product(KINDS, SHAPES):
        yield Row(kind, str(shape), _contenders(kind, shape))
    for kind in CLASSIC:
        if kind not in RIVALS:
            yield from rows_of(kind)
    if has_bfloat16():
        for kind, shape in (*product(KINDS, SHAPES), ("lstm:none", ROUNDED)):
            yield Row(f"{kind}, bfloat16", str(shape), _rounded_contenders(kind, shape))
    for kind, shape in TINY.items():
        contenders = _contenders(kind, shape)
        contenders["plain loop"] = _plain(kind, shape)
        if not trouble():  # numba, which compiles it, may be absent
            contenders["compiled only"] = partial(of_compiled, kind, shape)
        yield Row(kind, str(shape), contenders, one_thread=True)


def own_rows(cell: str) -> Iterator[Row]:
    """The rows of a cell that no layer of torch competes with; none for any other name."""
    if outside_cell(cell):
        yield from rows_of(use_cell(cell))
    elif (name := cell.partition(":")[0]) in CELLS and name not in RIVALS:
        yield from rows_of(cell)


def rows_of(kind: str) -> Iterator[Row]:
    """A cell without a rival at every shape, next to its own plain loop."""
    for shape in SHAPES:
        contenders: dict[str, Contender] = {"ours": partial(of_cell, kind, shape), "plain loop": _plain(kind, shape)}
        yield Row(label_of(kind), str(shape), contenders | floor(of_layer_matmuls, kind, shape))


def left_out() -> Iterator[str]:
    """What the rows lack on this machine, in a line each."""
    if reason := trouble():
        yield f"{reason}; ours is a plain loop of steps; its compiled code (compiled only) and the floor are left out"
    if not installed("jax"):
        yield "JAX is not installed: its column is left out"
    if not has_bfloat16():
        yield "this processor has no instructions for bfloat16: its rows are left out"


def _contenders(kind: str, shape: Shape) -> dict[str, Contender]:
    Layer = RIVALS[kind.partition(":")[0]]
    contenders: dict[str, Contender] = {
        "ours": lambda: of_cell(kind, shape),
        "torch": lambda: of_layer(Layer, shape),
        "torch at medium": lambda: at_medium(of_layer(Layer, shape)),
    }
    if installed("jax"):
        contenders["JAX"] = lambda: of_jax(kind, shape)
    return contenders | floor(of_layer_matmuls, kind, shape)


def _plain(kind: str, shape: Shape) -> Contender:
    """The cell's own step in a loop, under autograd."""
    return partial(of_cell, kind, shape, "reference")


def _rounded_contenders(kind: str, shape: Shape) -> dict[str, Contender]:
    Layer = RIVALS[kind.partition(":")[0]]
    return {
        "ours": lambda: _rounded(of_cell(kind, shape)),
        "torch": lambda: of_layer(Layer, shape),
        "torch in bfloat16": lambda: of_layer(Layer, shape, torch.bfloat16),
        **floor(of_layer_matmuls, kind, shape, "bfloat16"),
    }


def _rounded(step: Step) -> Step:
    def run() -> object:
        with fast_matmul("bfloat16"):
            return step()

    return run


def of_cell(kind: str, shape: Shape, backend: str = "auto", *, recompute: bool = False) -> Step:
    """Forward and backward of one of our layers."""
    cell: Any = make_cell(kind, shape.D, shape.M)
    return _training(
        cell, lambda x: scan(cell, x, cell.initial_state(shape.B), None, backend, recompute=recompute)[0], shape
    )


def of_compiled(kind: str, shape: Shape) -> Step:
    """Forward and backward of one of our layers in compiled code, without autograd; raises as `choose_backend`."""
    T, B, D, M = shape
    cell: Any = make_cell(kind, D, M)
    choose_backend(cell, "fused")  # raises where it cannot run
    form: Any = fused_form(cell)
    traced = form.traced
    inputs = [value.detach().numpy() for value in traced.inputs.of(cell, torch.float32)]
    first = [np.zeros((B, size), np.float32) for size in traced.fields]
    generator = np.random.default_rng(0)
    x, weigh = (generator.standard_normal((T, B, size), np.float32) for size in (D, M))
    ends = np.full(B, T)

    def step() -> object:
        made = traced.module.forward(ends, traced.sizes, x, *first, *inputs)
        last = [np.zeros_like(value) for value in first]
        return traced.module.backward(ends, traced.sizes, True, x, *inputs, *made, weigh, *last)

    return step


def of_layer(Layer: Any, shape: Shape, dtype: torch.dtype = torch.float32) -> Step:
    """Forward and backward of one of torch's layers, entirely in that type."""
    layer = Layer(shape.D, shape.M).to(dtype)
    return _training(layer, lambda x: layer(x)[0], shape)


def _training(module: nn.Module, run: Any, shape: Shape) -> Step:
    T, B, D, M = shape
    generator = torch.Generator().manual_seed(0)
    dtype = next(module.parameters()).dtype
    x = torch.randn(T, B, D, generator=generator).to(dtype).requires_grad_()
    weigh = torch.randn(T, B, M, generator=generator).to(dtype)

    def step() -> Tensor:
        outputs: Tensor = run(x)
        outputs.backward(weigh)
        module.zero_grad()
        x.grad = None
        return outputs

    return step


def at_medium(step: Step) -> Step:
    """The same step with `torch.set_float32_matmul_precision("medium")`, which allows rounded float32 matmuls."""

    def relaxed() -> object:
        with switched("bf16"):
            return step()

    return relaxed


def of_jax(kind: str, shape: Shape) -> Step:
    """Forward and backward of the same equations in JAX's compiled scan."""
    import jax
    from jax import numpy as jnp

    T, B, D, M = shape
    cell: Any = make_cell(kind, D, M)
    weights = {name: jnp.asarray(value.detach().numpy()) for name, value in cell.named_parameters()}
    step = _JAX_STEPS[kind.partition(":")[0]]

    def loss(weights: Any, x: Any, weigh: Any) -> Any:
        projected = x @ weights["weight_x"].T + weights["bias"]
        first = [jnp.broadcast_to(weights[f"{field}0"], (B, M)) for field in cell.state_fields]

        def advance(state: Any, a: Any) -> Any:
            after = step(jax, weights, a, state)
            return after, after[0]

        return (jax.lax.scan(advance, first, projected)[1] * weigh).sum()

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    keys = jax.random.split(jax.random.key(0), 2)
    x, weigh = jax.random.normal(keys[0], (T, B, D)), jax.random.normal(keys[1], (T, B, M))
    wait: Any = jax.block_until_ready
    return lambda: wait(run(weights, x, weigh))


def _jax_elman(jax: Any, w: Any, a: Any, state: Any) -> Any:
    (h,) = state
    return [jax.numpy.tanh(a + h @ w["weight_h"].T)]


def _jax_gru(jax: Any, w: Any, a: Any, state: Any) -> Any:
    (h,) = state
    M = h.shape[1]
    gates = jax.nn.sigmoid(a[:, : 2 * M] + h @ w["weight_h"][: 2 * M].T)
    r, z = gates[:, :M], gates[:, M:]
    return [(1 - z) * h + z * jax.numpy.tanh(a[:, 2 * M :] + (r * h) @ w["weight_h"][2 * M :].T)]


def _jax_lstm(jax: Any, w: Any, a: Any, state: Any) -> Any:
    h, c = state
    M = h.shape[1]
    a = a + h @ w["weight_h"].T
    gates, output, full = a[:, : 2 * M], a[:, 3 * M :], "weight_c" in w
    i_f = jax.nn.sigmoid(gates + c @ w["weight_c"].T if full else gates)
    c = i_f[:, M:] * c + i_f[:, :M] * jax.numpy.tanh(a[:, 2 * M : 3 * M])
    return [jax.nn.sigmoid(output + c @ w["weight_co"].T if full else output) * jax.numpy.tanh(c), c]


_JAX_STEPS = {"elman": _jax_elman, "gru": _jax_gru, "lstm": _jax_lstm}
