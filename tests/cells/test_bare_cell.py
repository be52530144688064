"""A cell with only a `step` is trained, resumed, used, inspected and measured like any other."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from support.bare import NAME, PLACE
from support.numpy_loop import Weights

from rnncli.analysis import bench, bench_cells, bench_costs
from rnncli.api import Training, load
from rnncli.cells import CELLS
from rnncli.kernels.fused import trouble
from rnncli.presets import resolve
from rnncli.tasks import TASKS
from rnncli.testing import check_cell
from rnncli.training.checkpoint import read

pytestmark = pytest.mark.usefixtures("plain_loops")


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CELLS, NAME, PLACE)


def test_equals_its_equation() -> None:
    def step(x, state, w: Weights):
        (h,) = state
        return (h + (np.tanh(x @ w["weight_x"].T + h @ w["weight_h"].T + w["bias"]) - h) / 4,)

    check_cell(NAME, step)


def test_resumed_run_equals_an_uninterrupted_one(home: Path) -> None:
    def start(name: str, epochs: int) -> Training:
        flags = {"cell": NAME, "bits": 3, "hidden": "3", "seed": 1, "epochs": epochs}
        return Training.start("parity", resolve(TASKS["parity"], flags), name)

    whole, half = start("whole", 2), start("half", 1)
    for training in (whole, half):
        training.train(lambda _: None, pytest.fail)
    resumed = Training.resume(half.run, {"epochs": 2})
    resumed.train(lambda _: None, pytest.fail)
    ends = [read(training.run.folder / "last.safetensors") for training in (whole, resumed)]
    assert ends[0].header["progress"]["step"] == ends[1].header["progress"]["step"] > half.trainer.progress.step
    assert ends[0].tensors.keys() == ends[1].tensors.keys()
    assert all(ends[0].tensors[name].equal(value) for name, value in ends[1].tensors.items())
    model = load("half").model
    assert model.stack.backend_in_use == ("reference" if trouble() else "fused")


@pytest.mark.slow
def test_every_language_model_verb_accepts_it(rnn, tmp_path: Path) -> None:
    train = f"train char-lm --cell {NAME} --hidden 4,3 --embedding 4 --epochs 1 --corpus hillside --name mine"
    assert rnn(train).code == 0
    told = {
        words: json.loads(rnn(f"{words} --json").out)
        for words in (
            "generate char --from mine --length 20 --seed 1",
            "generate char --from mine --length 5 --beam 2",
            "score 'the gate' --from mine",
            "activations mine --text 'the gate is open'",
            "gradients --from mine --text 'the gate'",
            f"gradients --cell {NAME} --length 5 --hidden 4 --radius 1",
            f"export mine --onnx {tmp_path / 'mine.onnx'}",
            "evaluate char-lm --from mine",
        )
    }
    *_, gradients, fresh, exported, _ = told.values()
    assert {row["state"] for row in gradients["rows"]} == {"h1", "h2"}
    assert fresh["rows"][0]["name"] == f"{NAME}, radius 1"
    assert exported["files"][0]["difference"] < 1e-5


def test_it_is_compared_with_others(rnn) -> None:
    ran = rnn(f"compare parity --cell {NAME} --cell elman --hidden 2 --bits 2 --epochs 1 --seeds 1 --json")
    assert [net["cell"] for net in json.loads(ran.out)["nets"]] == [NAME, "elman"]


def test_backend_without_the_cell_is_refused_in_one_line(rnn, home: Path) -> None:
    ran = rnn(f"train parity --cell {NAME} --backend torch")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert ran.err.endswith("; use --backend reference or auto\n")
    assert not (home / "checkpoints").exists()


@pytest.mark.slow
def test_bench_measures_it(rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (bench_cells, bench_costs):
        monkeypatch.setattr(module, "SHAPES", (bench_cells.Shape(3, 2, 4, 4),) * 3)
    monkeypatch.setattr(bench, "LONG_ENOUGH", 0.0)
    row, *_ = bench_cells.own_rows(NAME)
    assert row.contenders.keys() == {"ours", "plain loop", *([] if trouble() else ["floor"])}
    (measured,) = bench.measure([row], rounds=1)
    assert measured.ratio > 0
    if sys.platform == "linux":
        told, *_ = json.loads(rnn(f"bench memory --cell {NAME} --json").out)["rows"]
        assert (told["torch"], told["ratio"]) == (None, None)
        assert rnn(f"bench memory --cell {NAME}").code == 0
    assert "unknown cell 'flute'" in rnn("bench memory --cell flute").err
