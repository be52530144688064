"""The scan: padding never matters, backends agree, directions mirror each other, and the chooser names what runs."""

from typing import Any

import pytest
import torch
from support.kinds import KINDS, backends_of

from rnncli.cells import make_cell
from rnncli.errors import UsageError
from rnncli.kernels.scan import choose_backend, reverse_valid, scan

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
@pytest.mark.parametrize("filler", [0.0, -3.5, float("inf"), float("nan")])
def test_padding_changes_no_bit_of_values_or_gradients(kind: str, filler: float) -> None:
    cell = a_cell(kind, torch.float32)
    x = torch.randn(T, B, D)
    padding = torch.arange(T)[:, None] >= LENGTHS
    for backend in backends_of(cell):
        results = []
        for value in (x, x.masked_fill(padding[:, :, None], filler)):
            cell.zero_grad()
            outputs, state = scan(cell, value, cell.initial_state(B), LENGTHS, backend)
            (outputs.sum() + sum(part.square().sum() for part in state)).backward()
            results.append([outputs, *state, *(parameter.grad for parameter in cell.parameters())])
        for clean, padded in zip(*results, strict=True):
            assert torch.equal(clean, padded)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_padded_sequence_equals_itself_without_padding(kind: str, dtype: torch.dtype, tolerance: float) -> None:
    cell = a_cell(kind, dtype)
    x = torch.randn(T, B, D, dtype=dtype)
    for backend in backends_of(cell):
        outputs, state = scan(cell, x, cell.initial_state(B), LENGTHS, backend)
        for row, length in enumerate(LENGTHS.tolist()):
            alone, last = scan(cell, x[:length, row : row + 1], cell.initial_state(1), backend=backend)
            close = {"rtol": 0, "atol": tolerance}
            torch.testing.assert_close(outputs[:length, row], alone[:, 0], **close)
            torch.testing.assert_close(outputs[length:, row], alone[-1].expand(T - length, -1), **close)
            for ours, theirs in zip(state, last, strict=True):
                torch.testing.assert_close(ours[row], theirs[0], **close)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_backends_agree_on_values_and_gradients(kind: str, lengths: torch.Tensor | None) -> None:
    cell = a_cell(kind)
    x = torch.randn(T, B, D, dtype=torch.float64)
    results = []
    for backend in backends_of(cell):
        cell.zero_grad()
        outputs, state = scan(cell, x, cell.initial_state(B), lengths, backend)
        (outputs.square().sum() + sum(part.sum() for part in state)).backward()
        results.append([outputs, *state, *(parameter.grad for parameter in cell.parameters())])
    for result in results[1:]:
        for ours, theirs in zip(result, results[0], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


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


def test_chooser_names_the_backend_that_runs() -> None:
    assert choose_backend(a_cell("lstm:none")) == "torch"
    assert choose_backend(a_cell("lstm:none"), packed=True) == "fused"
    assert choose_backend(a_cell("lstm:none"), precision="bfloat16") == "fused"
    assert choose_backend(a_cell("gru:reset-after")) == "fused"
    assert choose_backend(a_cell("gru:reset-after"), device="cuda") == "torch"
    assert choose_backend(a_cell("lstm")) == "fused"
    assert choose_backend(a_cell("lstm"), sequences=512) == "reference"
    assert choose_backend(a_cell("elman"), sequences=512) == "torch"
    assert choose_backend(a_cell("lstm:none"), "reference") == "reference"
    with pytest.raises(UsageError, match="torch has no layer with the equations of"):
        choose_backend(a_cell("rated"), "torch")
    with pytest.raises(UsageError, match="unknown backend 'warp'"):
        choose_backend(a_cell("rated"), "warp")


def test_auto_avoids_fused_for_many_sequences_and_few_units() -> None:
    cell = a_cell("lstm")
    for batch, fused in ((511, True), (512, False)):
        outputs, _ = scan(cell, torch.randn(2, batch, D, dtype=torch.float64), cell.initial_state(batch))
        assert ("FusedScan" in str(outputs.grad_fn)) == fused


@pytest.mark.parametrize("lengths", [[0, 1, 1, 1], [8, 1, 1, 1]])
def test_impossible_lengths_are_refused(lengths: list[int]) -> None:
    cell = a_cell("elman")
    with pytest.raises(ValueError, match="lengths must lie between 1 and 7"):
        scan(cell, torch.randn(T, B, D, dtype=torch.float64), cell.initial_state(B), torch.tensor(lengths))


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
