"""The fused backend against the reference over every cell, length, size and precision; arithmetic against numpy."""

import math
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from support.covering import covering
from support.kinds import COMPILED, KINDS, ROUNDED, with_activations

from rnncli.cells import CLASSIC, make_cell
from rnncli.cells.elman import Elman
from rnncli.errors import RnnError, UsageError
from rnncli.kernels import fused, matmul, precision
from rnncli.kernels.engine import arithmetic, functions, matmuls, scalars
from rnncli.kernels.engine import scan as engine_scan
from rnncli.kernels.matmul import fast_matmul
from rnncli.kernels.scan import choose_backend, scan
from rnncli.models.stack import Stack, StackShape

SHAPES = [(1, 1, 2, 3), (6, 1, 3, 4), (7, 4, 3, 5)]
CLOSE = {torch.float64: 1e-10, torch.float32: 5e-5}
WAYS = ["whole", "in one call", "step by step", "packed"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each path of the backend: a small net in compiled code only, others by BLAS, torch's matmuls, packed weights."""
    for limit in ("SMALL", "SMALL_AND_SHORT"):
        monkeypatch.setattr(engine_scan, limit, math.inf if request.param == "whole" else 0)
    monkeypatch.setattr(matmuls, "IS_EXPORTED", request.param == "in one call")
    if request.param == "packed":
        monkeypatch.setattr(matmuls, "prefers_onednn", lambda: True)
        monkeypatch.setattr(matmuls, "ONEDNN", 0)
        for limit in ("MIN_REPEATS", "MIN_REPEATS_CONTIGUOUS"):
            monkeypatch.setattr(matmul, limit, 0)
    return request.param


def a_cell(kind: str, D: int, M: int, activation: str | None = None, dtype: torch.dtype = torch.float64) -> Any:
    torch.manual_seed(11)
    cell: Any = make_cell(kind, D, M, activation=activation).to(dtype)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(0, 0.5)
    return cell


def results(cell: Any, x: torch.Tensor, lengths: torch.Tensor | None, backend: str) -> list[torch.Tensor]:
    """Return outputs, last state, and the gradients of input, first state and weights, for a weighted loss."""
    cell.zero_grad()
    x = x.detach().requires_grad_()
    outputs, state = scan(cell, x, cell.initial_state(x.shape[1]), lengths, backend)
    weigh = torch.linspace(-1, 1, outputs.numel(), dtype=x.dtype).view_as(outputs)
    loss = (outputs * weigh).sum() + sum((part * (place - 0.4)).square().sum() for place, part in enumerate(state))
    loss.backward()
    return [outputs, *state, x.grad, *(each.grad for each in cell.parameters() if each.requires_grad)]


CELLS_OF = with_activations(KINDS[:-1])
"""Every cell of the package with every activation."""


def is_classic(cell_of: tuple[str, str]) -> bool:
    return cell_of[0].partition(":")[0] in CLASSIC


@pytest.mark.parametrize(
    ("cell_of", "way", "shape", "dtype", "padded"),
    [
        *covering([each for each in CELLS_OF if is_classic(each)], WAYS, SHAPES, CLOSE, [False, True], strength=3),
        *covering([each for each in CELLS_OF if not is_classic(each)], WAYS, SHAPES, CLOSE, [False, True], strength=2),
    ],
    indirect=["way"],
    ids=str,
)
def test_equals_the_reference(
    cell_of: tuple[str, str], way: str, shape: Any, dtype: Any, padded: bool, plain_loops: None
) -> None:
    """Any three of classic cell, way, shape, precision and padding meet, and any two with the other cells."""
    kind, activation = cell_of
    T, B, D, M = shape
    cell = a_cell(kind, D, M, activation, dtype)
    x = torch.randn(T, B, D, dtype=dtype)
    lengths = torch.arange(B).mul(3).remainder(T).add(1) if padded else None
    pairs = zip(results(cell, x, lengths, "fused"), results(cell, x, lengths, "reference"), strict=True)
    for ours, wanted in pairs:
        torch.testing.assert_close(ours, wanted, rtol=CLOSE[dtype], atol=CLOSE[dtype])


def slack(kind: str) -> int:
    """An untrained LSTM with layer normalisation is chaotic: errors grow with each step."""
    return 16 if kind == "lnlstm" else 1


@pytest.mark.parametrize("kind", COMPILED)
def test_gradients_are_as_accurate_as_float32_allows(kind: str) -> None:
    """At a realistic size, the norm-wise error of each gradient stays below 1e-5 of float64 on the reference."""
    T, B, D, M = 35, 20, 96, 128
    torch.manual_seed(0)
    exact: Any = make_cell(kind, D, M).double()
    single: Any = make_cell(kind, D, M)
    single.load_state_dict(exact.state_dict())
    exact.load_state_dict(single.state_dict())
    x = torch.randn(T, B, D)
    found, wanted = results(single, x, None, "fused"), results(exact, x.double(), None, "reference")
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours - theirs).norm() < slack(kind) * 1e-5 * theirs.norm()


