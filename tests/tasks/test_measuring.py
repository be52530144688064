"""Metrics of all language models: bits per character, dynamic evaluation, and n-gram baselines."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rnncli.analysis.baselines import measure_baselines
from rnncli.api import Model, Training, load
from rnncli.data.vocabulary import END, Vocabulary
from rnncli.errors import UsageError
from rnncli.language.ngrams import KneserNey
from rnncli.presets import resolve
from rnncli.tasks import TASKS

MEASURED: list[tuple[str, dict[str, Any]]] = [
    ("wiki-lm", {}),
    ("wiki-lm", {"running": True}),
    ("poetry-lm", {"min_count": 1}),
    ("char-lm", {"bptt": 20}),
]
LINES = [f"the cat {word} on the mat and the dog {word} too" for word in ("sat", "ran", "slept", "sang", "sat")] * 12


@pytest.fixture
def text(tmp_path: Path, home: Path) -> Path:
    file = tmp_path / "mine.txt"
    file.write_text("\n".join(LINES) + "\n")
    return file


def train(task: str, text: Path, **flags: Any) -> Model:
    settings = {"hidden": "6", "embedding": 5, "epochs": 1, "corpus": (str(text),)}
    training = Training.start(task, resolve(TASKS[task], {**settings, **flags}))
    training.train(lambda _: None, pytest.fail)
    return load(training.run.folder)


@pytest.mark.parametrize(("task", "flags"), MEASURED)
def test_bits_per_character_cover_the_whole_text(task: str, flags: dict[str, Any], text: Path) -> None:
    model = train(task, text, **flags)
    metrics = model.evaluate(corpus=text)
    characters = len(text.read_text(encoding="utf-8"))
    tokens = characters if task == "char-lm" else sum(len(line.split()) + 1 for line in LINES)
    assert metrics["bits_per_char"] == pytest.approx(metrics["loss"] / math.log(2) * tokens / characters, rel=1e-3)


@pytest.mark.parametrize(("task", "flags"), MEASURED)
def test_dynamic_evaluation_lowers_loss_and_restores_model(task: str, flags: dict[str, Any], text: Path) -> None:
    model = train(task, text, **flags)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    original = model.source.read_bytes()
    static = model.evaluate(corpus=text)
    still = model.evaluate(corpus=text, dynamic=1e-12)
    assert still["loss"] == pytest.approx(static["loss"], rel=1e-4)
    adapted = model.evaluate(corpus=text, dynamic=1e-2)
    remembered = model.evaluate(corpus=text, cache=100, cache_share=0.3)
    assert adapted["loss"] < 0.9 * static["loss"]
    assert remembered["loss"] != pytest.approx(static["loss"], rel=1e-3)
    assert {"bits_per_char", "perplexity", "unknown"} <= adapted.keys() == static.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.model.state_dict().items())
    assert model.source.read_bytes() == original


def test_cache_settings_without_a_cache_are_refused(text: Path) -> None:
    model = train("poetry-lm", text)
    with pytest.raises(UsageError, match="--cache-theta and --cache-share need a cache: add --cache"):
        model.evaluate(corpus=text, cache_share=0.5)
    with pytest.raises(UsageError, match="--dynamic must be at least 0"):
        model.evaluate(corpus=text, dynamic=-1.0)
    with pytest.raises(UsageError, match="--cache-share must be below 1"):
        model.evaluate(corpus=text, cache=10, cache_share=1.0)


@pytest.mark.parametrize("running", [False, True])
def test_n_grams_of_prose_train_on_the_same_lines_as_the_model(running: bool, text: Path) -> None:
    model = train("wiki-lm", text, running=running)
    metrics = model.evaluate()
    action = model.action("evaluate")
    rows = measure_baselines(model, action.Options(), metrics)
    vocabulary = Vocabulary(tuple(model.payload["vocabulary"]))
    lines = [[*vocabulary.encode(line.split()), END] for line in LINES]
    held_out = [place for place in range(60) if (place >= 55 if running else place % 10 == 9)]
    training = [line for place, line in enumerate(lines) if place not in held_out]
    assert metrics["sequences"] == len(held_out)
    for order, name in ((1, "unigram"), (3, "modified Kneser-Ney 3-gram"), (5, "modified Kneser-Ney 5-gram")):
        wanted = KneserNey(training, order, len(vocabulary)).metrics([lines[place] for place in held_out])
        assert rows[name] == {
            **wanted,
            "bits_per_char": pytest.approx(rows[name]["loss"] * metrics["bits_per_char"] / metrics["loss"]),
        }


def test_n_grams_of_characters_train_on_the_same_text_as_the_model(text: Path) -> None:
    model = train("char-lm", text, bptt=20)
    vocabulary = Vocabulary(tuple(model.payload["vocabulary"]))
    whole = text.read_text(encoding="utf-8")
    numbers = vocabulary.encode(whole)
    cut = len(whole) - int(0.1 * len(whole))
    rows = measure_baselines(model, model.action("evaluate").Options(), model.evaluate())
    assert list(rows) == ["unigram", *(f"modified Kneser-Ney {order}-gram" for order in (3, 5, 7))]
    wanted = KneserNey([numbers[:cut]], 5, len(vocabulary)).metrics([numbers[cut:]])
    assert rows["modified Kneser-Ney 5-gram"]["loss"] == pytest.approx(wanted["loss"])
    elsewhere = measure_baselines(
        model, model.action("evaluate").Options(corpus=(str(text),)), model.evaluate(corpus=text)
    )
    wanted = KneserNey([numbers[:cut]], 5, len(vocabulary)).metrics([numbers])
    assert elsewhere["modified Kneser-Ney 5-gram"]["loss"] == pytest.approx(wanted["loss"])
