"""The triton backend against the reference: compiled on a CUDA device, else interpreted on the CPU."""

import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from support.kinds import TRITON, with_activations

from rnncli.api import restore
from rnncli.cells import make_cell
from rnncli.cells.base import Hidden
from rnncli.cells.elman import Elman
from rnncli.errors import RnnError, UsageError
from rnncli.kernels.scan import choose_backend, scan
from rnncli.training.checkpoint import read as read_checkpoint

pytest.importorskip("triton", reason="waits for triton, which installs only on Linux")

from rnncli.kernels.triton import graphs
from rnncli.kernels.triton import scan as triton_scan
from rnncli.kernels.triton.recipes import RECIPES
from rnncli.kernels.triton.scan import (
    Loop,
    OnChip,
    Stepwise,
    choose_tier,
    concat_weights,
    on_chip_bytes,
    shared_memory,
    unroll,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TIERS = [OnChip, Stepwise]
LENGTHS = torch.tensor([3, 1, 2])


def a_cell(kind: str, D: int, M: int, activation: str | None = None) -> Any:
    torch.manual_seed(7)
    cell: Any = make_cell(kind, D, M, activation=activation).to(DEVICE)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(0, 1.5 / M**0.5)
    return cell


def results(
    cell: Any, x: torch.Tensor, lengths: torch.Tensor | None = None, tier: type[Loop] | None = None
) -> list[torch.Tensor]:
    """Return outputs, last state and all gradients, from a tier of the backend or from the reference."""
    cell.zero_grad()
    x = x.to(DEVICE, copy=True).requires_grad_()
    state = cell.initial_state(x.shape[1])
    if tier is None:
        outputs, last = scan(cell, x, state, lengths, "reference")
    else:
        outputs, last = unroll(cell.triton_form(), x, state, lengths, tier)
    loss = outputs.float().square().sum() + sum((k + 2) * field.float().sum() for k, field in enumerate(last))
    loss.backward()
    return [outputs, *last, x.grad, *(parameter.grad for parameter in cell.parameters())]


def assert_equal(ours: list[torch.Tensor], wanted: list[torch.Tensor], tolerance: float) -> None:
    for found, right in zip(ours, wanted, strict=True):
        assert found.shape == right.shape
        assert (found.double() - right.double()).norm() <= tolerance * right.double().norm().clamp(min=1e-3)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(("kind", "activation"), with_activations(TRITON))
def test_equals_the_reference_where_sequences_end_early(kind: str, activation: str, tier: type[Loop]) -> None:
    cell = a_cell(kind, 3, 5, activation)
    x = torch.randn(3, 3, 3)
    assert_equal(results(cell, x, LENGTHS, tier), results(cell, x, LENGTHS), 1e-5)


SHAPES = [(1, 1, 3, 1), (2, 17, 2, 5), (2, 2, 3, 70)]
FITTING = [
    (kind, tier, *shape)
    for kind in TRITON
    for tier in TIERS
    for shape in SHAPES
    if tier is Stepwise
    or DEVICE == "cpu"  # interpreted, nothing is too large
    or on_chip_bytes(RECIPES[kind], shape[-1], torch.float32) <= shared_memory(torch.device(DEVICE))
]


@pytest.mark.parametrize(("kind", "tier", "T", "B", "D", "M"), FITTING)
def test_equals_the_reference_in_every_shape(kind: str, tier: type[Loop], T: int, B: int, D: int, M: int) -> None:
    cell = a_cell(kind, D, M)
    x = torch.randn(T, B, D)
    assert_equal(results(cell, x, None, tier), results(cell, x), 1e-5)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("T", "B", "D", "M"), [(200, 33, 64, 64), (60, 16, 128, 128), (40, 70, 200, 200), (20, 64, 512, 512)]
)
@pytest.mark.parametrize("kind", TRITON)
def test_compiled_kernels_equal_the_reference(kind: str, T: int, B: int, D: int, M: int, dtype: torch.dtype) -> None:
    """In the chosen tier, against float64; half precision within its rounding."""
    cell = a_cell(kind, D, M)
    x = torch.randn(T, B, D)
    lengths = torch.randint(1, T + 1, (B,))
    wanted = results(a_cell(kind, D, M).double(), x.double(), lengths)
    ours = cell.to(dtype)
    chosen = choose_tier(RECIPES[kind], concat_weights(ours.triton_form(), dtype)[0])
    assert_equal(results(ours, x.to(dtype), lengths, chosen), wanted, 1e-5 if dtype == torch.float32 else 0.05)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", TRITON)
def test_half_precision_errs_by_its_rounding(kind: str, tier: type[Loop]) -> None:
    cell = a_cell(kind, 3, 5)
    x = torch.randn(3, 3, 3)
    wanted = results(cell, x, LENGTHS)
    assert_equal(results(cell.half(), x.half(), LENGTHS, tier), wanted, 0.01)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", TRITON)
def test_nothing_is_kept_without_a_backward_pass(kind: str, tier: type[Loop], monkeypatch: pytest.MonkeyPatch) -> None:
    cell = a_cell(kind, 3, 5)
    x = torch.randn(3, 3, 3, device=DEVICE)
    tapes = []
    forward = tier.forward
    monkeypatch.setattr(
        tier, "forward", lambda self, x, tape, *rest: (tapes.append(tape), forward(self, x, tape, *rest))
    )
    with torch.no_grad():
        outputs, last = unroll(cell.triton_form(), x, cell.initial_state(3), LENGTHS, tier)
        wanted, wanted_last = scan(cell, x, cell.initial_state(3), LENGTHS, "reference")
    assert_equal([outputs, *last], [wanted, *wanted_last], 1e-5)
    assert sum(len(value) for value in tapes[0]) == 4 * len(last) + len(tapes[0]) - len(last)


