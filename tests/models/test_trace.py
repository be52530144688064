"""The states after every step, against torch's own layer run one step at a time."""

import torch
from support.torch_layers import NAMES

from rnncli.models.stack import Stack, StackShape
from rnncli.models.trace import WINDOW, trace


def test_states_equal_torchs_layers_step_by_step() -> None:
    torch.manual_seed(1)
    stack = Stack(3, StackShape("lstm:none", (5, 4))).double()
    x = torch.randn(WINDOW + 7, 2, 3, dtype=torch.float64)
    found, read = trace(stack, x), x
    with torch.no_grad():
        for cell, states in zip(stack.cells, found, strict=True):
            layer = torch.nn.LSTM(cell.input_size, cell.hidden_size).double()
            for ours, theirs in NAMES.items():
                getattr(layer, theirs).copy_(getattr(cell, ours))
            layer.bias_hh_l0.zero_()
            last = tuple(part[None].contiguous() for part in cell.initial_state(2))
            for step, here in enumerate(read):
                _, last = layer(here[None], last)
                for ours, theirs in zip(states, last, strict=True):
                    torch.testing.assert_close(ours[step], theirs[0], rtol=0, atol=1e-10)
            read = states.h


def test_both_directions_are_indexed_by_the_read_step() -> None:
    torch.manual_seed(2)
    stack = Stack(3, StackShape("gru", (4, 2), bidirectional=True)).double()
    x = torch.randn(9, 2, 3, dtype=torch.float64)
    outputs, _ = stack(x)
    top = trace(stack, x)[-2:]
    torch.testing.assert_close(torch.cat([state[0] for state in top], dim=-1), outputs.detach(), rtol=0, atol=1e-10)
