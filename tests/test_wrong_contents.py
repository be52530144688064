"""Checkpoints with a valid checksum and wrong contents: one line about the file, without costly work before it."""

import json
import math
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.wrong_contents import variants

import rnncli
from rnncli.api import Training
from rnncli.errors import RnnError
from rnncli.models.outline import outline
from rnncli.presets import resolve
from rnncli.tasks import TASKS
from rnncli.training import checkpoint
from rnncli.training.checkpoint import Checkpoint, CheckpointError, to_bytes
from rnncli.training.runs import Run

FOLDER = Path(__file__).parent / "checkpoints"
COUNT = int(os.environ.get("RNN_VARIANTS", "8"))
"""Variants of each fixture that are tried."""


def fixture(name: str) -> tuple[str, Checkpoint]:
    """A valid checkpoint, and the name of its file."""
    (file,) = (FOLDER / name).glob("*.safetensors")
    return file.name, checkpoint.read(file)


@pytest.fixture
def change(home: Path) -> Callable[..., Path]:
    """Writes a changed fixture to the folder of its run."""

    def write(name: str, to_header: Callable[[Any], object], **tensors: torch.Tensor | None) -> Path:
        file, found = fixture(name)
        to_header(found.header)
        kept = {**found.tensors, **{key.replace("__", "."): value for key, value in tensors.items()}}
        path = home / "checkpoints" / found.header.get("task", "char-lm") / "mine" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_bytes(found.header, {key: value for key, value in kept.items() if value is not None}))
        return path

    return write


def settings(**values: Any) -> Callable[[Any], object]:
    return lambda header: header["config"].update(values)


def progress(**values: Any) -> Callable[[Any], object]:
    return lambda header: header["progress"].update(values)


def payload(**values: Any) -> Callable[[Any], object]:
    return lambda header: header["payload"].update(values)


def same(header: Any) -> None:
    """Change nothing."""


