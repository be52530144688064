"""Attention against a loop of its formulas; padding has no effect; steps equal the scan; beams against brute force."""

from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

from rnncli.data.batching import Batch
from rnncli.data.pairs import Pair, SentencePairs, side_by_side
from rnncli.data.vocabulary import END, START
from rnncli.models import BLOCKS
from rnncli.models.attention import Attention
from rnncli.models.decoding import beam_search
from rnncli.models.stack import StackShape
from rnncli.models.translator import Translator
from rnncli.tasks.translate import ATTENTIONS
from rnncli.training.losses import language_loss

pytestmark = pytest.mark.usefixtures("plain_loops")

V = 7
PAIRS = [([3, 4], [5]), ([3, 4, 5, 6, 3], [4, 4, 3]), ([6], [3, 5, 6, 4]), ([5, 5, 4], [3])]


def translator(attention: str = "general", cell: str = "lstm:none", block: str = "none", **more: Any) -> Translator:
    torch.manual_seed(1)
    model = Translator(V, 4, StackShape(cell, (3, 5), block=block), attention=attention, **more).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.6)
    return model.eval()


def batch_of(rows: list[int]) -> Batch:
    return SentencePairs.of(PAIRS, torch.device("cpu")).rows(torch.tensor(rows))


def score_by_hand(attention: Attention, h: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    if attention.kind == "dot":
        half = len(memory) // 2
        return h @ (memory[:half] + memory[half:])
    if attention.kind == "general":
        return h @ (attention.key.weight @ memory)
    return attention.score @ torch.tanh(attention.query(h) + attention.key.weight @ memory)


@pytest.mark.parametrize("kind", ATTENTIONS[1:])
def test_attention_equals_a_loop_of_its_formulas(kind: str) -> None:
    torch.manual_seed(0)
    attention = Attention(kind, 3, 6, 2).double()
    h, memory = torch.randn(2, 4, 3).double(), torch.randn(2, 5, 6).double()
    lengths = [5, 2]
    padding = torch.arange(5) >= torch.tensor(lengths)[:, None]
    context, weights = attention(h, attention.keys(memory), memory, padding)
    for b, t in product(range(2), range(4)):
        scores = torch.stack([score_by_hand(attention, h[b, t], memory[b, s]) for s in range(lengths[b])])
        probs = scores.exp() / scores.exp().sum()
        torch.testing.assert_close(weights[b, t, : lengths[b]], probs)
        assert not weights[b, t, lengths[b] :].any()
        torch.testing.assert_close(context[b, t], (probs[:, None] * memory[b, : lengths[b]]).sum(0))


@pytest.mark.parametrize("kind", ATTENTIONS[1:])
def test_gradients_of_attention_are_correct(kind: str) -> None:
    torch.manual_seed(0)
    attention = Attention(kind, 3, 6, 2).double()
    h, memory = (torch.randn(2, n, m, dtype=torch.float64, requires_grad=True) for n, m in ((2, 3), (4, 6)))
    padding = torch.tensor([[False] * 4, [False, False, True, True]])
    assert torch.autograd.gradcheck(
        lambda h, memory, *_: attention(h, attention.keys(memory), memory, padding),
        (h, memory, *attention.parameters()),
    )


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("bidirectional", [True, False])
def test_padding_changes_no_score_and_no_gradient(attention: str, bidirectional: bool) -> None:
    model = translator(attention, bidirectional=bidirectional)
    together = batch_of([0, 1, 2, 3])
    logits = model(together.inputs)
    language_loss(model, together, None).loss_sum.backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    for row in range(4):
        alone = batch_of([row])
        torch.testing.assert_close(logits[: len(alone.targets), row], model(alone.inputs)[:, 0])
        language_loss(model, alone, None).loss_sum.backward()
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
@pytest.mark.parametrize("block", BLOCKS)
def test_steps_equal_the_scan(attention: str, cell: str, block: str) -> None:
    model = translator(attention, cell, block)
    batch = batch_of([1])
    encoded, states = model.encode(batch.inputs.source, batch.inputs.lengths)
    states = [encoded, *states]
    for token, logits in zip(batch.inputs.target, model(batch.inputs), strict=True):
        found, states = model.step(token, states)
        torch.testing.assert_close(found, logits)


def copy_weights(layer: nn.LSTM, ending: str, cell: nn.Module) -> None:
    """Copy a cell's weights to one direction of torch's layer."""
    with torch.no_grad():
        for name, wanted in (("weight_ih", cell.weight_x), ("weight_hh", cell.weight_h), ("bias_ih", cell.bias)):
            getattr(layer, f"{name}_l0{ending}").copy_(wanted)
        getattr(layer, f"bias_hh_l0{ending}").zero_()


@pytest.mark.parametrize("bidirectional", [True, False])
def test_equals_torchs_layers_combined(bidirectional: bool) -> None:
    """Encoder, first states of every layer, decoder, attention by a loop, and output layer, for one unpadded pair."""
    model = translator(bidirectional=bidirectional)
    pair, both = batch_of([1]).inputs, 1 + bidirectional
    encoder = nn.ModuleList(
        nn.LSTM(inputs, size, bidirectional=bidirectional).double()
        for inputs, size in zip((4, 3 * both), (3, 5), strict=True)
    )
    x, last = model.embedding(pair.source), []
    for layer, theirs in enumerate(encoder):
        for direction, ending in enumerate(("", "_reverse")[:both]):
            copy_weights(theirs, ending, model.encoder.cells[layer * both + direction])
        first = [
            torch.stack([cell.initial_state(1)[field] for cell in model.encoder.cells[layer * both :][:both]])
            for field in (0, 1)
        ]
        x, states = theirs(x, first)
        last.append(states)
    memory, h = x[:, 0], model.embedding(pair.target)
    starts = iter(model.starts)
    for layer, size in enumerate((3, 5)):
        theirs = nn.LSTM(h.shape[-1], size).double()
        copy_weights(theirs, "", model.decoder.cells[layer])
        first = [torch.tanh(next(starts)(state.transpose(0, 1).flatten(1)))[None] for state in last[layer]]
        h, _ = theirs(h, first)
    for t, logits in enumerate(model(pair)[:, 0]):
        weights = torch.stack([h[t, 0] @ model.attention.key.weight @ step for step in memory]).softmax(0)
        combined = torch.tanh(model.joint.weight @ torch.cat([weights @ memory, h[t, 0]]))
        wanted = (model.embedding.weight if model.weight is None else model.weight) @ combined + model.bias
        torch.testing.assert_close(logits, wanted)


def every_translation(model: Translator, source: torch.Tensor, max_length: int) -> list[tuple[float, tuple[int, ...]]]:
    """Return all targets of a source (S, 1) up to END or the length, each scored by the scan, best first."""
    found = []
    for length in range(max_length + 1):
        for words in product([token for token in range(V) if token not in (START, END)], repeat=length):
            target = torch.tensor([START, *words])[:, None]
            probs = model(Pair(source, torch.tensor([len(source)]), target))[:, 0].log_softmax(-1)
            scored = [*words, END] if length < max_length else words
            found.append((sum(float(probs[place, token]) for place, token in enumerate(scored)) / len(scored), words))
    return sorted(found, reverse=True)


def greedy(model: Translator, source: torch.Tensor, max_length: int) -> list[int]:
    """Return the likeliest token after each one, by the scan over all before it."""
    words: list[int] = []
    while len(words) < max_length:
        logits = model(Pair(source, torch.tensor([len(source)]), torch.tensor([START, *words])[:, None]))[-1, 0]
        logits[START] = -torch.inf
        if (token := int(logits.argmax())) == END:
            break
        words.append(token)
    return words


@torch.no_grad()
@pytest.mark.parametrize("attention", ["none", "general"])
def test_batched_beams_equal_brute_force_and_width_one_is_greedy(attention: str) -> None:
    """Sources of unequal length, each with its own maximum length."""
    model, sources, max_length = translator(attention), [[3, 4, 6, 5], [5], [4, 3]], [2, 3, 1]
    pair = side_by_side([(source, ()) for source in sources])
    encoded, states = model.encode(pair.source, pair.lengths)
    search = partial(
        beam_search, model.step, [encoded, *states], start=START, end=END, max_length=max_length, banned=(START,)
    )
    alone = [torch.tensor([*source, END])[:, None] for source in sources]
    for found, source, limit in zip(search(width=2_000), alone, max_length, strict=True):
        wanted = every_translation(model, source, limit)
        assert [tuple(each.tokens) for each in found] == [words for _, words in wanted]
        assert [each.score for each in found] == pytest.approx([score for score, _ in wanted])
    for (best,), source, limit in zip(search(width=1), alone, max_length, strict=True):
        assert best.tokens == greedy(model, source, limit)


@torch.no_grad()
@pytest.mark.parametrize("width", [1, 2, 5])
def test_search_does_not_depend_on_the_others_in_the_batch(width: int) -> None:
    """Searches end at different times and have different numbers of open hypotheses."""
    model, sources = translator(), [[3, 4, 6, 5, 5, 6], [5], [4, 3], [6, 6, 3], [3]]
    options = {"start": START, "end": END, "width": width, "banned": (START,)}
    rows = []
    for some in (sources, *([source] for source in sources)):
        pair = side_by_side([(source, ()) for source in some])
        encoded, states = model.encode(pair.source, pair.lengths)
        rows.append(beam_search(model.step, [encoded, *states], max_length=[9 - len(s) for s in some], **options))
    together, *alone = rows
    for found, (wanted,) in zip(together, alone, strict=True):
        assert [each[:1] + each[3:] for each in found] == [each[:1] + each[3:] for each in wanted]
        assert [each.score for each in found] == pytest.approx([each.score for each in wanted], abs=1e-12)
    assert len({len(each.tokens) for found in together for each in found}) > 1
