"""Attention against a loop of its formulas; padding changes nothing; steps are the scan; beams against brute force."""

from functools import partial
from itertools import product

import pytest
import torch

from rnncli.data.batching import Batch
from rnncli.data.pairs import Pair, SentencePairs
from rnncli.data.vocabulary import END, START
from rnncli.models.attention import Attention
from rnncli.models.decoding import beam_search
from rnncli.models.stack import StackShape
from rnncli.models.translator import Translator
from rnncli.tasks.translate import ATTENTIONS
from rnncli.training.losses import language_loss

V = 7
PAIRS = [([3, 4], [5]), ([3, 4, 5, 6, 3], [4, 4, 3]), ([6], [3, 5, 6, 4]), ([5, 5, 4], [3])]


def translator(attention: str = "general", cell: str = "lstm:none", **more: object) -> Translator:
    torch.manual_seed(1)
    model = Translator(V, 4, StackShape(cell, (3, 5)), attention=attention, **more).double()  # type: ignore[arg-type]
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
def test_attention_is_the_loop_of_its_formulas(kind: str) -> None:
    torch.manual_seed(0)
    attention = Attention(kind, 3, 6, 2).double()
    h, memory = torch.randn(2, 4, 3).double(), torch.randn(2, 5, 6).double()
    lengths = [5, 2]
    padding = torch.arange(5) >= torch.tensor(lengths)[:, None]
    context, weights = attention(h, attention.keys(memory), memory, padding)
    for b, t in product(range(2), range(4)):
        scores = torch.stack([score_by_hand(attention, h[b, t], memory[b, s]) for s in range(lengths[b])])
        shares = scores.exp() / scores.exp().sum()
        torch.testing.assert_close(weights[b, t, : lengths[b]], shares)
        assert not weights[b, t, lengths[b] :].any()
        torch.testing.assert_close(context[b, t], (shares[:, None] * memory[b, : lengths[b]]).sum(0))


@pytest.mark.parametrize("kind", ATTENTIONS[1:])
def test_the_gradients_of_attention(kind: str) -> None:
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
def test_steps_are_the_scan(attention: str, cell: str) -> None:
    model = translator(attention, cell)
    batch = batch_of([1])
    encoded = model.encode(batch.inputs.source, batch.inputs.lengths)
    states = encoded.states
    for token, logits in zip(batch.inputs.target, model(batch.inputs), strict=True):
        found, states = model.step(encoded, token, states)
        torch.testing.assert_close(found, logits)


@torch.no_grad()
def test_beams_against_brute_force_and_one_is_greedy() -> None:
    model = translator()
    source, lengths = torch.tensor([[3], [4], [END]]), torch.tensor([3])
    encoded = model.encode(source, lengths)
    search = partial(
        beam_search, partial(model.step, encoded), encoded.states, start=START, end=END, longest=3, barred=(START,)
    )
    found = search(width=2_000)
    wanted = {}
    for length in range(4):
        for words in product([token for token in range(V) if token not in (START, END)], repeat=length):
            logits = model(Pair(source, lengths, torch.tensor([START, *words])[:, None]))[:, 0].log_softmax(-1)
            asked = [*words, END] if length < 3 else words
            wanted[words] = sum(float(logits[place, token]) for place, token in enumerate(asked)) / len(asked)
    assert {tuple(each.tokens): pytest.approx(each.score) for each in found} == wanted
    greedy, states, token = [], encoded.states, START
    while token != END and len(greedy) < 3:
        logits, states = model.step(encoded, torch.tensor([token]), states)
        logits[:, START] = -torch.inf
        token = int(logits.argmax())
        greedy.append(token)
    assert search(width=1)[0].tokens == [each for each in greedy if each != END]
