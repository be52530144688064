"""Two processes under torchrun train as one: the same curve, weights and files; stopped or killed, they continue."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from support.processes import PATIENCE, commands_path, heed_interrupts
from torch import Tensor

from rnncli.__main__ import run
from rnncli.api import Training
from rnncli.data.batching import IGNORED, Batch, LazyBatch
from rnncli.data.features import Ragged, Tokens
from rnncli.errors import Interrupted
from rnncli.launch import LAUNCHED
from rnncli.presets import resolve
from rnncli.tasks import TASKS
from rnncli.training import checkpoint, distributed
from rnncli.training.interrupts import Interrupts
from rnncli.training.loop import Event
from rnncli.training.losses import committee_loss

pytestmark = [pytest.mark.posix("signals to other processes"), pytest.mark.no_backend]

STEPPED = "--backend reference"  # compiling loops in each process would take most of the time
STREAM = {
    "corpus": ("hillside",),
    "hidden": "8",
    "embedding": 8,
    "batch_size": 7,
    "bptt": 40,
    "schedule": "constant",
    "weight_drop": 0.0,
    "backend": "reference",
}
CHARS = (
    "char-lm --corpus hillside --hidden 8 --embedding 8 --batch-size 7 --bptt 40 --schedule constant --weight-drop 0 "
    f"{STEPPED}"
)
ALIKE = {
    "char-lm": f"{CHARS} --output-dropout 0 --epochs 2",
    "parity": f"parity --bits 5 --hidden 4 --batch-size 101 --epochs 1 --validate-every 20 --lr 0.001 {STEPPED}",
}
"""Trainings without dropout: with carried states and windows, and with no states at all."""

OTHERS = {
    "poetry-lm": "poetry-lm --corpus hillside --hidden 8 --embedding 8 --batch-size 4 --accumulate 2 --bptt 5 "
    f"--epochs 1 --word-dropout 0 --embedding-dropout 0 --output-dropout 0 {STEPPED}",
    "poetry-classify": "poetry-classify --corpus hillside --corpus nocturne --hidden 8 --folds 2 --ensemble 1 "
    "--batch-size 33 --epochs 2 --word-dropout 0 --char-dropout 0 --input-dropout 0 --output-dropout 0 --class-weights "
    f"{STEPPED}",
}
"""The same with accumulated batches, and with independent parts."""

DROPPED = f"{CHARS} --output-dropout 0.5 --epochs 3 --save-every 0.05"


class Launch:
    """Processes of one torchrun agent that run command lines one after another; none of them outlives the block."""

    def __init__(
        self, home: Path, *words: str, options: str = "--standalone --nproc-per-node 2", dies: str = "", name: str = ""
    ) -> None:
        launch = f"-m torch.distributed.run {options} {commands_path()}"
        self.texts = [home / f"{name}{len(words)}.{stream}" for stream in ("out", "err")]
        with self.texts[0].open("w") as out, self.texts[1].open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, *launch.split(), *words],
                env={**os.environ, "RNN_HOME": str(home), "OMP_NUM_THREADS": "1", "DIES": dies},
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=heed_interrupts,
            )

    def __enter__(self) -> "Launch":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def out(self) -> str:
        return self.texts[0].read_text()

    @property
    def err(self) -> str:
        return self.texts[1].read_text()


def ours(err: str) -> list[str]:
    """Return the lines in which `rnn` says how it ended."""
    return [line for line in err.splitlines() if line.startswith("rnn: ")]


def last(home: Path, task: str, name: str) -> checkpoint.Checkpoint:
    return checkpoint.read(home / "checkpoints" / task / name / "last.safetensors")


def differences(one: dict[str, Tensor], two: dict[str, Tensor]) -> dict[str, float]:
    """Return the greatest difference of each tensor that differs; names and shapes must be equal.

    Python's and numpy's generators are left out: what is imported on the way may draw from them, and training does not.
    """
    assert {name: value.shape for name, value in one.items()} == {name: value.shape for name, value in two.items()}
    each = {
        name: (value.double() - two[name].double()).abs().max()
        for name, value in one.items()
        if value.numel() and not name.startswith(("random.python", "random.numpy"))
    }
    return {name: float(value) for name, value in each.items() if value}


def leave_half(name: str, steps: int) -> None:
    """Interrupt the single-process training of char-lm after `steps` steps."""
    training = Training.start(
        "char-lm", resolve(TASKS["char-lm"], {**STREAM, "output_dropout": 0.0, "epochs": 2}), name
    )

    def listen(event: Event) -> None:
        if training.trainer.progress.step == steps:
            patched.setattr(Interrupts, "received", signal.SIGINT)  # a signal itself may be ignored in the background

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Interrupted):
        training.train(listen, pytest.fail)


class Trained(NamedTuple):
    """What two processes left, next to the same from one process."""

    home: Path
    out: str
    err: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Run all trainings in one launch; the last one never ends and is interrupted."""
    home = tmp_path_factory.mktemp("home")
    commands = [
        *(f"train {words} --json --name two" for words in ALIKE.values()),
        "train char-lm --resume --name half",
        f"train {ALIKE['char-lm']} --epochs 100000 --name stopped",
    ]
    metrics, deadline = home / "checkpoints/char-lm/stopped/metrics.jsonl", time.monotonic() + PATIENCE
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNN_HOME", str(home))
        leave_half("half", steps=20)
        with Launch(home, *commands) as launch:
            for words in ALIKE.values():
                assert run(shlex.split(f"train {words} --name one")) == 0
            while not (metrics.exists() and metrics.stat().st_size):
                assert launch.process.poll() is None, launch.err
                assert time.monotonic() < deadline, launch.err
                time.sleep(0.02)
            os.killpg(
                launch.process.pid, signal.SIGINT
            )  # as a terminal does: to all, and to torchrun, which forwards it
            assert launch.process.wait(timeout=PATIENCE) != 0
        yield Trained(home, launch.out, launch.err)


