"""Recomputed scans against those that keep everything: values, gradients, and what is kept."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rnncli import nn as ours
from rnncli.cells import make_cell
from rnncli.cells.base import Cell, Hidden
from rnncli.errors import RnnError
from rnncli.kernels.fused import trouble
from rnncli.kernels.scan import scan
from rnncli.models.stack import Stack, StackShape

BACKENDS = ["reference", "torch", pytest.param("fused", marks=pytest.mark.skipif(bool(trouble()), reason="no numba"))]


def results(cell: Any, x: Tensor, lengths: Tensor | None, backend: str, recompute: bool) -> tuple[Tensor, ...]:
    x = x.clone().requires_grad_()
    outputs, state = scan(cell, x, cell.initial_state(x.shape[1]), lengths, backend, recompute=recompute)
    loss = outputs.square().sum() + sum((place + 1) * part.sin().sum() for place, part in enumerate(state))
    return outputs, *state, *torch.autograd.grad(loss, [x, *cell.parameters()])


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", ["gru:reset-after", "lstm:none"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_recomputed_scan_is_the_same(
    backend: str, kind: str, padded: bool, plain_loops: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnncli.kernels.recompute.MIN_STEPS", 4)
    monkeypatch.setattr("rnncli.kernels.engine.scan.SMALL", 0)
    torch.manual_seed(0)
    cell: Any = make_cell(kind, 3, 4).double()
    x, lengths = torch.randn(11, 2, 3, dtype=torch.float64), torch.tensor([11, 5]) if padded else None
    torch.testing.assert_close(*(results(cell, x, lengths, backend, recompute) for recompute in (False, True)))


@pytest.mark.parametrize("backend", [BACKENDS[0], BACKENDS[2]])
def test_gates_are_not_kept(backend: str, plain_loops: None) -> None:
    """Between the passes, tensors hold h, the input, and the states between pieces of 16 steps."""
    cell: Any = make_cell("lstm:full", 8, 8)
    x, kept = torch.randn(64, 4, 8), []
    for recompute in (False, True):
        sizes: dict[int, int] = {}

        def pack(value: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            storage = value.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            results = scan(cell, x, cell.initial_state(4), backend=backend, recompute=recompute)
        kept.append(sum(sizes.values()))
        del results
    assert kept[1] < kept[0] / 5


class Noisy(Cell[Hidden]):
    """A unit whose step draws random numbers."""

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        return Hidden(torch.tanh(projected + F.dropout(F.linear(state.h, self.weight_h), 0.5)))


def test_random_steps_draw_the_same_numbers_again() -> None:
    torch.manual_seed(0)
    cell, x, found = Noisy(3, 4), torch.randn(40, 2, 3), []
    for recompute in (False, True):
        torch.manual_seed(1)
        found.append(results(cell, x, None, "reference", recompute))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_stacks_and_layers_can_recompute(
    bidirectional: bool, plain_loops: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnncli.kernels.recompute.MIN_STEPS", 4)
    x, found = torch.randn(10, 2, 3), []
    for recompute in (False, True):
        torch.manual_seed(0)
        shape = StackShape("elman", (4, 5), bidirectional=bidirectional, recompute=recompute)
        layer = ours.LSTM(3, 4, 2, bidirectional=bidirectional, peepholes="full", recompute=recompute)
        outputs = [net(x)[0].square().sum() for net in (Stack(3, shape, "reference"), layer)]
        found.append([*outputs, *torch.autograd.grad(outputs[1], list(layer.parameters()))])
    torch.testing.assert_close(*found)


@pytest.mark.skipif(bool(trouble()), reason="waits for numba")
def test_second_derivatives_are_refused_as_without(plain_loops: None) -> None:
    cell: Any = make_cell("elman", 3, 4)
    outputs, _ = scan(cell, torch.randn(20, 2, 3), cell.initial_state(2), backend="fused", recompute=True)
    with pytest.raises(RnnError, match="no second derivatives"):
        torch.autograd.grad(outputs.sum(), cell.weight_h, create_graph=True)
