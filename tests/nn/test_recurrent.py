"""Layers of any cell against the step loop of that cell."""

from typing import Any

import pytest
import torch
from support.outside import CoupledLSTM
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnncli.nn as ours
from rnncli.cells.registry import BUILT_IN
from rnncli.errors import UsageError
from rnncli.kernels.reference import scan_reference
from rnncli.models.stack import Stack, StackShape

pytestmark = pytest.mark.usefixtures("plain_loops")


def test_two_directions_are_two_scans_from_trained_first_states() -> None:
    torch.manual_seed(1)
    layer = ours.Elman(3, 5, bidirectional=True, batch_first=True, dtype=torch.float64)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(4, 6, 3, dtype=torch.float64)
    found, last = layer(x)
    for number, given in enumerate((x, x.flip(1))):
        cell: Any = layer.cells[number]
        wanted, state = scan_reference(cell, given.transpose(0, 1), cell.initial_state(4))
        wanted = wanted.flip(0) if number else wanted
        torch.testing.assert_close(found.transpose(0, 1)[..., 5 * number : 5 * number + 5], wanted, rtol=0, atol=1e-12)
        torch.testing.assert_close(last[number], state.h, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", BUILT_IN)
def test_two_layers_of_any_cell_are_two_step_loops(cell: str) -> None:
    torch.manual_seed(1)
    layer = ours.Recurrent(cell, 3, 4, 2, dtype=torch.float64)
    x = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)
    found, last = layer(x)
    below = x
    for number, one in enumerate(layer.cells):
        own: Any = one
        below, state = scan_reference(own, below, own.initial_state(2))
        for name, value in state._asdict().items():
            fields = last if torch.is_tensor(last) else last[state._fields.index(name)]
            torch.testing.assert_close(fields[number], value, rtol=0, atol=1e-12)
    torch.testing.assert_close(found, below, rtol=0, atol=1e-12)
    weights = [x, *(each for each in layer.parameters() if each.requires_grad)]
    for mine, wanted in zip(
        torch.autograd.grad(found.square().sum(), weights, allow_unused=True),
        torch.autograd.grad(below.square().sum(), weights, allow_unused=True),
        strict=True,
    ):
        assert (mine is None) == (wanted is None)
        if mine is not None:
            torch.testing.assert_close(mine, wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("cell", ["lstm:full", CoupledLSTM])
def test_packed_sequences_are_those_of_a_stack_with_lengths(cell: Any) -> None:
    torch.manual_seed(1)
    layer = ours.Recurrent(cell, 3, 5, 2, bidirectional=True, dtype=torch.float64)
    stack = Stack(3, StackShape(layer.kind, (5, 5), bidirectional=True)).double()
    stack.load_state_dict(layer.state_dict())
    x, lengths = torch.randn(6, 4, 3, dtype=torch.float64), torch.tensor([2, 6, 1, 4])
    found, last = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
    padded, sizes = pad_packed_sequence(found)
    wanted, states = stack(x, lengths=lengths)
    assert torch.equal(sizes, lengths)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(padded[:length, row], wanted[:length, row], rtol=0, atol=1e-12)
    for number, values in enumerate(zip(*states, strict=True)):
        torch.testing.assert_close(last[number], torch.stack(values), rtol=0, atol=1e-12)


def test_options_reach_the_cells() -> None:
    layer = ours.Rated(3, 5, 2, activation="relu", learn_h0=False, weight_drop=0.5)
    cells: Any = layer.cells
    assert [cell.activation for cell in cells] == ["relu", "relu"]
    assert not cells[1].h0.requires_grad
    x = torch.randn(4, 3)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    assert torch.equal(layer.eval()(x)[0], layer(x)[0])
    assert ours.Recurrent(CoupledLSTM, 3, 5, variant="peephole").state_dict()["cells.0.weight_c"].shape == (5,)


@pytest.mark.parametrize(
    ("cell", "options", "message"),
    [
        ("lsmt", {}, "^unknown cell 'lsmt'"),
        ("gru", {"variant": "never"}, "^cell gru has no variant 'never'"),
        (
            "lstm",
            {"backend": "torch"},
            "^the torch backend cannot take lstm:full: torch has no layer with its equations",
        ),
        ("lstm", {"weight_drop": -0.1}, "^Recurrent: weight_drop must be at least 0 and less than 1, not -0.1$"),
        (torch.nn.GRU, {}, "GRU is not a cell"),
    ],
)
def test_unknown_cells_and_options_are_refused(cell: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ours.Recurrent(cell, 3, 5, **options)
