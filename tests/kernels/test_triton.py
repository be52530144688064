"""The triton backend against the reference: compiled on a CUDA device, else interpreted on the CPU."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support import outside
from support.bare import NAME as BARE
from support.kinds import KINDS, KINDS_WITH_ACTIVATIONS
from torch.nn import functional as F

from rnncli.api import restore
from rnncli.cells import CLASSIC, make_cell
from rnncli.cells.base import Cell, Hidden
from rnncli.cells.elman import Elman
from rnncli.errors import RnnError, UsageError
from rnncli.kernels.engine import cache
from rnncli.kernels.graphs import CudaRecorder, Graphs
from rnncli.kernels.scan import choose_backend, scan
from rnncli.nn import GRU
from rnncli.training.checkpoint import read as read_checkpoint

pytest.importorskip("triton", reason="waits for triton, which installs only on Linux")

from rnncli.kernels.triton import scan as triton_scan
from rnncli.kernels.triton import tiers
from rnncli.kernels.triton.build import Kernels, kernels_of
from rnncli.kernels.triton.scan import unroll
from rnncli.kernels.triton.tiers import Tier, choose_tier, on_chip_bytes

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TIERS = list(Tier)
OUTSIDE: dict[str, tuple[type[Cell[Any]], str | None]] = {
    "Deep": (outside.Deep, None),
    "CoupledLSTM:plain": (outside.CoupledLSTM, "plain"),
    "CoupledLSTM:peephole": (outside.CoupledLSTM, "peephole"),
    "MultiplicativeRNN": (outside.MultiplicativeRNN, None),
    "Normalised": (outside.Normalised, None),
    "ProjectedLSTM": (outside.ProjectedLSTM, None),
    "Rotating": (outside.Rotating, None),
}
"""Cells of a user's file and their variants."""
FAST = [kind for kind in KINDS if kind.partition(":")[0] in (*CLASSIC, BARE)]
TODAY = ["lnlstm", "mingru:positive"]
"""With reductions, and without matmuls."""


def _param(kind: str, *more: str) -> Any:
    return pytest.param(kind, *more, marks=[] if kind in (*FAST, *TODAY) else [pytest.mark.slow])


SOME_KINDS = [_param(kind) for kind in KINDS]
"""All kinds; the fast suite runs some."""
SOME_WITH_ACTIVATIONS = [_param(*each) for each in KINDS_WITH_ACTIVATIONS]
LENGTHS = torch.tensor([3, 1, 2])


def a_cell(kind: str, D: int, M: int, activation: str | None = None) -> Any:
    torch.manual_seed(7)
    if kind in OUTSIDE:
        Class, variant = OUTSIDE[kind]
        cell: Any = Class(D, M, variant=variant).to(DEVICE)
    else:
        cell = make_cell(kind, D, M, activation=activation).to(DEVICE)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(0, 1.5 / M**0.5)
    return cell


def kernels(cell: Any) -> Kernels:
    found = kernels_of(cell)
    assert not isinstance(found, str), found
    return found


def results(
    cell: Any, x: torch.Tensor, lengths: torch.Tensor | None = None, tier: Tier | None = None
) -> list[torch.Tensor]:
    """Return outputs, last state and all gradients, from a tier of the backend or from the reference."""
    cell.zero_grad()
    x = x.to(DEVICE, copy=True).requires_grad_()
    state = cell.initial_state(x.shape[1])
    if tier is None:
        outputs, last = scan(cell, x, state, lengths, "reference")
    else:
        outputs, last = unroll(kernels(cell), cell, x, state, lengths, tier)
    loss = outputs.float().square().sum() + sum((k + 2) * field.float().sum() for k, field in enumerate(last))
    loss.backward()
    return [outputs, *last, x.grad, *(each.grad for each in cell.parameters() if each.requires_grad)]


def assert_equal(ours: list[torch.Tensor], wanted: list[torch.Tensor], tolerance: float) -> None:
    for found, right in zip(ours, wanted, strict=True):
        assert found.shape == right.shape
        assert (found.double() - right.double()).norm() <= tolerance * right.double().norm().clamp(min=1e-3)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(("kind", "activation"), SOME_WITH_ACTIVATIONS)
def test_equals_the_reference_where_sequences_end_early(kind: str, activation: str, tier: Tier) -> None:
    cell = a_cell(kind, 3, 5, activation)
    x = torch.randn(3, 3, 3)
    assert_equal(results(cell, x, LENGTHS, tier), results(cell, x, LENGTHS), 1e-5)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", OUTSIDE)
