"""The scan: it continues from a state, reverses sequences, runs the chosen backend; `rnncli.testing` checks cells."""

from typing import Any

import pytest
import torch
from support.kinds import KINDS

from rnncli.cells import make_cell
from rnncli.errors import UsageError
from rnncli.kernels import precision
from rnncli.kernels.scan import choose_backend, reverse_valid, scan
from rnncli.testing import backends_of

pytestmark = pytest.mark.usefixtures("plain_loops")

T, B, D, M = 7, 4, 3, 5
LENGTHS = torch.tensor([7, 1, 4, 6])


def a_cell(kind: str, dtype: torch.dtype = torch.float64) -> Any:
    torch.manual_seed(5)
    cell: Any = make_cell(kind, D, M).to(dtype)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(0, 0.6)
    return cell


@pytest.mark.parametrize("kind", KINDS)
def test_continuing_from_a_state_equals_one_pass(kind: str) -> None:
    cell = a_cell(kind)
    x = torch.randn(T, B, D, dtype=torch.float64)
    whole, last = scan(cell, x, cell.initial_state(B))
    first, state = scan(cell, x[:3], cell.initial_state(B))
    second, end = scan(cell, x[3:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-12)
    for ours, theirs in zip(end, last, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_reversal_keeps_the_padding_at_the_end() -> None:
    x = torch.arange(T * B, dtype=torch.float64).reshape(T, B, 1)
    found = reverse_valid(x, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        assert found[:length, row, 0].tolist() == x[:length, row, 0].tolist()[::-1]
        assert found[length:, row, 0].tolist() == x[length:, row, 0].tolist()
    assert torch.equal(reverse_valid(x, None), x.flip(0))


def test_chooser_names_the_backend_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_amx", lambda: False)
    assert choose_backend(a_cell("lstm:none")) == "torch"
    assert choose_backend(a_cell("lstm:none"), packed=True) == "fused"
    assert choose_backend(a_cell("lstm:none"), precision="bfloat16") == "fused"
    assert choose_backend(a_cell("gru:reset-after")) == "fused"
    assert choose_backend(a_cell("gru:reset-after"), device="cuda") == "torch"
    assert choose_backend(a_cell("lstm")) == "fused"
    assert choose_backend(a_cell("lstm"), sequences=512) == "reference"
    assert choose_backend(a_cell("elman"), sequences=512) == "torch"
    assert choose_backend(a_cell("lstm:none"), "reference") == "reference"
    with pytest.raises(UsageError, match="the torch backend cannot take rated: torch has no layer with its equations"):
        choose_backend(a_cell("rated"), "torch")
    with pytest.raises(UsageError, match="unknown backend 'warp'"):
        choose_backend(a_cell("rated"), "warp")


def test_auto_avoids_fused_for_many_sequences_and_few_units() -> None:
    cell = a_cell("lstm")
    for batch, fused in ((511, True), (512, False)):
        outputs, _ = scan(cell, torch.randn(2, batch, D, dtype=torch.float64), cell.initial_state(batch))
        assert ("LargeScan" in str(outputs.grad_fn)) == fused


@pytest.mark.parametrize("lengths", [[0, 1, 1, 1], [8, 1, 1, 1]])
def test_impossible_lengths_are_refused(lengths: list[int]) -> None:
    cell = a_cell("elman")
    with pytest.raises(ValueError, match="lengths must lie between 1 and 7"):
        scan(cell, torch.randn(T, B, D, dtype=torch.float64), cell.initial_state(B), torch.tensor(lengths))


def test_no_step_is_refused() -> None:
    cell = a_cell("elman")
    with pytest.raises(ValueError, match="x has no steps"):
        scan(cell, torch.randn(0, B, D, dtype=torch.float64), cell.initial_state(B))


@pytest.mark.cuda
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_cuda_agrees_with_the_cpu(kind: str, lengths: torch.Tensor | None) -> None:
    cell = a_cell(kind)
    x = torch.randn(T, B, D, dtype=torch.float64)
    wanted, _ = scan(cell, x, cell.initial_state(B), lengths, "reference")
    cell = cell.cuda()
    for backend in backends_of(cell, "cuda"):
        outputs, _ = scan(cell, x.cuda(), cell.initial_state(B), lengths, backend)
        torch.testing.assert_close(outputs.cpu(), wanted, rtol=0, atol=1e-10)
