"""Stacks: layers of unequal size, both directions against torch's bidirectional layers, carried states."""

from typing import Any

import pytest
import torch
from support.kinds import CPU_BACKENDS, KINDS
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnncli.models.stack import Stack, StackShape, detach

T, B, D = 6, 3, 4
LENGTHS = torch.tensor([6, 2, 5])


@pytest.mark.usefixtures("plain_loops")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers_may_differ_in_size(kind: str, bidirectional: bool) -> None:
    stack = Stack(D, StackShape(kind, (5, 3), bidirectional=bidirectional))
    outputs, states = stack(torch.randn(T, B, D), lengths=LENGTHS)
    directions = 2 if bidirectional else 1
    assert outputs.shape == (T, B, 3 * directions)
    assert stack.output_size == 3 * directions
    assert [state[0].shape[1] for state in states] == [5] * directions + [3] * directions


@pytest.mark.parametrize(("kind", "Layer"), [("elman", nn.RNN), ("lstm:none", nn.LSTM)])
@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_both_directions_equal_torch(kind: str, Layer: Any, backend: str) -> None:
    torch.manual_seed(2)
    stack = Stack(D, StackShape(kind, (5, 5), bidirectional=True), backend).double()
    layer = Layer(D, 5, num_layers=2, bidirectional=True).double()
    with torch.no_grad():
        for place, cell in enumerate(stack.cells):
            end = f"_l{place // 2}{'_reverse' if place % 2 else ''}"
            getattr(layer, f"weight_ih{end}").copy_(cell.weight_x)
            getattr(layer, f"weight_hh{end}").copy_(cell.weight_h)
            getattr(layer, f"bias_ih{end}").copy_(cell.bias)
            getattr(layer, f"bias_hh{end}").zero_()
    x = torch.randn(T, B, D, dtype=torch.float64)
    ours, states = stack(x, lengths=LENGTHS)
    packed, last = layer(pack_padded_sequence(x, LENGTHS, enforce_sorted=False))
    theirs, _ = pad_packed_sequence(packed)
    valid = torch.arange(T)[:, None] < LENGTHS
    torch.testing.assert_close(ours[valid], theirs[valid], rtol=0, atol=1e-12)
    last_h = last[0] if isinstance(last, tuple) else last
    for place, state in enumerate(states):
        torch.testing.assert_close(state[0], last_h[place], rtol=0, atol=1e-12)


def test_states_continue_where_they_stopped() -> None:
    stack = Stack(D, StackShape("lstm", (5, 3))).double()
    x = torch.randn(T, B, D, dtype=torch.float64)
    whole, _ = stack(x)
    first, states = stack(x[:2])
    second, _ = stack(x[2:], states)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-12)


def test_detached_states_keep_names_and_drop_the_graph() -> None:
    stack = Stack(D, StackShape("lstm", (5,)))
    _, states = stack(torch.randn(T, B, D))
    assert states[0][0].requires_grad
    (state,) = detach(states)
    assert type(state) is type(states[0])
    assert not any(value.requires_grad for value in state)


def test_dropout_between_layers_is_one_mask_for_all_steps() -> None:
    torch.manual_seed(0)
    stack = Stack(D, StackShape("elman", (400, 5), dropout=0.4))
    seen = []
    stack.dropout.register_forward_hook(lambda _module, args, output: seen.append(output / args[0]))
    stack(torch.randn(T, B, D))
    (factors,) = seen
    kept = (factors[0] > 0).double().mean()
    assert abs(kept - 0.6) < 0.05
    assert torch.allclose(factors, factors[0].expand_as(factors), atol=1e-5)
    stack.eval()
    outputs = [stack(torch.ones(T, B, D))[0] for _ in range(2)]
    assert torch.equal(*outputs)
