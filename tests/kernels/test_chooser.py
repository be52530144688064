"""The chooser's tables, row by row, on a CPU and on a simulated CUDA device."""

import sys
from typing import Any

import pytest
import torch
from support import outside
from support.kinds import BARE, KINDS, OF_TORCH

from rnncli.api import pick_device
from rnncli.cells import make_cell
from rnncli.errors import UsageError
from rnncli.kernels import precision, triton
from rnncli.kernels.chooser import ROWS, TINY, Case, Row, preferred
from rnncli.kernels.fused import trouble
from rnncli.kernels.precision import using
from rnncli.kernels.scan import choose_backend, scan

LACKED = set(KINDS) - set(OF_TORCH)
"""The cells that torch has no layer for."""


@pytest.mark.parametrize(
    ("case", "row", "first"),
    [
        (Case("cpu", "lstm:none", 200, packed=True, single=True), 0, "reference"),
        (Case("cpu", "lstm:none", 200), 1, "torch"),
        (Case("cpu", "lstm:none", 8, sequences=512), 1, "torch"),
        (Case("cpu", "lstm:none", 200, packed=True), 4, "fused"),
        (Case("cpu", "lstm:none", 200, "bfloat16", packed=True, amx=True), 4, "fused"),
        (Case("cpu", "lstm:none", 200, "bfloat16"), 4, "fused"),
        (Case("cpu", "lstm:none", 200, "bfloat16", amx=True), 2, "torch"),
        (Case("cpu", "elman", 15, sequences=512), 3, "torch"),
        (Case("cpu", "lstm:full", 15, packed=True, sequences=512), 3, "torch"),
        (Case("cpu", "elman", 16, sequences=512), 4, "fused"),
        (Case("cpu", "elman", 15, sequences=511), 4, "fused"),
        (Case("cuda", "lstm:none", 64, "bfloat16", packed=True), 5, "triton"),
        (Case("cuda", "elman", 512), 6, "triton"),
        (Case("cuda", "elman", 511), 7, "torch"),
        (Case("cuda", "elman", 512, "float16"), 7, "torch"),
        (Case("cuda", "elman", 512, "tf32"), 7, "torch"),
        (Case("cuda", "lstm:none", 650), 7, "torch"),
        (Case("cuda", "rated", 64), 7, "torch"),
        (Case("mps", "elman", 64), 8, "torch"),
    ],
)
def test_first_matching_row_decides(case: Case, row: int, first: str) -> None:
    assert next(place for place, each in enumerate(ROWS) if each.fits(case)) == row
    assert preferred(case) == ROWS[row].backends
    assert preferred(case)[0] == first
    assert preferred(case)[-1] == "reference"  # which takes every cell


def test_every_row_is_used_and_has_a_reason() -> None:
    """No row is hidden by one above it: every row decides some case."""
    cases = [
        Case(device, kind, units, name, packed, sequences, single, amx)
        for device in ("cpu", "cuda", "mps")
        for kind in KINDS
        for units in (4, 64, 512)
        for name in ("float32", "tf32", "bfloat16", "float16", "float64")
        for packed in (False, True)
        for sequences in (None, 1, 1024)
        for single in (False, True)
        for amx in (False, True)
    ]
    used: list[Row] = [next(row for row in ROWS if row.fits(case)) for case in cases]
    assert set(used) == set(ROWS)
    assert all(row.because for row in ROWS)


def test_lstms_in_bfloat16_on_amx_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norm-wise errors of values and gradients against float64, with h and c in bfloat16: 1e-4 to 2e-2."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "capabilities", lambda: {"amx_bf16": True})
    torch.manual_seed(0)
    single: Any = make_cell("lstm:none", 24, 32)
    exact: Any = make_cell("lstm:none", 24, 32).double()
    exact.load_state_dict(single.state_dict())
    x = torch.randn(12, 16, 24)
    found = []
    for cell, inputs, backend in ((single, x, "auto"), (exact, x.double(), "reference")):
        with using("bfloat16"):
            outputs, state = scan(cell, inputs, cell.initial_state(16), backend=backend)
            outputs.square().sum().backward()
        assert outputs.dtype == inputs.dtype
        found.append([outputs, *state, *(parameter.grad for parameter in cell.parameters())])
    for ours, theirs in zip(*found, strict=True):
        assert 1e-4 * theirs.norm() < (ours - theirs).norm() < 2e-2 * theirs.norm()
    with using("bfloat16"), torch.no_grad():  # validation and use stay exact
        outputs, _ = scan(single, x, single.initial_state(16))
    assert (outputs - found[1][0]).norm() < 1e-5 * found[1][0].norm()


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a CUDA device on which triton works, as far as the chooser can see."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    monkeypatch.setattr(triton, "_trial", lambda: "")


@pytest.mark.parametrize("kind", [BARE])
def test_cell_without_forms_is_traced_on_cpu_and_cuda_and_runs_by_its_step_elsewhere(
    kind: str, card: None, plain_loops: None
) -> None:
    pytest.importorskip("triton", reason="waits for triton, which installs only on Linux")
    cell: Any = make_cell(kind, 3, 64)
    assert choose_backend(cell, device="cpu") == ("reference" if trouble() else "fused")
    assert choose_backend(cell, device="cuda") == "triton"
    assert choose_backend(cell, device="mps") == "reference"
    with pytest.raises(UsageError, match=r"torch has no layer.*; use --backend reference or auto"):
        choose_backend(cell, "torch")


