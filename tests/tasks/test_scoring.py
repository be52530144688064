"""Scoring by every language model: tokens, probabilities, ranks, voices and refusals."""

import math
import random
from pathlib import Path

import pytest
import torch

from rnncli.api import Model, Training, load
from rnncli.data import toyworld
from rnncli.data.vocabulary import END, START, UNKNOWN, Vocabulary
from rnncli.errors import UsageError
from rnncli.presets import resolve
from rnncli.tasks import TASKS

SCORING = [task.name for task in TASKS.values() if "score" in task.uses]


def trained(task: str, **flags: object) -> Model:
    settings = {"hidden": "6", "embedding": 5, "epochs": 1, "corpus": ("hillside",)}
    training = Training.start(task, resolve(TASKS[task], {**settings, **flags}))
    training.train(lambda _: None, pytest.fail)
    return load(training.run.folder)


def log_probability(model: Model, numbers: list[int]) -> float:
    with torch.inference_mode():
        logits, _ = model.model(torch.tensor(numbers)[:-1, None])
    log_probs = logits[:, 0].double().log_softmax(-1)
    return sum(float(log_probs[place, number]) for place, number in enumerate(numbers[1:]))


@pytest.mark.parametrize("task", ["wiki-lm", "poetry-lm"])
def test_a_sentence_is_scored_from_start_to_end(task: str, home: Path) -> None:
    model = trained(task)
    vocabulary = Vocabulary(tuple(model.payload["vocabulary"]))
    (found,) = model.score("the gate and quixotic")
    numbers = vocabulary.encode(["the", "gate", "and", "quixotic"])
    assert numbers[-1] == UNKNOWN
    assert [each.token for each in found.tokens] == ["the", "gate", "and", "quixotic", "<end>"]
    assert found.log_probability == pytest.approx(log_probability(model, [START, *numbers, END]), rel=1e-5)
    assert sum(each.bits for each in found.tokens) == pytest.approx(found.bits)
    assert found.bits == pytest.approx(-found.log_probability / math.log(2))
    assert found.perplexity == pytest.approx(math.exp(-found.log_probability / 5))
    assert found.unknown == ["quixotic"]


def test_running_prose_is_scored_from_end_to_end(home: Path) -> None:
    model = trained("wiki-lm", running=True)
    numbers = Vocabulary(tuple(model.payload["vocabulary"])).encode(["the", "gate"])
    (found,) = model.score("the gate")
    assert found.log_probability == pytest.approx(log_probability(model, [END, *numbers, END]), rel=1e-5)


def test_characters_are_scored_after_a_line_feed(home: Path) -> None:
    model = trained("char-lm")
    vocabulary = Vocabulary(tuple(model.payload["vocabulary"]))
    (found,) = model.score("the 東")
    numbers = vocabulary.encode("\nthe 東")
    assert numbers[0] != UNKNOWN
    assert [each.token for each in found.tokens] == list("the 東")
    assert [each.unknown for each in found.tokens] == [False] * 4 + [True]
    assert found.log_probability == pytest.approx(log_probability(model, numbers), rel=1e-5)


@pytest.mark.parametrize("task", SCORING)
def test_texts_keep_their_order_and_get_ranks(task: str, home: Path) -> None:
    model = trained(task)
    texts = ["the gate", "zebra the the xylophone", "and the gate was open"]
    by_token, by_text = (model.score(texts, by=by) for by in ("perplexity", "probability"))
    assert [each.text for each in by_token] == texts
    for found, cost in ((by_token, lambda each: each.perplexity), (by_text, lambda each: each.bits)):
        ranked = sorted(found, key=lambda each: each.rank)
        assert [each.rank for each in ranked] == [1, 2, 3]
        assert [cost(each) for each in ranked] == sorted(map(cost, found))
    assert [each.bits for each in by_text] == [each.bits for each in by_token]


@pytest.mark.parametrize("task", ["poetry-lm", "char-lm"])
def test_a_text_is_scored_in_a_voice(task: str, home: Path) -> None:
    model = trained(task, corpus=("hillside", "nocturne"))
    plain, *voices = (model.score("the bells", label=label)[0] for label in (None, "hillside", "nocturne"))
    assert len({each.bits for each in (plain, *voices)}) == 3
    opening = 0 if task == "poetry-lm" else model.payload["vocabulary"].index("\n")
    numbers = [
        opening,
        *Vocabulary(tuple(model.payload["vocabulary"])).encode(
            ["the", "bells"] if task == "poetry-lm" else "the bells"
        ),
        *([END] if task == "poetry-lm" else []),
    ]
    tokens = torch.tensor(numbers)[:, None]
    with torch.inference_mode():
        logits, _ = model.model(tokens[:-1], labels=torch.ones_like(tokens[:-1]))
    costs = torch.nn.functional.cross_entropy(logits[:, 0].double(), tokens[1:, 0], reduction="sum")
    assert voices[1].log_probability == pytest.approx(-float(costs), rel=1e-5)
    with pytest.raises(UsageError, match="has no voice 'shelley': its labels are hillside, nocturne"):
        model.score("the bells", label="shelley")


def test_a_text_without_a_word_is_refused(home: Path) -> None:
    model = trained("poetry-lm", tokens="words")
    with pytest.raises(UsageError, match="there is no word in text 2"):
        model.score(["the gate", "---"])
    with pytest.raises(UsageError, match="text 1 is empty"):
        model.score("")
    with pytest.raises(UsageError, match="--by must be one of perplexity, probability"):
        model.score("the", by="guess")


def test_right_word_order_scores_better_than_a_scrambled_one(home: Path, tmp_path: Path) -> None:
    """On held-out sentences of toyworld, where a model quickly learns the order of words."""
    lines = toyworld.write().splitlines()
    (tmp_path / "world.txt").write_text("\n".join(lines[:5_000]))
    model = trained("wiki-lm", corpus=(str(tmp_path / "world.txt"),), hidden="32", embedding=16, epochs=3)
    generator = random.Random(0)
    right = [line for line in lines[5_000:] if len(line.split()) > 3][:200]
    wrong = [" ".join(generator.sample(line.split(), len(line.split()))) for line in right]
    found = model.score([*right, *wrong])
    wins = sum(one.bits < other.bits for one, other in zip(found[:200], found[200:], strict=True))
    assert wins >= 190
