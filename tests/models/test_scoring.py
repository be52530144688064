"""Scores of many texts at once equal those of each by itself, and those of a plain float64 loop."""

import random
from itertools import pairwise

import pytest
import torch
from support.tape import TapeRecorder

from rnncli.models import recorded, scoring
from rnncli.models.language_model import LanguageModel
from rnncli.models.scoring import surprisals
from rnncli.models.stack import StackShape

V = 23


def a_model(softmax: str = "full", cell: str = "gru:reset-after", backend: str = "auto") -> LanguageModel:
    torch.manual_seed(2)
    model = LanguageModel(V, 6, StackShape(cell, (16, 18)), softmax=softmax, labels=2, backend=backend)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def some_texts() -> list[list[int]]:
    """Return sequences of 1 to 400 tokens after the first, in random order."""
    generator = random.Random(3)
    return [[generator.randrange(V) for _ in range(length + 1)] for length in [5, 1, 400, 37, 5, 300, 2, *range(1, 90)]]


@torch.inference_mode()
def by_a_loop(model: LanguageModel, sequence: list[int]) -> list[float]:
    """Score token by token, from the logits of one step at a time."""
    states, costs = model.initial_states(1), []
    for token, following in pairwise(sequence):
        logits, states = model(torch.tensor([[token]]), states)
        costs.append(-float(logits[0, 0].log_softmax(-1)[following]))
    return costs


@pytest.mark.parametrize("softmax", ["full", "adaptive"])
def test_surprisals_equal_a_loop(softmax: str) -> None:
    texts, model = some_texts()[:12], a_model(softmax).double()
    for found, text in zip(surprisals(model, texts), texts, strict=True):
        assert found.tolist() == pytest.approx(by_a_loop(model, text), rel=1e-9)


@pytest.mark.parametrize("cell", ["gru:reset-after", "lstm", "elman"])
def test_batched_scores_equal_single_ones(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "ROWS", 8)
    monkeypatch.setattr(scoring, "WINDOW", 32)
    texts, model = some_texts(), a_model(cell=cell).double()  # with these weights a net magnifies float32's error
    together = surprisals(model, texts)
    for text, found in zip(texts, together, strict=True):
        (alone,) = surprisals(model, [text])
        assert len(found) == len(text) - 1
        assert found.tolist() == pytest.approx(alone.tolist(), rel=1e-6, abs=1e-6)


def test_replayed_scores_equal_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ROWS": 4, "WINDOW": 32, "MULTIPLE": 8}.items():
        monkeypatch.setattr(scoring, name, value)
    texts, model = some_texts()[4:24], a_model(backend="reference").double()
    wanted = surprisals(model, texts, label=1)
    tape = TapeRecorder()
    monkeypatch.setattr(recorded, "recorder_on", lambda *_: tape)
    for found, each in zip(surprisals(model, texts, label=1), wanted, strict=True):
        assert found.tolist() == pytest.approx(each.tolist(), rel=1e-9)
    assert tape.replays > 5


def test_no_sequences_give_no_scores() -> None:
    assert surprisals(a_model(), []) == []
