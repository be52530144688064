"""The language model and the tagger against their equations; the feed-forward net against torch's layers."""

from typing import Any

import pytest
import torch
from support.covering import covering
from support.kinds import KINDS
from torch import nn
from torch.nn import functional as F

from rnncli.data.batching import Batch
from rnncli.data.features import Ragged
from rnncli.errors import UsageError
from rnncli.models import stepper
from rnncli.models.dropout import LockedDropout, WordDropout
from rnncli.models.feedforward import FeedForward
from rnncli.models.language_model import Dropouts, LanguageModel
from rnncli.models.stack import StackShape
from rnncli.models.tagger import Tagger
from rnncli.training.losses import language_loss, prediction_loss

pytestmark = pytest.mark.usefixtures("plain_loops")

V, T, B = 11, 5, 3


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("hidden", [6, 7])
def test_equals_its_equation(tied: bool, hidden: int) -> None:
    model: Any = LanguageModel(V, 6, StackShape("gru", (hidden,)), tied=tied).double().eval()
    tokens = torch.randint(V, (T, B))
    logits, _ = model(tokens)
    h, _ = model.stack(model.embedding.weight[tokens])
    if not tied:
        weight = model.output.weight
    elif hidden == 6:
        weight = model.embedding.weight
    else:
        weight = model.embedding.weight @ model.projection.weight
    torch.testing.assert_close(logits, h @ weight.T + model.bias, rtol=0, atol=1e-12)


def test_tied_weights_are_one_tensor() -> None:
    tied, free = (LanguageModel(V, 6, StackShape("gru", (6,)), tied=tied) for tied in (True, False))
    assert sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in tied.parameters()) == V * 6


def test_loss_of_a_batch_equals_that_of_its_logits() -> None:
    model: Any = LanguageModel(V, 6, StackShape("gru", (7,)), tied=True).double()
    batch = Batch(torch.randint(V, (T, B)), torch.randint(V, (T, B)))
    losses = []
    for loss in (language_loss, prediction_loss):
        model.zero_grad()
        outcome = loss(model, batch, None, smoothing=0.1)
        outcome.loss_sum.backward()
        losses.append([outcome.loss_sum.detach(), *(each.grad for each in model.parameters())])
    for ours, wanted in zip(*losses, strict=True):
        torch.testing.assert_close(ours, wanted)


