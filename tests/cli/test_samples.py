"""What language models write while they train."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from safetensors.numpy import load_file
from support.terminals import on_a_terminal

from rnncli.api import Training
from rnncli.cli.samples import Samples
from rnncli.home import mark
from rnncli.kernels.compiling import COMPILATION
from rnncli.training.loop import Stepped, Validated

pytestmark = pytest.mark.no_backend

TINY = "--corpus hillside --hidden 3 --embedding 3 --batch-size 99 --epochs 2 --output-dropout 0.5"
TASKS = ("char-lm", "poetry-lm", "wiki-lm")


def samples(text: str) -> list[str]:
    """The samples in what a training printed: the lines after each heading."""
    return [part.split("\n\r")[0] for part in text.split("--- step ")[1:]]


@pytest.mark.parametrize("task", TASKS)
def test_samples_change_nothing_of_the_training(rnn, home: Path, task: str) -> None:
    found = {}
    for every, average in ((0, 0.9), (1, 0.9)):
        ran = rnn(f"train {task} {TINY} --average {average} --name run{every} --sample-every {every} --json")
        assert ran.code == 0
        json.loads(ran.out)
        assert len(samples(ran.err)) == (2 if every else 0)
        found[every] = load_file(home / "checkpoints" / task / f"run{every}" / "last.safetensors")
    assert found[0].keys() == found[1].keys()
    for name, values in found[0].items():
        assert values.tobytes() == found[1][name].tobytes(), name


@pytest.mark.parametrize(
    ("epochs", "every", "steps"), [(3, None, [2, 4, 6]), (12, None, [4, 8, 12, 16, 20, 24]), (3, 2, [4]), (3, 0, [])]
)
def test_about_five_samples_come_by_default(
    epochs: int, every: int | None, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = SimpleNamespace(history=[], step=0)
    settings, experiment = SimpleNamespace(validate_every=0), SimpleNamespace(batches_per_epoch=2)
    trainer = SimpleNamespace(planned_steps=2 * epochs, settings=settings, experiment=experiment, progress=progress)
    written: list[str] = []
    samples = Samples(cast(Training, SimpleNamespace(trainer=trainer)), every, written.append)
    monkeypatch.setattr(samples, "_sample", lambda: "text\n")
    for _ in range(epochs):
        progress.step += 2
        progress.history.append({})
        samples.listen(Stepped(0.0, 1))
        samples.listen(Validated({}, improved=False))
    assert written == [f"--- step {step}\ntext" for step in steps]


def test_quiet_prints_the_result_only(rnn) -> None:
    ran = rnn(f"train poetry-lm {TINY} --quiet --sample-every 1")
    assert ran.err == ""
    assert "perplexity" in ran.out


def test_quiet_announces_neither_the_home_nor_kernels(
    rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RNN_HOME")
    (tmp_path / "checkpoints").mkdir()
    mark(tmp_path / "checkpoints")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.setattr(COMPILATION, "announce", COMPILATION.announce)  # restored afterwards
    assert rnn("train parity --epochs 1 --quiet").err == ""
    COMPILATION.announce()
    assert capsys.readouterr().err == ""
    assert [each.name for each in (tmp_path / "checkpoints").iterdir() if each.is_dir()] == ["parity"]


def test_tasks_that_write_nothing_have_no_samples(rnn) -> None:
    assert rnn("train parity --sample-every 1").code == 2
    assert rnn("train poetry-lm --sample-every -1").code == 2


def test_samples_stand_above_the_bar_of_a_terminal(rnn, home: Path) -> None:
    with on_a_terminal() as terminal:
        code = rnn(f"train poetry-lm {TINY} --sample-every 1 --name mine").code
    assert code == 0
    heads = [line for line in terminal.text.split("\n") if "--- step" in line]
    assert len(heads) == 2
    assert all(line.split("\r")[-1].startswith("--- step ") for line in heads)
