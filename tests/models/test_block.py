"""Residual blocks against a numpy loop; padding, single steps, first weights; and every part of rnn that meets them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rnncli.analysis.gradients import flows_of
from rnncli.data.features import Lexicon
from rnncli.errors import UsageError
from rnncli.models import stepper
from rnncli.models.block import ResidualBlock
from rnncli.models.classifier import Classifier
from rnncli.models.language_model import LanguageModel
from rnncli.models.reader import ReaderShape, TokenReader
from rnncli.models.stack import Stack, StackShape
from rnncli.models.trace import trace
from rnncli.training.optimizers import make_optimizer
from rnncli.training.settings import RecurrentSettings

pytestmark = pytest.mark.usefixtures("plain_loops")


T, B, D, V = 6, 3, 4, 11
LENGTHS = torch.tensor([6, 2, 5])


def a_stack(cell: str = "elman", hidden: tuple[int, ...] = (5, 5, 3), **options: Any) -> Stack:
    """A stack in residual blocks, with weights of size 1, in float64."""
    torch.manual_seed(3)
    return drawn(Stack(D, StackShape(cell, hidden, block="residual", **options), "reference").double())


def drawn(model: Any) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.6)
    return model.eval()


def inputs() -> Tensor:
    return torch.randn(T, B, D, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def by_hand(stack: Stack, x: np.ndarray) -> np.ndarray:
    """The outputs of Elman cells in residual blocks over one sequence (T, D)."""
    weights = {name: value.detach().numpy() for name, value in stack.named_parameters()}
    for layer in range(len(stack.shape.hidden)):
        block, read = f"blocks.{layer}.", x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-8)
        h = []
        for way in range(stack.directions):
            Wx, Wh, b, state = (
                weights[f"cells.{layer * stack.directions + way}.{name}"]
                for name in ("weight_x", "weight_h", "bias", "h0")
            )
            steps = []
            for u in read[::-1] if way else read:
                state = np.tanh(Wx @ u + Wh @ state + b)
                steps.append(state)
            h.append(steps[::-1] if way else steps)
        h = np.concatenate(h, axis=-1)
        skipped = x @ weights[f"{block}skip.weight"].T if f"{block}skip.weight" in weights else x
        gate = 1 / (1 + np.exp(-(h @ weights[f"{block}gate.weight"].T + weights[f"{block}gate.bias"])))
        x = skipped + gate * (h @ weights[f"{block}projection.weight"].T)
    return x


@pytest.mark.parametrize("bidirectional", [False, True])
def test_outputs_equal_a_numpy_loop(bidirectional: bool) -> None:
    stack, x = a_stack(bidirectional=bidirectional), inputs()
    assert sum("skip" in name for name, _ in stack.named_parameters()) == 2  # the second layer has as many inputs
    outputs, _ = stack(x, lengths=LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        found = outputs[:length, row].detach().numpy()
        np.testing.assert_allclose(found, by_hand(stack, x[:length, row].numpy()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_changes_no_bit(bidirectional: bool) -> None:
    stack, found = a_stack("gru", bidirectional=bidirectional), []
    for filler in (0.0, 7.0, float("nan")):
        x = inputs().masked_fill((torch.arange(T)[:, None] >= LENGTHS)[:, :, None], filler).requires_grad_()
        outputs, states = stack(x, lengths=LENGTHS)
        valid = [outputs[:length, row] for row, length in enumerate(LENGTHS.tolist())]
        loss = sum((part**2).sum() for part in (*valid, *(state[0] for state in states)))
        found.append([*valid, *torch.autograd.grad(loss, [x, *stack.parameters()])])
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


def test_states_continue_where_they_stopped() -> None:
    stack, x = a_stack("lstm"), inputs()
    whole, _ = stack(x)
    first, states = stack(x[:2])
    second, _ = stack(x[2:], states)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", ["elman", "lstm"])
@pytest.mark.parametrize("table", [0, 1 << 20])
@torch.no_grad()
def test_single_steps_equal_the_scan(cell: str, table: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepper, "TABLE", table)
    torch.manual_seed(1)
    model = drawn(LanguageModel(V, D, StackShape(cell, (5, 5), block="residual"), tied=True, labels=2).double())
    tokens = torch.randint(V, (T, B))
    wanted, last = model(tokens, labels=torch.ones_like(tokens))
    step, states = model.stepper(1), model.initial_states(B)
    for row, logits in zip(tokens, wanted, strict=True):
        found, states = step(row, states)
        torch.testing.assert_close(found, logits, rtol=0, atol=1e-12)
    for state, end in zip(states, last, strict=True):
        torch.testing.assert_close(tuple(state), tuple(end), rtol=0, atol=1e-12)


def test_recorded_states_end_in_the_last_ones() -> None:
    stack, x = a_stack("lstm"), inputs()
    with torch.no_grad():
        _, last = stack(x)
    for states, end in zip(trace(stack, x), last, strict=True):
        torch.testing.assert_close(tuple(each[-1] for each in states), tuple(end), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_classifier_reads_the_outputs_where_each_direction_ends(bidirectional: bool) -> None:
    lexicon = Lexicon.of([["the", "bells", "toll"], ["never"]], [], min_count=1, max_length=0)
    shape = StackShape("gru", (4, 3), bidirectional=bidirectional, block="residual")
    net = drawn(Classifier(TokenReader(lexicon, ReaderShape(("words",), 5)), 2, shape).double())
    features = lexicon.encode([["the", "bells", "toll"], ["never"]])
    logits, _ = net(features.tokens(torch.tensor([0, 1])), None, features.lengths)
    for row, length in enumerate(features.lengths.tolist()):
        h, _ = net.stack(net.reader(features.tokens(torch.tensor([row]))))
        assert len(h) == length
        ends = torch.cat([h[-1, 0, :3], h[0, 0, 3:]])
        torch.testing.assert_close(logits[row], net.output(ends), rtol=0, atol=1e-12)


def test_gradients_reach_the_states_through_the_blocks() -> None:
    stack, x, direction = a_stack(), inputs(), torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    cells: Any = stack.cells
    blocks: Any = stack.blocks
    flows = flows_of(cells, x, lambda y: (y * direction).sum(), "net", 0.0, blocks)
    assert [flow.state for flow in flows] == ["h1", "h2", "h3"]

    def loss_after(shift: Tensor, t: int) -> float:
        """The loss if the first layer's state after step t were shifted, step by step."""
        states, y = stack.initial_states(B), x
        for step in range(T):
            for layer in range(3):
                y = x[step] if layer == 0 else y
                projected, skipped = stack.prepare(layer, y)
                state = cells[layer].step(projected, states[layer])
                states[layer] = state._replace(h=state.h + shift) if (layer, step) == (0, t) else state
                y = blocks[layer].join(states[layer].h, skipped)
        return float((y * direction).sum(-1)[0])

    single = flows_of(cells, x[:, :1], lambda y: (y * direction).sum(), "net", 0.0, blocks)[0]
    with torch.no_grad():
        for lag in (0, 3):
            slopes = []
            for unit in torch.eye(5, dtype=torch.float64):
                both = (loss_after(sign * 1e-6 * unit, T - 1 - lag) for sign in (1, -1))
                slopes.append((next(both) - next(both)) / 2e-6)
            assert single.norms[lag] == pytest.approx(np.linalg.norm(slopes), rel=1e-5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_deep_stack_starts_near_the_identity(cell: str) -> None:
    torch.manual_seed(0)
    stack = Stack(64, StackShape(cell, (64,) * 8, block="residual"), "reference")
    x = torch.randn(50, 4, 64)
    outputs, _ = stack(x)
    change = (outputs - x).norm() / x.norm()
    assert 0.001 < change < 0.1
    outputs.square().sum().backward()
    assert all(parameter.grad.norm() > 0 for parameter in stack.parameters())


def test_dropout_leaves_the_skip_connection_whole() -> None:
    torch.manual_seed(0)
    stack = Stack(400, StackShape("elman", (400, 400), block="residual", dropout=0.9), "reference")
    seen = []
    stack.dropout.register_forward_hook(lambda _module, args, output: seen.append((output == 0).float().mean()))
    outputs, _ = stack(torch.ones(2, 1, 400))
    assert len(seen) == 1
    assert seen[0] > 0.8
    assert (outputs > 0.5).all()


def test_without_a_block_a_stack_has_no_further_weights() -> None:
    names = Stack(D, StackShape("gru", (5, 3))).state_dict()
    assert {name.partition(".")[0] for name in names} == {"cells"}
    with pytest.raises(UsageError, match="--block must be one of none, residual, not 'both'"):
        Stack(D, StackShape("gru", (5, 3), block="both"))


def test_orthogonal_optimizers_step_the_matrices_of_blocks() -> None:
    stack = Stack(D, StackShape("gru", (5, 5), block="residual"))
    first = make_optimizer(stack, RecurrentSettings(optimizer="muon", weight_decay=0.1)).param_groups[0]
    matrices = [each for each in stack.parameters() if each.dim() == 2]
    assert first["orthogonal"]
    assert list(map(id, first["params"])) == list(map(id, matrices))
    assert sum(isinstance(each, ResidualBlock) for each in stack.modules()) == 2


def test_a_net_in_blocks_is_trained_inspected_and_shown(rnn) -> None:
    ran = rnn("train parity --bits 4 --epochs 1 --batch-size 512 --block residual --hidden 3,3 --name deep")
    assert ran.code == 0
    assert " 3-3 in residual blocks: " in ran.err
    shown = rnn("inspect deep").out
    assert "stack.blocks.0.skip.weight" in shown
    assert "stack.blocks.1.gate.bias" in shown
    assert "residual" in shown
    flows = rnn("gradients deep --length 5")
    assert (flows.code, flows.out.count("h2")) == (0, 2)
    assert rnn("activations deep --text 0110").code == 0
    ran = rnn("train parity --block both")
    assert (ran.code, ran.err) == (2, "rnn: error: --block must be one of none, residual, not 'both'\n")