def test_step_that_cannot_be_traced_runs_step_by_step_on_cuda(card: None) -> None:
    pytest.importorskip("triton", reason="waits for triton, which installs only on Linux")
    cell: Any = outside.Branching(3, 64)
    assert choose_backend(cell, device="cuda") == "reference"
    refused = (
        r"the triton backend cannot take Branching: step may branch on data: any \(outside.py, line \d+\); use --b"
    )
    with pytest.raises(UsageError, match=refused):
        choose_backend(cell, "triton", "cuda")


@pytest.mark.parametrize("kind", KINDS)
def test_auto_on_cuda_takes_triton_for_cells_that_torch_lacks(kind: str, card: None) -> None:
    pytest.importorskip("triton", reason="waits for triton, which installs only on Linux")
    cell: Any = make_cell(kind, 3, 64)
    assert choose_backend(cell, device="cuda") == ("triton" if kind in LACKED else "torch")
    assert choose_backend(cell, device="cuda", packed=True) == ("triton" if kind in LACKED else "torch")
    assert choose_backend(cell, device="cuda", dtype=torch.bfloat16) == "triton"
    assert choose_backend(cell, device="cuda", dtype=torch.float64) == ("reference" if kind in LACKED else "torch")


def test_auto_on_cuda_depends_on_size_and_precision(card: None) -> None:
    pytest.importorskip("triton", reason="waits for triton, which installs only on Linux")
    cell: Any = make_cell("elman", 3, 512)
    assert choose_backend(cell, device="cuda") == "triton"
    with using("tf32"):
        assert choose_backend(cell, device="cuda") == "torch"
        with torch.no_grad():  # validated in float32
            assert choose_backend(cell, device="cuda") == "triton"
    sigmoid: Any = make_cell("elman", 3, 64, activation="sigmoid")
    assert choose_backend(sigmoid, device="cuda") == "triton"  # cuDNN has tanh and relu


def test_auto_skips_a_triton_that_does_not_work(card: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent, broken, or without a C compiler: the reason is one line, and naming the backend is an error."""
    pytest.importorskip("triton", reason="waits for triton, which installs only on Linux")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    cells: list[Any] = [make_cell(kind, 3, 64) for kind in ("rated", "lstm:none")]
    monkeypatch.setattr(triton, "_trial", lambda: "the triton backend cannot run on this CUDA device (no compiler)")
    for broken in ("no compiler", r"pip install 'rnncli\[triton\]'"):
        assert [choose_backend(cell, device="cuda", dtype=torch.bfloat16) for cell in cells] == ["reference", "torch"]
        with pytest.raises(UsageError, match=broken):
            choose_backend(cells[0], "triton", "cuda")
        monkeypatch.setitem(sys.modules, "triton", None)


def test_failing_trial_kernel_gives_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = pytest.importorskip("rnncli.kernels.triton.trial")

    def fail() -> bool:
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")

    for found, reason in (
        (fail, "the triton backend cannot run on this CUDA device (Failed to find C compiler.)"),
        (lambda: False, "the triton backend computes wrong values on this CUDA device"),
        (lambda: True, ""),
    ):
        monkeypatch.setattr(trial, "comes_out_right", found)
        assert triton._trial.__wrapped__() == reason


def test_trial_kernel_doubles_values() -> None:
    trial = pytest.importorskip("rnncli.kernels.triton.trial")
    assert trial.comes_out_right("cuda" if torch.cuda.is_available() else "cpu")


def test_auto_takes_cuda_except_for_tiny_nets(card: None) -> None:
    assert pick_device("auto") == pick_device("auto", TINY.units + 1) == "cuda"
    assert pick_device("auto", TINY.units, TINY.sequences) == "cpu"
    assert pick_device("auto", TINY.units, TINY.sequences + 1) == "cuda"
    assert pick_device("cuda", 1) == "cuda"
    with pytest.raises(UsageError, match="--device must be one of auto, cpu, cuda, mps, not 'tpu'"):
        pick_device("tpu")


@pytest.mark.parametrize(
    ("name", "device", "capability", "reason"),
    [
        ("float32", "mps", None, ""),
        ("tf32", "cpu", None, "CPUs support bfloat16 and float32, not tf32"),
        ("float16", "cpu", None, "CPUs support bfloat16 and float32, not float16"),
        ("bfloat16", "cpu", None, "this processor has no instructions for it"),
        ("bfloat16", "mps", None, "it is not supported on mps yet"),
        ("tf32", "cuda", (7, 5), "it needs a CUDA device of compute capability 8.0"),
        ("bfloat16", "cuda", (7, 5), "it needs a CUDA device of compute capability 8.0"),
        ("float16", "cuda", (7, 5), ""),
        ("float16", "cuda", (6, 1), "it needs a CUDA device of compute capability 7.0"),
        ("tf32", "cuda", (8, 0), ""),
        ("bfloat16", "cuda", (12, 0), ""),
    ],
)
def test_unsupported_precision_gives_a_reason(
    name: str, device: str, capability: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    assert precision.trouble(name, device) == reason