@pytest.mark.parametrize(("kind", "activation"), with_activations(TRITON))
def test_extreme_inputs_do_not_overflow_or_hide_a_nan(kind: str, activation: str) -> None:
    cell = a_cell(kind, 1, 2, activation)
    x = torch.tensor([[[-3e4]], [[3e4]], [[float("nan")]]])
    ours = results(cell, x, None, OnChip)
    assert ours[0][:2].isfinite().all()
    assert ours[0][2].isnan().all()
    assert_equal([ours[0][:2]], [results(cell, x)[0][:2]], 1e-5)


@pytest.mark.parametrize("kind", ["gru:reset-before", "lstm:diagonal"])
def test_replayed_graph_equals_single_launches(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CUDA, the launches run again instead of a recording: copies, keys and buffers are the same."""
    recorded, record = [], graphs.record if DEVICE == "cuda" else lambda launches: launches
    monkeypatch.setattr(graphs, "_seen", OrderedDict())
    monkeypatch.setattr(graphs, "recordable", lambda tensors: True)
    monkeypatch.setattr(graphs, "record", lambda launches: (recorded.append(launches), record(launches))[1])
    cell = a_cell(kind, 3, 5)
    for _ in range(4):
        x = torch.randn(3, 3, 3)
        assert_equal(results(cell, x, LENGTHS, Stepwise), results(cell, x, LENGTHS), 1e-5)
    assert len(recorded) == 2  # forward and backward
    monkeypatch.setattr(graphs, "MAX_GRAPHS", 2)
    results(cell, torch.randn(1, 1, 3), None, Stepwise)
    assert len(recorded) == len(graphs._seen) == 2


def test_second_derivative_is_refused() -> None:
    cell = a_cell("elman", 1, 2)
    outputs, _ = unroll(cell.triton_form(), torch.ones(1, 1, 1, device=DEVICE), cell.initial_state(1))
    with pytest.raises(RnnError, match="the triton backend has no second derivatives"):
        torch.autograd.grad(outputs.sum(), cell.weight_h, create_graph=True)


def test_small_cells_run_on_chip() -> None:
    def tier(kind: str, M: int, dtype: torch.dtype) -> type[Loop]:
        matrices = torch.empty(sum(term.dense for term in RECIPES[kind].terms) * M, M, dtype=dtype)
        return choose_tier(RECIPES[kind], matrices)

    assert tier("elman", 128, torch.float32) is tier("lstm:none", 128, torch.bfloat16) is OnChip
    assert tier("elman", 200, torch.float32) is tier("lstm:full", 128, torch.bfloat16) is Stepwise


@pytest.mark.parametrize("kind", TRITON)
def test_tier_on_chip_is_taken_only_where_it_fits(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card with one byte less than the tier needs gets the other tier; with exactly as much, this one."""
    matrices = torch.empty(sum(term.dense for term in RECIPES[kind].terms) * 70, 70)
    needed = on_chip_bytes(RECIPES[kind], 70, torch.float32)
    assert needed > matrices.numel() * 2 * 4  # a float32 is stored as two of TF32
    for there, tier in ((needed - 1, Stepwise), (needed, OnChip)):
        monkeypatch.setattr(triton_scan, "shared_memory", lambda _, there=there: there)
        assert choose_tier(RECIPES[kind], matrices) is tier


def test_unsupported_cases_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = a_cell("rated", 3, 5)
    assert choose_backend(cell, "triton", DEVICE) == "triton"
    with pytest.raises(UsageError, match="computes in float32, float16 and bfloat16, not float64; use --backend"):
        choose_backend(cell, "triton", DEVICE, torch.float64)
    monkeypatch.setattr(cell, "triton_form", lambda: None)
    with pytest.raises(UsageError, match="the triton backend has no kernels for rated; use --backend"):
        choose_backend(cell, "triton", DEVICE)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(UsageError, match=r"needs triton, .*: pip install 'rnncli\[triton\]'; use --backend"):
        choose_backend(cell, "triton", DEVICE)


def test_overridden_step_inherits_no_recipe() -> None:
    class Doubled(Elman):
        def step(self, projected: torch.Tensor, state: Hidden) -> Hidden:
            return super().step(2 * projected, state)

    with pytest.raises(UsageError, match="the triton backend has no kernels for Doubled"):
        choose_backend(Doubled(3, 5), "triton", DEVICE)


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
    """Down to machine code for a card that need not be there; two cells that need every branch of the kernels."""
    folder = Path(__file__).parents[2]
    command = [sys.executable, "benchmarks/triton_kernels.py", "--width", "16", "--types", "bfloat16"]
    kept = getattr(pytestconfig, "cache", None)  # pytest's own; absent with `-p no:cacheprovider`
    cache = kept.mkdir("triton") if kept else tmp_path  # compiled kernels are reused
    environment = os.environ | {"TRITON_CACHE_DIR": str(cache), "PYTHONPATH": str(folder), "TRITON_INTERPRET": "0"}
    ran = subprocess.run(
        [*command, "--kinds", "gru:reset-before,gru:reset-after,lstm:diagonal"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("| bfloat16 |") == 9 + 6 + 6