def test_outside_cells_equal_the_reference(kind: str, tier: Tier) -> None:
    """Layer norm, two sizes of the state, a matmul of a product, and steps without a matrix."""
    cell = a_cell(kind, 2, 6)
    x = torch.randn(2, 2, 2)
    lengths = torch.tensor([2, 1])
    assert_equal(results(cell, x, lengths, tier), results(cell, x, lengths), 1e-5)


SHAPES = [(1, 1, 3, 1), (2, 17, 2, 5), (2, 2, 3, 70)]
CASES = [
    (kind, tier, *shape)
    for kind in (*FAST, *TODAY)
    for tier in TIERS
    for shape in (
        SHAPES if kind in ("elman", "gru:reset-before", "lstm:full") else SHAPES[2:] if kind in TODAY else SHAPES[:2]
    )
]


@pytest.mark.parametrize(("kind", "tier", "T", "B", "D", "M"), CASES)
def test_equals_the_reference_in_every_shape(kind: str, tier: Tier, T: int, B: int, D: int, M: int) -> None:
    cell = a_cell(kind, D, M)
    if DEVICE == "cuda" and tier is Tier.WHOLE:  # interpreted, nothing is too large
        tier = choose_tier(kernels(cell), torch.float32, torch.device(DEVICE))
    x = torch.randn(T, B, D)
    assert_equal(results(cell, x, None, tier), results(cell, x), 1e-5)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("T", "B", "D", "M"), [(200, 33, 64, 64), (60, 16, 128, 128), (40, 70, 200, 200), (20, 64, 512, 512)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_kernels_equal_the_reference(kind: str, T: int, B: int, D: int, M: int, dtype: torch.dtype) -> None:
    check_compiled(kind, T, B, D, M, dtype)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("T", "B", "D", "M"), [(60, 16, 64, 64), (20, 64, 512, 512)])
@pytest.mark.parametrize("kind", OUTSIDE)
def test_compiled_kernels_of_outside_cells_equal_the_reference(
    kind: str, T: int, B: int, D: int, M: int, dtype: torch.dtype
) -> None:
    check_compiled(kind, T, B, D, M, dtype)


def check_compiled(kind: str, T: int, B: int, D: int, M: int, dtype: torch.dtype) -> None:
    """Check the chosen tier against float64; half precision within its rounding."""
    cell = a_cell(kind, D, M)
    x = torch.randn(T, B, D)
    lengths = torch.randint(1, T + 1, (B,))
    wanted = results(a_cell(kind, D, M).double(), x.double(), lengths)
    ours = cell.to(dtype)
    chosen = choose_tier(kernels(ours), dtype, torch.device(DEVICE))
    assert_equal(results(ours, x.to(dtype), lengths, chosen), wanted, 1e-5 if dtype == torch.float32 else 0.05)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", SOME_KINDS)
def test_half_precision_errs_by_its_rounding(kind: str, tier: Tier) -> None:
    cell = a_cell(kind, 3, 5)
    x = torch.randn(3, 3, 3)
    wanted = results(cell, x, LENGTHS)
    assert_equal(results(cell.half(), x.half(), LENGTHS, tier), wanted, 0.01)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", SOME_KINDS)
