"""char-lm: text taken apart and put together, the end held out, and writing that goes on from what it was given."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rnncli.api import Training, load
from rnncli.data.tokenizers import UNITS
from rnncli.errors import RnnError, UsageError
from rnncli.tasks import TASKS
from rnncli.tasks.base import Trained, resolve
from rnncli.tasks.char_lm import EvaluateOptions, GenerateOptions, evaluate, evaluation_units, write

TASK = TASKS["char-lm"]
TEXT = "the cat sat – früh am Tag.\n" * 40


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.txt"
    path.write_text(TEXT)
    return path


def train(file: Path, **flags: Any) -> Trained:
    settings = {"hidden": "8", "embedding": 4, "epochs": 1, "bptt": 9, "batch_size": 4, "corpus": (str(file),)}
    training = Training.start(TASK.name, resolve(TASK, {**settings, **flags}))
    training.train(lambda _: None, pytest.fail)
    return load(training.run.folder / "last.safetensors")


@pytest.mark.parametrize("tokens", UNITS)
def test_text_is_put_together_as_it_was(tokens: str) -> None:
    units = UNITS[tokens]
    assert "".join(units.join(units.split(TEXT))) == TEXT
    assert "".join(units.join(units.split("é")[:1])) in ("é", "\ufffd")  # half a letter is no error


def test_the_end_is_held_out_and_judged_as_one_pass_would(home: Path, file: Path) -> None:
    trained = train(file, hold_out=0.25)
    held_out = evaluation_units(trained, EvaluateOptions())
    assert "".join(held_out) == TEXT[-len(TEXT) // 4 :]
    metrics = evaluate(trained, EvaluateOptions())
    numbers = torch.tensor([trained.payload["vocabulary"].index(unit) for unit in held_out])
    with torch.inference_mode():
        logits, _ = trained.model(numbers[:-1, None])
    whole = torch.nn.functional.cross_entropy(logits[:, 0], numbers[1:])
    assert metrics["loss"] == pytest.approx(float(whole), abs=1e-4)
    assert metrics["bits_per_token"] == pytest.approx(metrics["loss"] / 0.693147, rel=1e-5)
    assert (metrics["unknown"], metrics["tokens"]) == (0, len(held_out))


@pytest.mark.parametrize("tokens", UNITS)
def test_it_goes_on_from_what_it_is_given(home: Path, file: Path, tokens: str) -> None:
    trained = train(file, tokens=tokens, epochs=5, lr=0.05)

    def written(**options: Any) -> str:
        return "".join(write(trained, GenerateOptions(**{"length": 40, "seed": 3, **options})).pieces)

    assert written() == written()
    assert written(prime="the c") != written(prime="am Tag")
    assert "<unknown>" not in written(length=300, temperature=5.0)
    given = file.with_name("prime.txt")
    given.write_text("the c")
    assert written(prime=f"@{given}") == written(prime="the c")
    likeliest = write(trained, GenerateOptions(prime="Q the", length=1, temperature=0.0))
    assert "Q" in "".join(likeliest.unknown)
    assert likeliest.facts["texts"][0]["tokens"] == 1
    assert written(prime="") == written(prime="\n")


def test_too_little_is_refused(home: Path, file: Path) -> None:
    file.write_text("short")
    with pytest.raises(RnnError, match="mine has 5 tokens: 200 are the least to learn from"):
        train(file)


def test_without_held_out_text_there_is_nothing_to_evaluate_on(home: Path, file: Path) -> None:
    trained = train(file, hold_out=0.0)
    with pytest.raises(UsageError, match="nothing was held out when"):
        evaluate(trained, EvaluateOptions())
    assert evaluate(trained, EvaluateOptions(corpus=(str(file),)))["tokens"] == len(TEXT)