@pytest.mark.slow
@pytest.mark.parametrize("task", ALIKE)
def test_two_processes_take_the_steps_of_one(task: str, trained: Trained) -> None:
    check_alike(trained.home, task)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_in_other_tasks(home: Path) -> None:
    with Launch(home, *(f"train {words} --json --name two" for words in OTHERS.values())) as launch:
        for words in OTHERS.values():
            assert run(shlex.split(f"train {words} --name one")) == 0
        assert launch.process.wait(timeout=PATIENCE) == 0, launch.err
    for task in OTHERS:
        check_alike(home, task)


@pytest.mark.slow
def test_two_processes_unfreeze_layers_as_one(home: Path) -> None:
    """From the weights of a language model before its first step."""
    source = {"corpus": ("hillside",), "hidden": "8,7", "embedding": 8, "backend": "reference"}
    Training.start("poetry-lm", resolve(TASKS["poetry-lm"], source), "lm")
    words = (
        "tag --corpus hillside --init-from poetry-lm/lm --preset ulmfit --epochs 4 --batch-size 64 --word-dropout 0 "
        f"--input-dropout 0 --output-dropout 0 {STEPPED}"
    )
    with Launch(home, f"train {words} --json --name two") as launch:
        assert run(shlex.split(f"train {words} --name one")) == 0
        assert launch.process.wait(timeout=PATIENCE) == 0, launch.err
    check_alike(home, "tag")


def check_alike(home: Path, task: str) -> None:
    """Metrics, weights, the optimizer's averages, carried states, generators: everything in a checkpoint."""
    one, two = (last(home, task, name) for name in ("one", "two"))
    histories = [found.header["progress"]["history"] for found in (one, two)]
    assert len(histories[0]) == len(histories[1]) > 0
    for ours, theirs in zip(*histories, strict=True):
        assert {**ours, "seconds": 0} == pytest.approx({**theirs, "seconds": 0}, rel=1e-4)
    assert max(differences(one.tensors, two.tensors).values(), default=0) < 1e-4
    assert one.header["config"] == two.header["config"]


@pytest.mark.slow
def test_only_one_process_writes_and_prints(trained: Trained) -> None:
    objects = [line for line in trained.out.splitlines() if line.startswith("{")]
    assert len(objects) == len(ALIKE)
    for task in ALIKE:
        folder = trained.home / "checkpoints" / task
        assert {file.name for file in (folder / "one").iterdir()} == {file.name for file in (folder / "two").iterdir()}
        lines = [len((folder / name / "metrics.jsonl").read_text().splitlines()) for name in ("one", "two")]
        assert lines[0] == lines[1]
    assert trained.err.count("run two, started") == len(ALIKE)
    assert trained.err.count("2 processes") == len(ALIKE) + 2
    assert "Warning" not in trained.err


@pytest.mark.slow
def test_two_processes_continue_a_run_of_one(trained: Trained) -> None:
    """In mid-epoch, with carried states."""
    whole, resumed = (last(trained.home, "char-lm", name) for name in ("one", "half"))
    assert resumed.header["progress"]["step"] == whole.header["progress"]["step"]
    assert max(differences(whole.tensors, resumed.tensors).values(), default=0) < 1e-4


@pytest.mark.slow
def test_interrupted_processes_save_once_and_one_continues(trained: Trained) -> None:
    progress = last(trained.home, "char-lm", "stopped").header["progress"]
    assert ours(trained.err) == [
        f"rnn: stopped and saved at step {progress['step']}: "
        "`rnn train char-lm --resume --name stopped` continues from here"
    ]
    epochs = f"--epochs {progress['epoch'] + 1}"
    assert run(shlex.split(f"train char-lm --resume --name stopped {epochs}")) == 0
    assert run(shlex.split(f"train {ALIKE['char-lm']} {epochs} --name whole")) == 0
    whole, resumed = (last(trained.home, "char-lm", name) for name in ("whole", "stopped"))
    assert resumed.header["progress"]["step"] == whole.header["progress"]["step"] > progress["step"]
    assert max(differences(whole.tensors, resumed.tensors).values(), default=0) < 1e-3