@pytest.mark.usefixtures("plain_loops")
@pytest.mark.parametrize(
    ("kind", "table", "options"),
    covering(KINDS, [0, 1 << 20], [{"tied": True}, {"unit_vectors": "row"}, {"softmax": "adaptive"}], strength=2),
)
def test_stepper_equals_the_scan(
    kind: str, table: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepper, "TABLE", table)
    model: Any = LanguageModel(V, 4, StackShape(kind, (5, 16)), **options).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.6)
        tokens = torch.randint(V, (T, B))
        wanted, last = model(tokens)
        step, states = model.stepper(), model.initial_states(B)
        for row, logits in zip(tokens, wanted, strict=True):
            found, states = step(row, states)
            torch.testing.assert_close(found, logits, rtol=0, atol=1e-12)
    for state, end in zip(states, last, strict=True):
        for ours, theirs in zip(state, end, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_adaptive_softmax_refuses_tying_and_output_vectors() -> None:
    with pytest.raises(UsageError, match="leave --tied out"):
        LanguageModel(V, 6, StackShape("gru", (6,)), softmax="adaptive", tied=True)
    model = LanguageModel(V, 6, StackShape("gru", (16,)), softmax="adaptive")
    assert model.vector_layers == ("input",)
    assert model.word_vectors("input") is model.embedding.weight
    with pytest.raises(UsageError, match="output vectors of several sizes: use --layer input"):
        model.word_vectors("output")


@pytest.mark.parametrize("tied", [False, True])
def test_word_vectors_are_those_of_input_and_output(tied: bool) -> None:
    model: Any = LanguageModel(V, 6, StackShape("gru", (6,)), tied=tied)
    assert model.word_vectors("input") is model.embedding.weight
    assert model.word_vectors("output") is (model.embedding.weight if tied else model.output.weight)


def test_spelling_contributes_to_input_vectors() -> None:
    spellings = [[], [], [], [0, 2, 1], [1], [], [2, 2], [0], [], [3, 0], [1, 2]]
    model: Any = LanguageModel(V, 6, StackShape("gru", (6,)), spellings=Ragged.of(spellings)).double().eval()
    own, grams = model.embedding.weight, model.embedding.grams
    wanted = torch.stack(
        [
            own[word] + sum((grams[gram] for gram in each), torch.zeros(6)) / max(1, len(each)) ** 0.5
            for word, each in enumerate(spellings)
        ]
    )
    assert torch.allclose(model.word_vectors("input"), wanted)
    tokens = torch.randint(V, (T, B))
    assert torch.allclose(model(tokens)[0], F.linear(model.stack(wanted[tokens])[0], model.output.weight, model.bias))
    model(torch.tensor([[4, 8]]))[0].sum().backward()
    assert grams.grad.abs().sum(1).nonzero().flatten().tolist() == [1]


def test_frozen_vectors_have_no_gradient() -> None:
    model: Any = LanguageModel(V, 6, StackShape("gru", (6,)), frozen=True)
    model(torch.randint(V, (T, B)))[0].sum().backward()
    assert model.embedding.weight.grad is None
    assert model.output.weight.grad is not None


def test_init_bias_gives_the_token_frequencies() -> None:
    model = LanguageModel(4, 3, StackShape("elman", (2,)))
    counts = torch.tensor([0, 10, 30, 60])
    model.init_bias(counts)
    torch.testing.assert_close(model.bias.softmax(0), (counts + 0.5) / 102)


def test_locked_dropout_drops_the_same_features_at_every_step() -> None:
    torch.manual_seed(0)
    dropped = LockedDropout(0.3).train()(torch.ones(T, 40, 50))
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert abs(float((dropped[0] == 0).double().mean()) - 0.3) < 0.03


def test_word_dropout_drops_whole_words() -> None:
    torch.manual_seed(0)
    dropped = WordDropout(0.2).train()(torch.ones(50, 40, 3))
    assert torch.equal(dropped, dropped[:, :, :1].expand_as(dropped))
    assert abs(float((dropped == 0).double().mean()) - 0.2) < 0.03
    assert torch.equal(WordDropout(0.2).eval()(dropped), dropped)


def test_tagger_scores_every_step() -> None:
    model: Any = Tagger(3, 2, StackShape("rated", (4,))).double()
    x = torch.randn(T, B, 3, dtype=torch.float64)
    h, _ = model.stack(x)
    torch.testing.assert_close(model(x)[0], h @ model.output.weight.T + model.output.bias)


def test_feed_forward_net_equals_torchs_layers() -> None:
    model = FeedForward(4, 2, (5, 3))
    same = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2))
    same.load_state_dict({name.removeprefix("layers."): value for name, value in model.state_dict().items()})
    x = torch.randn(6, 4)
    assert torch.equal(model(x)[0], same(x))


def test_penalties_are_computed_from_the_top_layer() -> None:
    torch.manual_seed(0)
    model = LanguageModel(7, 4, StackShape("gru", (5, 6), weight_drop=0.3), dropouts=Dropouts(output=0.5))
    tokens = torch.randint(7, (5, 3))
    batch = Batch(tokens[:-1], tokens[1:])
    torch.manual_seed(1)
    outcome = language_loss(model, batch, None, activation=2.0, change=3.0)
    torch.manual_seed(1)
    h, _ = model.outputs(batch.inputs)
    kept = model.dropout(h)
    wanted = 12 * (2.0 * (kept**2).mean() + 3.0 * ((h[1:] - h[:-1]) ** 2).mean())
    torch.testing.assert_close(outcome.penalty, wanted)
    assert language_loss(model, batch, None).penalty is None
    model.eval()
    first, second = model(tokens)[0], model(tokens)[0]
    assert torch.equal(first, second)