def test_nothing_is_kept_without_a_backward_pass(kind: str, tier: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = a_cell(kind, 3, 5)
    x = torch.randn(3, 3, 3, device=DEVICE)
    sizes: dict[str, int] = {}
    empty = triton_scan.Memory.empty

    def counted(memory: Any, name: str, *rows: int, **options: Any) -> torch.Tensor:
        sizes[name] = rows[0]
        return empty(memory, name, *rows, **options)

    monkeypatch.setattr(triton_scan.Memory, "empty", counted)
    with torch.no_grad():
        outputs, last = unroll(kernels(cell), cell, x, cell.initial_state(3), LENGTHS, tier)
        wanted, wanted_last = scan(cell, x, cell.initial_state(3), LENGTHS, "reference")
    assert_equal([outputs, *last], [wanted, *wanted_last], 1e-5)
    rows = {"s": 4, "y": 3}  # states of all steps and the first; results of matmuls of one step
    assert all(size == (3 if name == "scratch" else rows.get(name[0], 1)) for name, size in sizes.items())


@pytest.mark.parametrize(("kind", "activation"), SOME_WITH_ACTIVATIONS)
def test_extreme_inputs_do_not_overflow_or_hide_a_nan(kind: str, activation: str) -> None:
    cell = a_cell(kind, 1, 3, activation)
    x = torch.tensor([[[-3e4]], [[3e4]], [[float("nan")]]])
    ours = results(cell, x, None, Tier.WHOLE)
    assert ours[0][:2].isfinite().all()
    assert ours[0][2].isnan().all()
    assert_equal([ours[0][:2]], [results(cell, x)[0][:2]], 1e-5)


class Repeating:
    """Launches again instead of recording, where there is no card: copies, keys and buffers are the same."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.recorded = 0

    def is_free(self) -> bool:
        return True

    def first(self, function: Any) -> tuple[Any, str]:
        return function(), ""

    def record(self, function: Any) -> Any:
        self.recorded += 1
        return function


class Counting(CudaRecorder):
    """Counts what it records."""

    recorded = 0

    def record(self, function: Any) -> Any:
        self.recorded += 1
        return super().record(function)


@pytest.mark.parametrize("kind", ["gru:reset-before", "lstm:diagonal"])
def test_replayed_graph_equals_single_launches(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder: Any = Counting(torch.device(DEVICE)) if DEVICE == "cuda" else Repeating()
    graphs = Graphs(recorder, limit=2)
    monkeypatch.setattr(tiers, "graphs_on", lambda device: graphs)
    cell = a_cell(kind, 3, 5)
    for _ in range(4):
        x = torch.randn(3, 3, 3)
        assert_equal(results(cell, x, LENGTHS, Tier.STEPS), results(cell, x, LENGTHS), 1e-5)
    assert recorder.recorded == 2  # forward and backward


def test_launches_write_no_gradient_that_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    changed: list[int] = []

    def run(key: object, launch: Any, *tensors: torch.Tensor, into: list[torch.Tensor]) -> None:
        changed.extend(each.data_ptr() for each in into)
        assert [each.data_ptr() for each in launch(*tensors)] == [each.data_ptr() for each in into]

    monkeypatch.setattr(tiers, "graphs_on", lambda device: SimpleNamespace(run=run))
    cell = a_cell("elman", 2, 3)
    outputs, _ = unroll(
        kernels(cell), cell, torch.randn(2, 1, 2, device=DEVICE), cell.initial_state(1), None, Tier.STEPS
    )
    d = torch.randn_like(outputs)
    outputs.backward(d)
    assert changed
    assert d.data_ptr() not in changed


def test_second_derivative_is_refused() -> None:
    cell = a_cell("elman", 1, 2)
    outputs, _ = unroll(kernels(cell), cell, torch.ones(1, 1, 1, device=DEVICE), cell.initial_state(1))
    with pytest.raises(RnnError, match="the triton backend has no second derivatives"):
        torch.autograd.grad(outputs.sum(), cell.weight_h, create_graph=True)


def test_small_cells_run_on_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "shared_memory", lambda _: 227 * 1024)

    def tier(kind: str, M: int, dtype: torch.dtype) -> Tier:
        return choose_tier(kernels(a_cell(kind, 3, M)), dtype, torch.device(DEVICE))

    assert tier("elman", 128, torch.float32) is tier("lstm:none", 128, torch.bfloat16) is Tier.WHOLE
    assert tier("elman", 200, torch.float32) is tier("lstm:full", 128, torch.bfloat16) is Tier.STEPS
    assert tier("mingru", 10_000, torch.float32) is Tier.WHOLE  # nothing is held on chip


@pytest.mark.parametrize("kind", SOME_KINDS)
def test_tier_on_chip_is_taken_only_where_it_fits(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card with one byte less than the tier needs gets the other tier; with exactly as much, this one."""
    found = kernels(a_cell(kind, 3, 70))
    needed = on_chip_bytes(found, torch.float32)
    assert needed >= sum(m.K * m.N for m in found.plan.graph.matmuls) * 2 * 4  # a float32 is stored as two of TF32
    for there, tier in ((needed - 1, Tier.STEPS), (needed, Tier.WHOLE)):
        monkeypatch.setattr(tiers, "shared_memory", lambda _, there=there: there)
        assert choose_tier(found, torch.float32, torch.device(DEVICE)) is tier


def test_unsupported_cases_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = a_cell("rated", 3, 5)
    assert choose_backend(cell, "triton", DEVICE) == "triton"
    with pytest.raises(UsageError, match="computes in float32, float16 and bfloat16, not float64; use --backend"):
        choose_backend(cell, "triton", DEVICE, torch.float64)
    refused = r"the triton backend cannot take Counting: step changes the cell's attributes \(steps\); use --backend"
    with pytest.raises(UsageError, match=refused):
        choose_backend(outside.Counting(3, 5), "triton", DEVICE)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(UsageError, match=r"needs triton, .*: pip install 'rnncli\[triton\]'; use --backend"):
        choose_backend(cell, "triton", DEVICE)


def test_overridden_step_has_its_own_kernels() -> None:
    class Doubled(Elman):
        def step(self, projected: torch.Tensor, state: Hidden) -> Hidden:
            return super().step(2 * projected, state)

    torch.manual_seed(0)
    cell: Any = Doubled(3, 5).to(DEVICE)
    x = torch.randn(2, 1, 3)
    assert_equal(results(cell, x, None, Tier.WHOLE), results(cell, x), 1e-5)


def test_layers_of_rnncli_nn_run_by_kernels() -> None:
    """Their cells are views of torch's parameters, with no values of their own."""
    torch.manual_seed(0)
    layer, x, found = GRU(3, 5, reset="before", device=DEVICE), torch.randn(3, 2, 3, device=DEVICE), []
    for layer.backend in ("triton", "reference"):
        outputs, last = layer(x)
        found.append([outputs, last, *torch.autograd.grad(outputs.square().sum(), list(layer.parameters()))])
    assert_equal(*found, 1e-5)


class Moving(Cell[Hidden]):
    """A step that moves the features of its state, so that registers of a program do not fit the next step."""

    def step(self, projected: torch.Tensor, state: Hidden) -> Hidden:
        return Hidden(torch.tanh(projected + F.linear(state.h.roll(2, 1), self.weight_h)))


def test_moved_features_take_launches_at_each_step() -> None:
    torch.manual_seed(0)
    cell: Any = Moving(2, 5).to(DEVICE)
    assert choose_tier(kernels(cell), torch.float32, torch.device(DEVICE)) is Tier.STEPS
    x = torch.randn(3, 3, 2)
    assert_equal(results(cell, x, LENGTHS, Tier.STEPS), results(cell, x, LENGTHS), 1e-5)


def test_kernels_need_no_writable_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_folders", list)
    cell: Any = Elman(3, 11).to(DEVICE)
    x = torch.randn(2, 1, 3)
    assert_equal(results(cell, x, None, Tier.WHOLE), results(cell, x), 1e-5)


def test_missing_cuda_device_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    cell: Any = make_cell("elman", 3, 5)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(UsageError, match="the triton backend needs a CUDA device; use --backend"):
        scan(cell, torch.randn(2, 1, 3), cell.initial_state(1), None, "triton")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="the triton backend needs a CUDA device; use --backend"):
        choose_backend(cell, "triton", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_backend(cell, "triton", None) == "triton"  # a model is built before it moves to a device


def test_model_trained_with_triton_runs_without_it(rnn: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    command = "train parity --name chip --bits 3 --hidden 2 --epochs 1"
    ran = rnn(f"{command} --backend triton")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "needs triton, which is not installed: pip install 'rnncli[triton]'; use --backend" in ran.err
    assert rnn(command).code == 0
    path = home / "checkpoints" / "parity" / "chip" / "last.safetensors"
    found = read_checkpoint(path)
    found.header["config"]["backend"] = "triton"
    assert restore(found, path).model.stack.backend_in_use != "triton"


@pytest.mark.slow
def test_kernels_are_legal_for_the_compiler(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """Down to machine code for a card that need not be there: cells with two stages, vectors, sums, and no matrix."""
    folder = Path(__file__).parents[2]
    kinds = ("gru:reset-before", "lstm:diagonal", f"{outside.__file__}:Normalised", "mingru")
    command = [sys.executable, "benchmarks/triton_kernels.py", "--width", "16", "--types", "bfloat16"]
    kept = getattr(pytestconfig, "cache", None)  # pytest's own; absent with `-p no:cacheprovider`
    cache = kept.mkdir("triton") if kept else tmp_path  # compiled kernels are reused
    environment = os.environ | {"TRITON_CACHE_DIR": str(cache), "PYTHONPATH": str(folder), "TRITON_INTERPRET": "0"}
    ran = subprocess.run(
        [*command, "--kinds", ",".join(kinds)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("| bfloat16 |") == 9 + 6 + 9 + 6
