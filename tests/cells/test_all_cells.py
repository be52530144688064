"""Requirements on every registered cell, present and future."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.kinds import CLASSES, KINDS, KINDS_WITH_ACTIVATIONS

from rnncli.cells import CELLS, cell_class, make_cell
from rnncli.errors import UsageError
from rnncli.kernels.scan import scan
from rnncli.testing import backends_of, examine, subject

pytestmark = pytest.mark.usefixtures("plain_loops")


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_has_a_test_of_its_equations(name: str) -> None:
    text = (Path(__file__).parent / f"test_{name}.py").read_text()
    assert "check_equations(" in text
    assert cell_class(name).name == name


@pytest.mark.parametrize(("kind", "activation"), KINDS_WITH_ACTIVATIONS)
def test_every_check_passes(kind: str, activation: str) -> None:
    for check in examine(subject(kind, activation=activation)):
        assert check.passed, check


@pytest.mark.parametrize("kind", KINDS)
def test_first_state_is_trainable_or_stays_zero(kind: str) -> None:
    for learn in (True, False):
        cell: Any = make_cell(kind, 2, 3, learn_h0=learn)
        outputs, _ = scan(cell, torch.randn(4, 2, 2), cell.initial_state(2))
        outputs.square().sum().backward()
        for field in cell.state_fields:
            first = cell.get_parameter(f"{field}0")
            is_trainable = learn and field not in cell.unread
            assert (first.grad is not None and first.grad.abs().sum() > 0) == is_trainable == first.requires_grad
            assert not first.any()


@pytest.mark.parametrize("kind", KINDS)
def test_name_and_state_have_their_names(kind: str) -> None:
    cell: Any = make_cell(kind, 2, 3)
    assert cell.state_fields[0] == "h"
    assert cell.kind == kind


def test_unknown_names_are_refused_with_a_list_of_the_known() -> None:
    with pytest.raises(UsageError, match="unknown cell 'grue': choose one of elman, rated, gru, lstm"):
        make_cell("grue", 2, 3)
    with pytest.raises(UsageError, match="cell gru has no variant 'sideways': it has reset-before, reset-after"):
        make_cell("gru:sideways", 2, 3)
    with pytest.raises(UsageError, match="cell lstm has no activation 'relu': it has tanh"):
        make_cell("lstm", 2, 3, activation="relu")
    with pytest.raises(UsageError, match="cell rated has no variant 'x': it has none"):
        make_cell("rated:x", 2, 3)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if CLASSES[kind].recurrent])
def test_weight_drop_is_one_mask_for_all_steps_and_backends(kind: str) -> None:
    torch.manual_seed(0)
    cell: Any = make_cell(kind, 3, 5).double()
    dropped = cell.with_weight_drop(0.5)
    weights, whole = dropped.recurrent_weights(), cell.recurrent_weights()
    for name, weight in weights.items():
        share = (weight == 0).double().mean()
        assert 0.3 < share < 0.7
        assert torch.equal(weight[weight != 0], 2 * whole[name][weight != 0])
    twin: Any = make_cell(kind, 3, 5).double()
    twin.load_state_dict({**cell.state_dict(), **{name: weight.detach() for name, weight in weights.items()}})
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    wanted, _ = scan(twin, x, twin.initial_state(2), backend="reference")
    wanted.sum().backward()
    for backend in backends_of(dropped):
        cell.zero_grad()
        found, _ = scan(dropped, x, dropped.initial_state(2), backend=backend)
        found.sum().backward(retain_graph=True)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
        for name, theirs in twin.named_parameters():
            kept = 2 * (weights[name] != 0) if name in weights else 1
            torch.testing.assert_close(cell.get_parameter(name).grad, theirs.grad * kept, rtol=0, atol=1e-11)
