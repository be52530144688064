"""--tensorboard: TensorBoard's own reader reads the curves back."""

import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytestmark = [pytest.mark.no_backend, pytest.mark.slow]

TINY = "train char-lm --corpus hillside --hidden 3 --embedding 3 --batch-size 8 --bptt 10 --name mine"


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    reader = EventAccumulator(str(folder))
    reader.Reload()
    return {name: [(each.step, each.value) for each in reader.Scalars(name)] for name in reader.Tags()["scalars"]}


def metrics(run: Path) -> list[dict[str, Any]]:
    import json

    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_curves_are_next_to_the_checkpoints_and_continue(rnn, home: Path) -> None:
    run = home / "checkpoints" / "char-lm" / "mine"
    first = rnn(f"{TINY} --epochs 1 --tensorboard")
    assert first.code == 0
    assert f"tensorboard --logdir {run / 'tensorboard'}" in first.out
    before = curves(run / "tensorboard")
    assert rnn("train char-lm --resume --name mine --epochs 2 --tensorboard").code == 0
    after, records = curves(run / "tensorboard"), metrics(run)
    for name in ("loss", "accuracy", "perplexity", "bits_per_char"):
        wanted = [(record["step"], pytest.approx(record[name], rel=1e-6)) for record in records]
        assert after[f"validation/{name}"] == wanted
    steps = records[-1]["step"]
    for name in ("train/loss", "train/lr"):
        assert after[name][: len(before[name])] == before[name]
        assert len(after[name]) == 2 * (steps // 20)
        assert after[name][0][0] == 10
    assert after["train/lr"][-1][1] < after["train/lr"][len(before["train/lr"]) // 2][1]  # the cosine's end


def test_a_missing_library_is_one_line_and_starts_no_run(rnn, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    ran = rnn(f"{TINY} --epochs 1 --tensorboard")
    assert ran.code == 1
    message = "--tensorboard needs tensorboard, which is not installed: pip install 'rnncli[tensorboard]'"
    assert ran.err == f"rnn: error: {message}\n"
    assert not (home / "checkpoints").exists()


@pytest.mark.parametrize("method", ["add_scalar", "close", "__init__"])
def test_a_full_disk_stops_the_curves_but_not_the_training(
    rnn, home: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, method, full)
    ran = rnn(f"{TINY} --epochs 1 --tensorboard")
    assert ran.code == 0
    assert ran.err.count("nothing more for TensorBoard: cannot write to ") == 1
    assert "No space left on device" in ran.err