@pytest.fixture
def rounding(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Round every matmul of a step that may be rounded, on any processor."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(matmul, "ROUND_FROM", 0)
    monkeypatch.setattr(matmuls, "ROUND_FROM", 0)
    monkeypatch.setattr(engine_scan, "SMALL", 0)
    with fast_matmul("bfloat16"):
        yield


@pytest.mark.parametrize("kind", ROUNDED)
@pytest.mark.parametrize("padded", [False, True])
def test_rounded_matmuls_err_by_their_rounding(kind: str, padded: bool, rounding: None) -> None:
    """Norm-wise errors of values and gradients, the first states' too, against float64: 1e-4 to 1e-2."""
    T, B, D, M = 35, 20, 48, 64
    torch.manual_seed(0)
    single: Any = make_cell(kind, D, M)
    exact: Any = make_cell(kind, D, M).double()
    exact.load_state_dict(single.state_dict())
    x = torch.randn(T, B, D)
    lengths = torch.arange(B).mul(3).remainder(T).add(1) if padded else None
    found, wanted = results(single, x, lengths, "fused"), results(exact, x.double(), lengths, "reference")
    for ours, theirs in zip(found, wanted, strict=True):
        assert 1e-4 * theirs.norm() < (ours - theirs).norm() < slack(kind) * 1e-2 * theirs.norm()


@pytest.mark.parametrize("kind", ROUNDED)
def test_bidirectional_layers_may_be_rounded(kind: str, rounding: None) -> None:
    torch.manual_seed(0)
    shape = StackShape(kind, (64, 48), bidirectional=True)
    single, exact = Stack(32, shape), Stack(32, shape, "reference").double()
    exact.load_state_dict(single.state_dict())
    x, lengths = torch.randn(20, 16, 32), torch.arange(16).add(5)
    for stack, inputs in ((single, x), (exact, x.double())):
        stack(inputs, lengths=lengths)[0].square().sum().backward()
    for ours, theirs in zip(single.parameters(), exact.parameters(), strict=True):
        error = (ours.grad - theirs.grad).norm()
        assert 1e-4 * theirs.grad.norm() < error < slack(kind) * 2e-2 * theirs.grad.norm()


def test_nothing_is_rounded_without_gradients(rounding: None) -> None:
    torch.manual_seed(0)
    cell: Any = make_cell("lstm", 48, 64)
    x = torch.randn(9, 20, 48)
    with torch.no_grad():
        found, _ = scan(cell, x, cell.initial_state(20), backend="fused")
        wanted, _ = scan(cell.double(), x.double(), cell.initial_state(20), backend="reference")
    assert (found - wanted).norm() < 1e-6 * wanted.norm()


def test_rounds_to_nearest_with_ties_to_even() -> None:
    bits = torch.cat([torch.arange(0x3F800000, 0x3F840000), torch.randint(0, 2**31 - 1, (9999,))])
    values = torch.cat([bits.int().view(torch.float32), torch.tensor([math.inf, -math.inf, -0.0, 3.4e38])])[None]
    values = torch.cat([values, -values])
    near = torch.empty(values.shape, dtype=torch.bfloat16)
    arithmetic.to_bf16(values.numpy(), near.view(torch.uint16).numpy())
    torch.testing.assert_close(near, values.bfloat16(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("kind", COMPILED)
def test_inputs_may_be_non_contiguous_and_need_no_gradient(kind: str, way: str, plain_loops: None) -> None:
    cell = a_cell(kind, 3, 4)
    x = torch.randn(5, 3, 2, dtype=torch.float64).permute(2, 0, 1)[:, ::2]  # (T, B, D) = (2, 3, 3)
    outputs, _ = scan(cell, x, cell.initial_state(3), backend="fused")
    wanted, _ = scan(cell, x, cell.initial_state(3), backend="reference")
    torch.testing.assert_close(outputs, wanted, rtol=0, atol=1e-12)
    outputs.sum().backward()
    ours = cell.weight_x.grad.clone()
    cell.zero_grad()
    wanted.sum().backward()
    torch.testing.assert_close(ours, cell.weight_x.grad, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", COMPILED)
@pytest.mark.parametrize("used", ["outputs", "state"])
def test_results_may_be_unused_or_used_twice(kind: str, used: str, way: str, plain_loops: None) -> None:
    found = []
    for backend in ("fused", "reference"):
        cell = a_cell(kind, 3, 4)
        start = [torch.full((2, 4), 0.3, dtype=torch.float64, requires_grad=True) for _ in cell.state_fields]
        x = torch.ones(3, 2, 3, dtype=torch.float64)
        outputs, state = scan(cell, x, cell.State(*start), backend=backend)
        value = outputs if used == "outputs" else state[-1]
        (value.square().sum() + value.sum()).backward()
        found.append([torch.zeros_like(part) if part.grad is None else part.grad for part in (*start, cell.weight_x)])
    for ours, wanted in zip(*found, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", COMPILED)
def test_retained_graph_gives_the_same_gradients_again(kind: str, way: str, plain_loops: None) -> None:
    cell = a_cell(kind, 3, 4)
    outputs, _ = scan(cell, torch.ones(3, 2, 3, dtype=torch.float64), cell.initial_state(2), backend="fused")
    once = torch.autograd.grad(outputs.sum(), [cell.weight_x], retain_graph=True)
    again = torch.autograd.grad(outputs.sum(), [cell.weight_x])
    assert torch.equal(*once, *again)
    with pytest.raises(RuntimeError, match="second time"):
        outputs.sum().backward()


def test_second_derivatives_and_changed_inputs_are_refused(way: str, plain_loops: None) -> None:
    cell = a_cell("lstm", 3, 4)
    x = torch.ones(3, 2, 3, dtype=torch.float64, requires_grad=True)
    outputs, _ = scan(cell, x, cell.initial_state(2), backend="fused")
    with pytest.raises(RnnError, match="has no second derivatives: use --backend reference"):
        torch.autograd.grad(outputs.sum(), x, create_graph=True)
    outputs, _ = scan(cell, x, cell.initial_state(2), backend="fused")
    with torch.no_grad():
        cell.weight_h.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


@pytest.mark.parametrize("kind", COMPILED)
def test_nothing_is_kept_without_gradients(kind: str, way: str, plain_loops: None) -> None:
    cell = a_cell(kind, 3, 4)
    x = torch.randn(3, 2, 3, dtype=torch.float64)
    wanted, _ = scan(cell, x, cell.initial_state(2), backend="fused")
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            outputs, state = scan(cell, x, cell.initial_state(2), backend="fused")
        assert outputs.grad_fn is None
        assert all(part.grad_fn is None for part in state)
        assert torch.equal(outputs, wanted)


@pytest.mark.parametrize("kind", COMPILED)
def test_two_runs_are_bitwise_equal(kind: str, way: str) -> None:
    x = torch.randn(7, 4, 3)
    runs = [results(a_cell(kind, 3, 5, dtype=torch.float32), x, None, "fused") for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def of_each(name: str) -> Any:
    """A compiled loop that replaces each value of a (N,) by a function of it."""
    scope: dict[str, Any] = {"f": getattr(scalars, name)}
    exec("def run(a):\n    for n in range(a.size):\n        a[n] = f(a[n])", scope)
    return pytest.importorskip("numba").njit(error_model="numpy", fastmath={"contract"})(scope["run"])


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 4e-7), (np.float64, 8e-16)])
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softplus", "expm1"])
def test_functions_are_exact_over_the_whole_range(name: str, dtype: Any, tolerance: float) -> None:
    assert functions
    rng = np.random.default_rng(0)
    scales = (1e-6, 1e-2, 1, 5, 40, 1000) if name in ("sigmoid", "tanh") else (1e-6, 1e-2, 1, 5, 15)
    a = np.concatenate([rng.normal(0, scale, 20_000) for scale in scales]).astype(dtype)
    extended = a.astype(np.longdouble)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        exact = getattr(scalars, name)(extended)
    found = a.copy()
    of_each(name)(found)
    error, seen = np.abs(found - exact), np.abs(exact) > 1e-30
    if name in ("sigmoid", "tanh"):
        assert error.max() < tolerance
    assert (error[seen] / np.abs(exact[seen])).max() < tolerance


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_at_the_ends_of_the_range(dtype: Any) -> None:
    ends = np.array([np.inf, -np.inf, np.nan, 0.0, np.finfo(dtype).max, np.finfo(dtype).min], dtype=dtype)
    found = ends.copy()
    of_each("tanh")(found)
    np.testing.assert_array_equal(found, np.array([1, -1, np.nan, 0, 1, -1], dtype=dtype))
    found = ends.copy()
    of_each("sigmoid")(found)
    np.testing.assert_allclose(found, np.array([1, 0, np.nan, 0.5, 1, 0], dtype=dtype), rtol=0, atol=1e-37)


def test_without_numba_auto_takes_another_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rnncli.kernels.engine.arithmetic", None)
    fused.trouble.cache_clear()
    try:
        assert "needs numba" in fused.trouble()
        assert choose_backend(make_cell("gru", 3, 4)) == "reference"
        assert choose_backend(make_cell("elman", 3, 4)) == "torch"
        with pytest.raises(UsageError, match="the fused backend needs numba"):
            choose_backend(make_cell("gru", 3, 4), "fused")
    finally:
        fused.trouble.cache_clear()


def test_failing_compiler_makes_auto_take_another_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    def check() -> None:
        raise KeyError("any error of a compiler")

    monkeypatch.setattr(arithmetic, "check", check)
    fused.trouble.cache_clear()
    try:
        assert fused.trouble() == "numba fails here: KeyError"
        assert choose_backend(make_cell("gru", 3, 4)) == "reference"
    finally:
        fused.trouble.cache_clear()


def test_unwritable_cache_compiles_for_this_process_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(**options: Any) -> Any:
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: (function, options)

    monkeypatch.setattr(arithmetic, "njit", njit)
    function, options = arithmetic.compiled(len)
    assert (function, options["error_model"]) == (len, "numpy")


def test_unsupported_device_type_and_cell_are_refused() -> None:
    cell = make_cell("gru", 3, 4)
    assert choose_backend(cell, device="cuda") != "fused"
    assert choose_backend(cell, dtype=torch.bfloat16) == "reference"
    with torch.autocast("cpu", torch.bfloat16):
        assert choose_backend(cell) == "reference"
    with pytest.raises(UsageError, match="runs only on CPUs"):
        choose_backend(cell, "fused", "cuda")
    with pytest.raises(UsageError, match="only in float32 and float64"):
        choose_backend(cell, "fused", dtype=torch.float16)


def test_cell_with_a_step_of_its_own_is_traced_by_itself(plain_loops: None) -> None:
    class Mine(Elman):
        """A user's cell: it inherits everything but the step, so that the inherited forms do not describe it."""

        def step(self, projected: torch.Tensor, state: Any) -> Any:
            return type(state)(torch.sin(projected + state.h))

    cell: Any = Mine(3, 4)
    assert choose_backend(cell) == "fused"
    x = torch.randn(5, 2, 3)
    found, wanted = (scan(cell, x, cell.initial_state(2), backend=backend)[0] for backend in ("fused", "reference"))
    torch.testing.assert_close(found, wanted)


def test_cell_that_cannot_be_traced_runs_on_the_reference() -> None:
    class Mine(Elman):
        """A user's cell that looks at its neighbours in the batch."""

        def step(self, projected: torch.Tensor, state: Any) -> Any:
            return type(state)(torch.tanh(projected - state.h.mean(0)))

    cell: Any = Mine(3, 4)
    assert choose_backend(cell) == "reference"
    reason = "the fused backend cannot take Mine: step reduces over the batch .test_fused.py, line"
    with pytest.raises(UsageError, match=reason):
        choose_backend(cell, "fused")


def test_numba_is_imported_only_when_used() -> None:
    program = "import sys, rnncli.models.stack; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
