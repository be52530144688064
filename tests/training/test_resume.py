"""Resuming is exact: hashes of weights, optimizer, random state and order equal those of an uninterrupted run."""

import hashlib
from pathlib import Path

import pytest
import torch
from support.experiments import make_trainer, train

from rnncli.files import write_file
from rnncli.training import checkpoint
from rnncli.training.checkpoint import to_bytes
from rnncli.training.loop import Stepped, Trainer

SETTINGS = [
    {"optimizer": "adamw", "schedule": "cosine", "warmup": 0.2},
    {"optimizer": "sgd", "schedule": "plateau", "patience": 1, "validate_every": 2},
    {"optimizer": "rmsprop", "schedule": "exponential", "decay": 0.5, "bptt": 2},
    {"optimizer": "adam", "streams": True},
    {"optimizer": "muon", "average": 0.9, "weight_decay": 0.1},
    {"optimizer": "normuon", "weight_decay": 0.1},
    {"optimizer": "adamw", "schedule": "slanted", "layer_decay": 2.6, "unfreeze_every": 1, "average": 0.9},
]


def digest(trainer: Trainer) -> str:
    """Return the SHA-256 of everything in a snapshot except the seconds spent."""
    values, tensors = trainer.snapshot()
    progress = values["progress"]
    progress["seconds"] = progress["stepping"] = 0
    for record in progress["history"]:
        record["seconds"] = 0
    hasher = hashlib.sha256(repr(progress).encode())
    for name in sorted(tensors):
        hasher.update(name.encode() + tensors[name].detach().contiguous().numpy().tobytes())
    return hasher.hexdigest()


def save_and_load(trainer: Trainer, path: Path, drop: str = "", **settings) -> Trainer:
    """Pass a run through a file into a new trainer, with other random states in between."""
    values, tensors = trainer.snapshot()
    write_file(path, to_bytes(values, {k: v for k, v in tensors.items() if not (drop and k.startswith(drop))}))
    resumed = make_trainer(**settings)
    torch.manual_seed(31337)
    found = checkpoint.read(path)
    missing = {name: value for name, value in resumed.snapshot()[1].items() if drop and name.startswith(drop)}
    resumed.restore(found.header, {**missing, **found.tensors})
    return resumed


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.get("schedule", settings["optimizer"]))
@pytest.mark.parametrize("steps", [1, 7, 10])
def test_resumed_run_is_bitwise_equal_to_an_uninterrupted_one(settings: dict, steps: int, tmp_path: Path) -> None:
    whole = make_trainer(**settings)
    losses = [event.loss for event in train(whole) if isinstance(event, Stepped)]
    part = make_trainer(**settings)
    before = [event.loss for event in train(part, steps) if isinstance(event, Stepped)]
    resumed = save_and_load(part, tmp_path / "last.safetensors", **settings)
    after = [event.loss for event in train(resumed) if isinstance(event, Stepped)]
    assert before + after == losses  # the order of the samples, and dropout's masks
    assert digest(resumed) == digest(whole)


@pytest.mark.parametrize("drop", ["random", "optimizer", "carried"])
def test_comparison_notices_any_dropped_state(drop: str, tmp_path: Path) -> None:
    whole = make_trainer(streams=True)
    train(whole)
    part = make_trainer(streams=True)
    train(part, 10)
    resumed = save_and_load(part, tmp_path / "last.safetensors", drop, streams=True)
    train(resumed)
    assert digest(resumed) != digest(whole)
