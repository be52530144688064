"""Dynamic evaluation and the neural cache against plain float64 loops, written from their papers."""

import copy
import math
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch

from rnncli.data.batching import Batch, Sentences
from rnncli.data.streams import RunningText
from rnncli.models.language_model import LanguageModel
from rnncli.models.stack import StackShape, detach
from rnncli.training import adaptation
from rnncli.training.adaptation import Adaptation, adaptive_metrics, running_metrics_as
from rnncli.training.metrics import prediction_metrics

V = 13


def a_model(softmax: str = "full", tied: bool = False) -> LanguageModel:
    torch.manual_seed(5)
    model = LanguageModel(V, 6, StackShape("gru:reset-after", (16,)), softmax=softmax, tied=tied).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def a_text(tokens: int) -> torch.Tensor:
    """Return numbers that repeat, so that earlier text helps to predict later text."""
    generator = torch.Generator().manual_seed(1)
    return torch.cat([torch.randint(3, V, (7,), generator=generator)] * (tokens // 7 + 1))[:tokens]


def segments(text: torch.Tensor, steps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for begin in range(0, len(text) - 1, steps):
        window = text[begin : begin + steps + 1]
        yield window[:-1], window[1:]


def dynamic_by_hand(model: LanguageModel, text: torch.Tensor, rate: float, steps: int) -> tuple[float, float]:
    """Score a segment, then step down its gradient over the root of the running mean of squares."""
    learner = copy.deepcopy(model)
    states, squares, nats, hits, times = None, {}, 0.0, 0, 0
    for inputs, targets in segments(text, steps):
        logits, states = learner(inputs[:, None], states)
        probs = logits[:, 0].log_softmax(-1)
        costs = -probs[torch.arange(len(targets)), targets]
        nats += costs.sum().item()
        hits += int((probs.argmax(-1) == targets).sum())
        states, times = detach(states), times + 1
        learner.zero_grad()
        costs.mean().backward()
        with torch.no_grad():
            for name, parameter in learner.named_parameters():
                if parameter.grad is None:  # the first states only have one in the first segment
                    continue
                squares[name] = 0.999 * squares.get(name, 0.0) + 0.001 * parameter.grad**2
                parameter -= rate * parameter.grad / ((squares[name] / (1 - 0.999**times)).sqrt() + adaptation.FLOOR)
    return nats / (len(text) - 1), hits / (len(text) - 1)


@torch.no_grad()
def cached_by_hand(model: LanguageModel, text: torch.Tensor, how: Adaptation) -> tuple[float, float]:
    """Loop over tokens, and over every remembered step."""
    states, remembered, nats, hits = None, [], 0.0, 0
    for token, target in pairwise(text):
        h, states = model.features(token.view(1, 1), states)
        h = h[0, 0]
        probs = model.readout.logits(h).softmax(-1)
        if remembered:
            weights = [math.exp(how.theta * float(h @ past)) for past, _ in remembered]
            cached = torch.zeros(V, dtype=torch.double)
            for weight, (_, word) in zip(weights, remembered, strict=True):
                cached[word] += weight / sum(weights)
            probs = (1 - how.share) * probs + how.share * cached
        nats -= math.log(probs[target])
        hits += int(probs.argmax() == target)
        remembered = [*remembered, (h, int(target))][-how.cache :]
    return nats / (len(text) - 1), hits / (len(text) - 1)


def found(model: LanguageModel, text: torch.Tensor, how: Adaptation) -> tuple[float, float]:
    metrics = running_metrics_as(model, text.numpy(), how)
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["loss"]))
    return metrics["loss"], metrics["accuracy"]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("rate", [1e-3, 3e-2])
def test_dynamic_evaluation_equals_a_loop(rate: float, tied: bool) -> None:
    model, text = a_model(tied=tied), a_text(107)
    before = copy.deepcopy(model.state_dict())
    wanted = dynamic_by_hand(model, text, rate, adaptation.SEGMENT)
    assert found(model, text, Adaptation(dynamic=rate)) == pytest.approx(wanted, rel=1e-9)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("remembered", "theta", "share"), [(1, 0.5, 0.3), (7, 2.0, 0.1), (30, 0.0, 0.9), (500, 1.0, 0.2)]
)
def test_cache_equals_a_loop(remembered: int, theta: float, share: float) -> None:
    model, text = a_model(), a_text(90)
    how = Adaptation(cache=remembered, theta=theta, share=share)
    assert found(model, text, how) == pytest.approx(cached_by_hand(model, text, how), rel=1e-9)


@pytest.mark.parametrize("softmax", ["full", "adaptive"])
def test_tiny_adaptation_changes_nothing(softmax: str) -> None:
    model, text = a_model(softmax), a_text(60)
    static = prediction_metrics(model, RunningText(text.numpy(), 1, 20).batches(torch.device("cpu")))
    for how in (Adaptation(dynamic=1e-12), Adaptation(cache=10, share=0.0)):
        assert running_metrics_as(model, text.numpy(), how) == pytest.approx(static)
    better = running_metrics_as(model, text.numpy(), Adaptation(dynamic=3e-2, cache=20))
    assert better["loss"] < static["loss"] - 0.1


@pytest.mark.parametrize(
    "how", [Adaptation(dynamic=0.05), Adaptation(cache=40, share=0.5), Adaptation(dynamic=0.05, cache=9)]
)
def test_no_target_is_seen_before_it_is_scored(how: Adaptation) -> None:
    """Later text does not change earlier scores."""
    model, text = a_model(), a_text(61)
    for cut in (20, 33, 47):
        other = text.clone()
        other[cut + 1 :] = torch.randint(3, V, (len(text) - cut - 1,))
        sums = [found(model, each[: cut + 1], how)[0] * cut for each in (text, other)]
        assert sums[0] == sums[1]
        each_step = [found(model, text[: length + 1], how)[0] * length for length in (cut - 1, cut)]
        last = each_step[1] - each_step[0]
        changed = text.clone()
        changed[cut] = 3 + (text[cut] - 2) % (V - 3)
        other_last = found(model, changed[: cut + 1], how)[0] * cut - each_step[0]
        assert last != other_last  # only the last target differs


def test_sentences_are_adapted_to_in_order() -> None:
    """Each starts from the first states, with everything learned so far."""
    model = a_model()
    lines = [a_text(length).tolist() for length in (5, 30, 2, 9)]
    sentences = Sentences.of(lines)
    batches = list(sentences.each())
    assert [batch.targets.flatten().tolist()[:-1] for batch in batches] == lines
    how = Adaptation(dynamic=0.02, cache=15)
    assert adaptive_metrics(model, batches, how)["loss"] != adaptive_metrics(model, batches[::-1], how)["loss"]
    parts = [window for batch in batches for window in batch.windows(adaptation.SEGMENT)]
    assert adaptive_metrics(model, parts, how) == adaptive_metrics(model, batches, how)
    assert [batch.continues for batch in batches] == [False] * 4


def test_voice_changes_the_metrics() -> None:
    torch.manual_seed(0)
    model = LanguageModel(V, 6, StackShape("elman", (8,)), labels=2).double()
    text = a_text(30)

    def loss(label: int) -> float:
        batch = Batch(text[:-1, None], text[1:, None], labels=torch.full((29, 1), label))
        return adaptive_metrics(model, [batch], Adaptation(cache=5))["loss"]

    assert loss(0) != loss(1)
