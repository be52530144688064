"""What does a busy second core cost? Times steps on two threads, with each way in which they wait for each other.

Each setting is a process of its own. A round runs all of them, so that other work on the machine slows all alike; the
figures are milliseconds per step: the median over rounds of each process's median.
`--busy` binds another process to the second core, which it takes for half the time. `--real-time` (root, Linux) runs
everything at real-time priority, as if nothing else ran, and other programs stand still meanwhile.
Run: python benchmarks/busy_core.py [--rounds 3] [--seconds 0.5] [--busy] [--real-time]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from statistics import median

from rnncli.launch import SPINS, WAITING

SETTINGS: dict[str, dict[str, str]] = {
    "libgomp's default (spins 300,000)": {"GOMP_SPINCOUNT": "300000"},
    "`rnn`'s default": {"GOMP_SPINCOUNT": SPINS},
    "`GOMP_SPINCOUNT=1000`": {"GOMP_SPINCOUNT": "1000"},
    "`OMP_WAIT_POLICY=PASSIVE`": {"OMP_WAIT_POLICY": "PASSIVE"},
    "`OMP_NUM_THREADS=1`": {"OMP_NUM_THREADS": "1"},
}
CELLS = ("elman", "gru:reset-before", "lstm:none")
COMPETITOR = """
import time
while True:
    end = time.perf_counter() + 0.003
    while time.perf_counter() < end:
        pass
    time.sleep(0.003)
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--real-time", action="store_true")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(medians(arguments.seconds)))
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SETTINGS}
    for _ in range(arguments.rounds):
        for name, setting in SETTINGS.items():
            with competitor(busy=arguments.busy, real_time=arguments.real_time):
                found[name].append(measured(setting, arguments.seconds, real_time=arguments.real_time))
    steps = list(found["`rnn`'s default"][0])
    print(f"| ms per step | {' | '.join(steps)} |", f"| --- |{' --- |' * len(steps)}", sep="\n")
    for name, rounds in found.items():
        print(f"| {name} | {' | '.join(f'{median(each[step] for each in rounds):.3g}' for step in steps)} |")


@contextmanager
def competitor(*, busy: bool, real_time: bool):
    """Run a process that takes half of the second core while inside."""
    if not busy:
        yield
        return
    first = ["chrt", "--fifo", "20"] * real_time
    process = subprocess.Popen([*first, "taskset", "--cpu-list", "1", sys.executable, "-c", COMPETITOR])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measured(setting: dict[str, str], seconds: float, *, real_time: bool) -> dict[str, float]:
    """The medians of a process with these environment variables."""
    others = {name: value for name, value in os.environ.items() if name not in (*WAITING, "OMP_NUM_THREADS")}
    words = [sys.executable, __file__, "--measure", "--seconds", str(seconds)]
    first = ["chrt", "--fifo", "10"] * real_time
    ran = subprocess.run([*first, *words], env=others | setting, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def medians(seconds: float) -> dict[str, float]:
    """Milliseconds of a training step of a character model, and of a layer's forward and backward pass, by name."""
    found = {"char-lm, 256-256 units, T64 B32": timed(character_step(), seconds)}
    for kind in CELLS:
        found[f"{kind} T35 B20 M200"] = timed(layer_step(kind), seconds)
    return found


def timed(step: Callable[[], object], seconds: float) -> float:
    for _ in range(3):
        step()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        began = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - began))
    return median(times)


def character_step() -> Callable[[], object]:
    import torch

    from rnncli.data.batching import Batch
    from rnncli.models.language_model import LanguageModel
    from rnncli.models.stack import StackShape
    from rnncli.training.experiment import Experiment
    from rnncli.training.loop import Trainer
    from rnncli.training.losses import language_loss
    from rnncli.training.machine import keep_freed_memory, matmul_policy
    from rnncli.training.settings import TrainingSettings

    keep_freed_memory()
    model = LanguageModel(65, 64, StackShape("lstm:none", (256, 256)))
    ids = torch.randint(65, (65, 32), generator=torch.Generator().manual_seed(0))
    batch = Batch(ids[:-1], ids[1:])
    experiment = Experiment(model, lambda *_: [batch], 1, language_loss, lambda _: {})
    trainer = Trainer(experiment, TrainingSettings(precision="float32"))

    def step() -> object:
        with matmul_policy(model):
            return trainer.take_step(batch)

    return step


def layer_step(kind: str) -> Callable[[], object]:
    from rnncli.analysis.bench_cells import Shape, of_cell
    from rnncli.kernels.matmul import fast_matmul

    passes = of_cell(kind, Shape(35, 20, 200, 200))

    def step() -> object:
        with fast_matmul("float32"):
            return passes()

    return step


if __name__ == "__main__":
    main()