SPECIALS = ["<start>", "<end>", "<unknown>"]
WRONG: dict[str, tuple[str, Callable[[Any], object], str]] = {
    "no config": ("words", lambda header: header.pop("config"), "a header that .*: config is missing"),
    "no monitor": ("words", lambda header: header.pop("monitor"), "a header that .*: monitor is missing"),
    "wrong type": ("words", settings(embedding="16"), "settings that .*: setting embedding must be a whole number"),
    "no choice": ("words", settings(optimizer=[]), "settings that .*: setting optimizer must be text, not"),
    "beyond limits": ("words", settings(schedule="hourly"), "settings that .*: --schedule must be one of"),
    "unknown cell": ("words", settings(cell="gru:both"), "weights that .*: cell gru has no variant 'both'"),
    "unknown feature": ("tags", settings(features=["smell"]), "weights that .*: 'smell' is missing"),
    "no corpus": ("words", settings(corpus=[]), "settings that .*: corpus is missing"),
    "no vocabulary": (
        "words",
        lambda header: header["payload"].pop("vocabulary"),
        "contents .*: vocabulary is missing",
    ),
    "empty": ("words", payload(vocabulary=SPECIALS), "contents that .*: vocabulary is of the wrong kind"),
    "repeated": (
        "words",
        payload(vocabulary=[*SPECIALS, *["a"] * 300]),
        "contents .*: vocabulary is of the wrong kind",
    ),
    "surrogate": ("words", payload(vocabulary=[*SPECIALS, "\ud800"]), "contents .*: vocabulary is of the wrong kind"),
    "no byte": ("bytes", payload(vocabulary=[*SPECIALS, "ł"]), "contents .*: 'latin-1' codec can't encode"),
    "no bpe": ("pieces", payload(bpe="{}"), "contents .*: no byte-pair encoding can be read"),
    "labels": ("chars-voices", payload(labels=["a", "b", "c"]), r"weights .*: voices.weight is 2 x 12, not 3 x 12"),
    "classes": ("tags", payload(classes=["N"]), "weights .*: output.weight is 36 x 20, not 1 x 20;"),
    "lexicon": (
        "tags",
        lambda header: header["payload"]["lexicon"].pop("grams"),
        "contents .*: lexicon is of the wrong",
    ),
    "no step": ("words", lambda header: header["progress"].pop("step"), "progress that .*: step is missing"),
    "step": ("words", progress(step=-1), "progress that .*: step is -1"),
    "history": ("words", progress(history=[{"step": 1}]), r"progress that .*: history is \[\{'step': 1\}\]"),
    "wide": (
        "chars-voices",
        settings(hidden="8000,16"),
        "weights .*: stack.cells.0.weight_x is 96 x 12, not 32000 x 12",
    ),
    "deep": (
        "chars-voices",
        settings(hidden=",".join(["4"] * 100_000)),
        "weights .*: .* of more than 44 parameters;",
    ),
    "overflow": ("words", settings(embedding=10**18), "weights that .*: "),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_header_is_one_line_about_the_file(name: str, change) -> None:
    source, to_header, reason = WRONG[name]
    path = change(source, to_header)
    with pytest.raises(CheckpointError, match=reason) as error:
        rnncli.load(path)
    assert str(error.value).startswith(f"{path} holds ")
    assert str(error.value).endswith("; load another checkpoint, or train again")
    assert "\n" not in str(error.value)


def test_initial_model_is_checked_like_any_other(change) -> None:
    path = change("words", lambda header: header["payload"].pop("vocabulary"))
    with pytest.raises(CheckpointError, match="holds contents that this version cannot use: vocabulary is missing"):
        resolve(TASKS["char-lm"], {"init_from": str(path)})


TENSORS: dict[str, tuple[str, dict[str, torch.Tensor | None], str]] = {
    "no weight": ("words", {"model__bias": None}, "weights .*: bias is missing"),
    "stray": ("words", {"model__more": torch.zeros(1)}, "weights .*: more is no weight of this model"),
    "type": ("words", {"model__bias": torch.zeros(303).double()}, "weights .*: bias holds float64, not float32"),
    "no keys": ("verse-book", {"task__line_keys": None}, "contents .*: 'line_keys' is missing"),
    "real keys": ("verse-book", {"task__line_keys": torch.zeros(3)}, "contents .*: task.line_keys is not a list"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_wrong_tensor_is_one_line_about_the_file(name: str, change) -> None:
    source, tensors, reason = TENSORS[name]
    path = change(source, same, **tensors)
    with pytest.raises(CheckpointError, match=reason) as error:
        rnncli.load(path)
    assert str(error.value).startswith(f"{path} holds ")


STATES: dict[str, tuple[dict[str, torch.Tensor | None], str]] = {
    "no random state": ({"random__torch": None}, "'torch' is missing"),
    "size": ({"random__torch": torch.zeros(7, dtype=torch.uint8)}, "random.torch is 7, not 5056"),
    "type": ({"random__python": torch.zeros(625)}, "random.python holds float32, not int64"),
    "words": ({"random__python": torch.full((625,), 2**40)}, "."),
    "torch": ({"random__torch": torch.full((5056,), 255, dtype=torch.uint8)}, "nvalid mt19937 state"),
    "position": ({"random__numpy_rest": torch.tensor([1e6, 0, 0]).double()}, "random.numpy_rest is no position"),
    "part": ({"optimizer__0__exp_avg": None}, "optimizer.0 has exp_avg_sq, step"),
    "place": ({"optimizer__99__step": torch.zeros(())}, "optimizer.99 has step"),
    "shape": ({"optimizer__0__exp_avg": torch.zeros(3)}, "optimizer.0.exp_avg is of another shape or type"),
    "negative": ({"optimizer__0__step": torch.tensor(-1.0)}, "optimizer.0.step is negative"),
    "nan": ({"optimizer__0__step": torch.tensor(math.nan)}, "optimizer.0.step is not finite"),
    "average": ({"learned__0": torch.zeros(3)}, "learned.0 is 3, not 53"),
    "no average": ({"learned__0": None}, "'0' is missing"),
    "carried": ({"carried__0__0": torch.zeros(8, 3)}, "carried.0.0 is 8 x 3, not 8 x 14"),
}


@pytest.mark.parametrize("name", STATES)
def test_wrong_state_of_training_is_one_line_about_the_file(name: str, change) -> None:
    tensors, reason = STATES[name]
    path = change("chars-averaged", same, **tensors)
    before = torch.get_rng_state()
    try:
        with pytest.raises(CheckpointError, match=f"holds a state of training that .*: .*{reason}") as error:
            Training.resume(Run(path.parent), {})
    finally:
        torch.set_rng_state(before)
    assert str(error.value).startswith(str(path))


def test_carried_states_of_other_rows_are_one_line(change) -> None:
    training = Training.resume(Run(change("chars-averaged", same, carried__0__0=torch.zeros(5, 14)).parent), {})
    with pytest.raises(RnnError, match="the run was saved with 5 sequences per batch, not 8: start a new run"):
        training.train(lambda _: None, pytest.fail)


@pytest.mark.parametrize("name", ["parity-restarted", "bytes", "verse-plateau"])
def test_random_changes_load_or_give_one_line_about_the_file(name: str, home: Path) -> None:
    """RNN_VARIANTS sets their number."""
    file, found = fixture(name)
    path = home / "checkpoints" / found.header["task"] / "mine" / file
    path.parent.mkdir(parents=True)
    refused = {}
    for variant in variants(found, COUNT, seed=3):
        path.write_bytes(variant.data)
        try:
            rnncli.load(path)
            training = Training.resume(Run(path.parent), {"max_time": 1e-9})
            training.train(lambda _: None, lambda _: None)
        except RnnError as error:
            refused[variant.change] = str(error)
    assert len(refused) > COUNT / 4
    for message in refused.values():
        assert any(named in message for named in (path.name, "run mine", "no corpus, file", "the run was saved with"))
        assert "\n" not in message


def test_infinity_and_nan_in_a_history_are_shown(change, rnn) -> None:
    """Validation may produce them, so a valid checkpoint can contain them."""
    path = change("parity-solved", lambda header: header["progress"]["history"][-1].update(loss=math.nan, lr=math.inf))
    for words in (f"inspect {path} --json", "runs --json", f"report {path} --out {path.parent}/page.html --json"):
        ran = rnn(words)
        assert ran.code == 0, ran.err
        json.loads(ran.out, parse_constant=pytest.fail)
    assert rnn(f"inspect {path}").code == rnn("runs").code == 0


@pytest.mark.parametrize("depth", [20, 900, 10_000])
def test_nested_header_is_damage(depth: int, tmp_path: Path) -> None:
    nested = "[" * depth + "]" * depth
    plain = to_bytes({"deep": None}, {"w": torch.zeros(1)})
    size = struct.unpack("<Q", plain[:8])[0]
    head = json.loads(plain[8 : 8 + size])
    head["__metadata__"]["header"] = head["__metadata__"]["header"].replace("null", nested)
    text = json.dumps(head).encode()
    path = tmp_path / "deep.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + plain[8 + size :])
    with pytest.raises(CheckpointError, match=r"deep\.safetensors is damaged: its header cannot be read"):
        checkpoint.read_header(path)


def test_no_module_is_built_beyond_the_existing_weights() -> None:
    built = []

    def build() -> torch.nn.Module:
        for _ in range(1000):
            built.append(torch.nn.Linear(10**6, 10**6))
        return torch.nn.Sequential(*built)

    with pytest.raises(ValueError, match="of more than 5 parameters"):
        outline(build, max_parameters=5)
    assert len(built) == 2
    assert all(parameter.is_meta for layer in built for parameter in layer.parameters())
