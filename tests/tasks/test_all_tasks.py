"""Requirements on every task in the registry: training, stopping, resuming bit for bit, loading, evaluation."""

import hashlib
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from support.tasks import some_tasks

from rnncli.api import Training, load
from rnncli.cells import BUILT_IN, CLASSIC
from rnncli.data import dates
from rnncli.data.corpora import CORPORA
from rnncli.data.sources import Generated
from rnncli.errors import Interrupted, RnnError, UsageError
from rnncli.presets import resolve
from rnncli.tasks import TASKS
from rnncli.training.interrupts import Interrupts
from rnncli.training.loop import Stepped

SMALL = {"hidden": "3", "epochs": 1, "seed": 5}
DRAWN = {"wiki-lm": {"end_share": 0.3, "unit_vectors": "matrix"}}
"""Settings with more random draws per epoch, or more work after a step, than the defaults."""
OTHER_CELLS = ("rated", "gru", "lstm:diagonal")
ONCE = [("parity", "lstm:diagonal"), ("translate", "gru")]
"""The fastest tasks, each with one of these cells."""
FEW = [("translate", cell) for cell in ("slstm", "lru", "sru")]
"""The fastest task with cells of several fields: one of complex numbers, one that no step reads."""


@pytest.fixture(autouse=True)
def few_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The corpus of dates with fewer lines, on which no test here depends."""
    monkeypatch.setitem(CORPORA, "dates", Generated("dates", "some days", lambda: dates.write(lines=400)))


def start(task: str, name: str, **flags: Any) -> Training:
    return Training.start(task, resolve(TASKS[task], {**SMALL, **flags}), name)


def digest(training: Training) -> str:
    """SHA-256 of all tensors of a snapshot."""
    hasher = hashlib.sha256()
    for name, value in sorted(training.trainer.snapshot()[1].items()):
        hasher.update(name.encode() + value.detach().contiguous().numpy().tobytes())
    return hasher.hexdigest()


LONG = ("wiki-lm", "poetry-classify")


@pytest.mark.parametrize(
    "task",
    # tests/test_checkpoints.py resumes the other tasks as well
    [pytest.param(each, marks=[pytest.mark.slow] * (each in LONG)) for each in TASKS],
)
def test_run_stopped_within_an_epoch_resumes_to_the_same_result(
    task: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = DRAWN.get(task, {})
    whole = start(task, "whole", **drawn)
    whole.train(lambda _: None, pytest.fail)
    part = start(task, "part", **drawn)

    def stop_at_three(event: object) -> None:
        if isinstance(event, Stepped) and part.trainer.progress.step == 3:
            patched.setattr(Interrupts, "received", 2)

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        part.train(stop_at_three, pytest.fail)
    resumed = Training.resume(part.run, {})
    assert resumed.trainer.progress.step == 3
    resumed.train(lambda _: None, pytest.fail)
    assert digest(resumed) == digest(whole) != digest(part)


@pytest.mark.parametrize("task", some_tasks("parity", "poetry-lm", "poetry-classify", "translate"))
def test_trained_model_loads_and_evaluates(task: str, home: Path) -> None:
    training = start(task, "mine", init="book")
    weights = dict(training.experiment.model.named_parameters())
    biases = [name for name in weights if name.rpartition(".")[2].startswith("bias")]
    assert biases
    assert not any(weights[name].any() for name in biases)
    training.train(lambda _: None, pytest.fail)
    trained = load(training.run.folder / "best.safetensors")
    assert trained.config == training.config
    evaluate = TASKS[task].evaluate
    validated = {"split": "validation"} if hasattr(evaluate.Options, "split") else {}  # not the test split
    metrics = evaluate.run(trained, evaluate.Options(**validated))
    best = next(r for r in training.trainer.progress.history if r["step"] == training.trainer.progress.best_step)
    assert metrics["loss"] == pytest.approx(best["loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("task", "cell"),
    [each if each in ONCE else pytest.param(*each, marks=pytest.mark.slow) for each in product(TASKS, OTHER_CELLS)],
)
def test_every_task_takes_other_cells_in_blocks(task: str, cell: str, home: Path) -> None:
    check_two_layers(task, cell, learn_h0=False, block="residual", backend="reference")


@pytest.mark.parametrize(
    ("task", "cell"),
    [
        each if each in FEW else pytest.param(*each, marks=pytest.mark.slow)
        for each in product(TASKS, BUILT_IN)
        if each[1] not in CLASSIC
    ],
)
def test_every_task_takes_todays_cells(task: str, cell: str, home: Path) -> None:
    check_two_layers(task, cell, backend="reference")


def check_two_layers(task: str, cell: str, **flags: Any) -> None:
    bptt = 4 if TASKS[task].Config.truncates else 0
    training = start(task, "mine", cell=cell, hidden="3,2", layer_dropout=0.1, bptt=bptt, **flags)
    training.train(lambda _: None, pytest.fail)
    config = load(training.run.folder / "last.safetensors").config
    assert (config.sizes, config.block) == ((3, 2), flags.get("block", "none"))


def test_resuming_with_a_changed_text_is_refused(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("\n".join(f"line {number % 3} of mine" for number in range(30)))
    training = start("poetry-lm", "mine", corpus=(str(file),))
    training.train(lambda _: None, pytest.fail)
    file.write_text(file.read_text() + "\nand one more line of mine\n")
    with pytest.raises(UsageError, match="the training text of run mine has changed: start a new run"):
        Training.resume(training.run, {"epochs": 2})
    with training.run.locked():  # the refusal released the lock
        pass


def test_resuming_in_a_folder_that_takes_no_file_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = start("parity", "mine")
    training.train(lambda _: None, pytest.fail)

    def refuse(*_: object) -> None:
        raise RnnError("cannot save metrics.jsonl: Permission denied")

    monkeypatch.setattr("rnncli.training.runs.write_file", refuse)
    with pytest.raises(RnnError, match=r"^cannot save metrics\.jsonl: Permission denied$"):
        Training.resume(training.run, {"epochs": 2})
    with training.run.locked():
        pass


@pytest.mark.cuda
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("cell", ["lstm", "lstm:none", "gru:reset-after"])
def test_model_trained_on_cuda_evaluates_on_the_cpu(task: str, cell: str, home: Path) -> None:
    if task in ("poetry-classify", "tag"):
        pytest.importorskip("nltk", reason="waits for nltk, which splits texts into words")
    training = start(task, "mine", cell=cell, device="cuda")
    training.train(lambda _: None, pytest.fail)
    trained = load(training.run.folder / "last.safetensors", device="cpu")
    evaluate = TASKS[task].evaluate
    last = training.trainer.progress.history[-1]["loss"]
    validated = {"split": "validation"} if hasattr(evaluate.Options, "split") else {}
    assert evaluate.run(trained, evaluate.Options(**validated))["loss"] == pytest.approx(last, rel=1e-4)
