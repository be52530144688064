"""Whole cells: every one of ours and of a researcher's file is traced; what cannot be traced gives its reason."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import outside
from support.kinds import CLASSES, KINDS_WITH_ACTIVATIONS
from torch import Tensor
from torch.nn import functional as F

from rnncli.cells.base import Cell, Hidden
from rnncli.kernels.fused import FusedForm, fused_form, trouble
from rnncli.kernels.scan import scan

pytestmark = [
    pytest.mark.usefixtures("plain_loops"),
    pytest.mark.skipif(bool(trouble()), reason="waits for numba"),
]

OUTSIDE = [outside.MGU, outside.CoupledLSTM, outside.MultiplicativeLSTM, outside.LayerNormLSTM, outside.ProjectedLSTM]


@pytest.mark.parametrize(("kind", "activation"), KINDS_WITH_ACTIVATIONS)
def test_every_registered_cell_is_traced(kind: str, activation: str) -> None:
    variant = kind.partition(":")[2]
    assert isinstance(fused_form(CLASSES[kind](3, 4, variant=variant or None, activation=activation)), FusedForm)


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("Mine", OUTSIDE)
def test_outside_cells_equal_the_plain_loop(
    Mine: Any, padded: bool, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("SMALL", "SMALL_AND_SHORT"):
        monkeypatch.setattr(f"rnncli.kernels.engine.scan.{limit}", 10**9 if small else 0)
    torch.manual_seed(0)
    cell = Mine(3, 4).double()
    x = torch.randn(5, 3, 3, dtype=torch.float64)
    lengths = torch.tensor([5, 1, 3]) if padded else None
    found = []
    for backend in ("fused", "reference"):
        cell.zero_grad()
        inputs = x.clone().requires_grad_()
        outputs, state = scan(cell, inputs, cell.initial_state(3), lengths, backend)
        (outputs.square().sum() + sum(part.sin().sum() for part in state)).backward()
        found.append([outputs, *state, inputs.grad, *(parameter.grad for parameter in cell.parameters())])
    for ours, wanted in zip(*found, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_cell_may_be_traced_first_where_no_gradients_are_recorded(mode: Callable[[], Any]) -> None:
    cell: Any = outside.MGU(3, 4)
    x, before = torch.randn(5, 2, 3), torch.get_rng_state()
    with mode():
        found, _ = scan(cell, x, cell.initial_state(2), backend="fused")
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(found, scan(cell, x, cell.initial_state(2), backend="reference")[0])


def test_changed_attributes_are_traced_again() -> None:
    class Scaled(Cell[Hidden]):
        scale = 1.0

        def step(self, projected: Tensor, state: Hidden) -> Hidden:
            return Hidden(torch.tanh(projected * self.scale + state.h))

    cell: Any = Scaled(3, 4)
    x = torch.randn(5, 2, 3)
    for scale in (1.0, 0.5):
        cell.scale = scale
        found, wanted = (scan(cell, x, cell.initial_state(2), backend=name)[0] for name in ("fused", "reference"))
        torch.testing.assert_close(found, wanted)


def test_unexpected_error_of_the_engine_leaves_the_step_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a case that nobody knows")

    monkeypatch.setattr("rnncli.kernels.engine.build.emit", fail)
    cell: Any = outside.MGU(3, 4)
    assert fused_form(cell) == "the engine fails on its step: KeyError: 'a case that nobody knows'"
    assert scan(cell, torch.randn(5, 2, 3), cell.initial_state(2))[0].shape == (5, 2, 4)


calls = [0]


def counts(cell: Any, a: Tensor, h: Tensor) -> Tensor:
    calls[0] += 1
    return torch.tanh(a + h) * calls[0]


def remembers(cell: Any, a: Tensor, h: Tensor) -> Tensor:
    cell.seen = a
    return torch.tanh(a + h)


TRAPS: dict[str, tuple[Callable[[Any, Tensor, Tensor], Tensor], str]] = {
    "a counter outside": (counts, "two calls of step compute different operations"),
    "an attribute": (remembers, r"step changes the cell's attributes \(seen\)"),
    "a branch on data": (lambda c, a, h: a if h.sum() > 0 else h, r"step reduces over the batch \(test_cells.py, line"),
    "a value as a number": (
        lambda c, a, h: a + h * float(c.bias[0]),
        r"step reads a tensor's value, so that it may branch on data \(test_cells.py, line \d+\)",
    ),
    "dropout": (lambda c, a, h: F.dropout(a + h, 0.5), r"bernoulli is random \(test_cells.py, line \d+\)"),
    "noise": (lambda c, a, h: a + torch.randn_like(h), r"randn_like is random \(test_cells.py, line \d+\)"),
    "a mean of the batch": (lambda c, a, h: a + h.mean(0), r"step reduces over the batch \(test_cells.py, line \d+\)"),
    "another sequence": (lambda c, a, h: a + h.flip(0), r"step mixes the sequences of the batch \(test_cells.py, line"),
    "the batch's size": (lambda c, a, h: (a + h) / len(a), "step computes different operations for different batches"),
    "a changed state": (
        lambda c, a, h: a + h.mul_(0.5),
        "mul_ changes the state, or a tensor that is in use",
    ),
    "an unknown operation": (
        lambda c, a, h: torch.fft.fft(a + h).real,
        r"the engine has no rule for _fft_r2c \(test_cells.py, line \d+\)",
    ),
    "a product of states": (
        lambda c, a, h: (a[:, None, :] @ h[:, :, None])[:, 0] + a,
        "step multiplies two matrices that both depend on the state",
    ),
    "an error": (lambda c, a, h: a.nonsense(), "step fails in double precision: AttributeError: "),
}


@pytest.mark.parametrize("name", TRAPS)
def test_traps_are_refused_with_their_reason(name: str) -> None:
    function, reason = TRAPS[name]

    class Trap(Cell[Hidden]):
        def step(self, projected: Tensor, state: Hidden) -> Hidden:
            return Hidden(function(self, projected, state.h))

    found: Any = fused_form(Trap(3, 4))
    assert re.match(reason, found), found
    assert "\n" not in found


def test_code_of_a_cell_is_printed(rnn: Callable[[str], Any]) -> None:
    shown = rnn("inspect --cell lstm:none --code")
    assert (shown.code, shown.err) == (0, "")
    assert "def forward_0(" in shown.out
    assert "def backward(" in shown.out
    file = outside.__file__
    refused = rnn(f"inspect --cell {file}:Branching --code")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "there are no loops for Branching: step may branch on data: any (outside.py, line " in refused.err


def test_training_says_why_a_cell_runs_step_by_step(rnn: Callable[[str], Any], home: Any) -> None:
    ran = rnn(f"train parity --cell {outside.__file__}:Counting --bits 3 --hidden 2 --epochs 1")
    assert "the cell runs step by step, slowly: step changes the cell's attributes (" in ran.err