@pytest.mark.slow
def test_killed_and_restarted_processes_end_as_without_the_failure(trained: Trained) -> None:
    """To the bit, dropout and all, by two agents, of which one may count the restart and the other not.

    The first process is killed, which speaks for all: the other speaks.
    """
    with Launch(trained.home, f"train {DROPPED} --name dropped", name="c") as alive:
        assert alive.process.wait(timeout=PATIENCE) == 0, alive.err
    store: Any = dist
    endpoint = store.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    meet = f"--rdzv-backend c10d --rdzv-endpoint 127.0.0.1:{endpoint.port} --rdzv-conf is_host=0"
    command, options = f"train {DROPPED} --name killed", f"--nnodes 2 --nproc-per-node 1 --max-restarts 1 {meet}"
    with (
        Launch(trained.home, command, options=options, dies="0:0:killed:70", name="a") as one,
        Launch(trained.home, command, options=options, dies="0:0:killed:70", name="b") as two,
    ):
        assert [each.process.wait(timeout=PATIENCE) for each in (one, two)] == [0, 0], one.err + two.err
    (line,) = ours(one.err + two.err)
    assert line.startswith("rnn: error: another process of this training has ended, so this one ends too: --resume")
    assert "run killed, resumed" in one.err + two.err
    whole, resumed = (last(trained.home, "char-lm", name) for name in ("dropped", "killed"))
    assert differences(whole.tensors, resumed.tensors) == {}
    steps = [[record["step"] for record in found.header["progress"]["history"]] for found in (whole, resumed)]
    assert steps[0] == steps[1]


def test_single_process_keeps_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(distributed.LAUNCHED, raising=False)
    batch = Batch(torch.zeros(3, 2), torch.zeros(3, 2))
    with distributed.together():
        assert distributed.world() == 1
        assert distributed.is_first()
        assert distributed.our_part(batch) is batch
        assert distributed.begun() is None
        assert distributed.from_first(lambda: 5) == 5


@pytest.mark.parametrize(("rows", "world"), [(7, 2), (8, 3), (2, 3), (1, 2), (64, 4)])
def test_parts_of_all_processes_cover_the_batch(rows: int, world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world", lambda: world)
    targets = torch.arange(3 * rows).view(3, rows)
    batch = Batch(-targets, targets, lengths=torch.arange(rows) + 1, continues=True, labels=targets + 1)
    parts = []
    for rank in range(world):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(distributed.our_part(batch))
    with_targets = [each for each in parts if each.predictions]
    for columns, whole in (("inputs", -targets), ("targets", targets), ("labels", targets + 1)):
        torch.testing.assert_close(torch.cat([getattr(each, columns) for each in with_targets], 1), whole)
    assert torch.cat([each.lengths for each in with_targets]).tolist() == [*range(1, rows + 1)]
    sizes = [each.rows for each in parts]
    assert min(sizes) >= 1  # a process without targets takes part too
    assert max(sizes) - min(sizes) <= 1
    assert sum(each.predictions for each in parts) == batch.predictions
    assert all(each.continues for each in parts)
    built_parts: list[slice] = []
    lazy = LazyBatch(rows, lambda part: built_parts.append(part) or batch.part(part))  # type: ignore[func-returns-value]
    for rank in range(world):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        torch.testing.assert_close(distributed.our_part(lazy).targets, parts[rank].targets)
    assert [part.stop - part.start for part in built_parts] == sizes  # no process builds another's rows


def test_parts_of_a_committee_batch_add_up() -> None:
    """Each member's sum covers its own targets, over all parts together."""
    torch.manual_seed(1)
    scores = torch.randn(5, 3, 2, dtype=torch.float64)
    targets = torch.tensor([[0, 1, IGNORED], [1, 1, 0], [IGNORED, 0, 1], [1, IGNORED, 0], [0, 0, IGNORED]])
    words = torch.arange(20).view(4, 5)
    tokens = Tokens(words, words, words, Ragged.of([[1]] * 20))
    batch = Batch(tokens, targets, whole=True)

    def model(tokens: Tokens, states: None, lengths: None) -> tuple[Tensor, None]:
        return scores[tokens.words[0]], None

    whole = committee_loss(model, batch, None).loss_sum
    parts = [committee_loss(model, batch.part(slice(*ends)), None).loss_sum for ends in pairwise((0, 1, 3, 5))]
    torch.testing.assert_close(torch.stack(parts).sum(0), whole)
    means = [
        torch.nn.functional.cross_entropy(scores[:, member], targets[:, member], ignore_index=IGNORED)
        for member in range(3)
    ]
    torch.testing.assert_close(whole / batch.counts, torch.stack(means))


def test_interrupt_ends_a_process_that_waits_for_others() -> None:
    """The same interrupt may have ended the others while they were starting."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    alone = {LAUNCHED: "1", "RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    program = "from rnncli.training.distributed import together\nwith together():\n    pass"
    keys = store.num_keys()
    with subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, **alone}, preexec_fn=heed_interrupts
    ) as one:
        deadline = time.monotonic() + PATIENCE
        while store.num_keys() == keys:
            assert one.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        one.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            one.wait(timeout=20)
        one.kill()
    assert one.returncode == -signal.SIGINT
