"""Steps per second of one process and of two under torchrun, next to each other, with their last losses.

    python benchmarks/processes.py [--rounds 3] [--case NAME]

Each round runs one process of one thread, one process of two threads, and two processes of one thread each, one after
another, on two otherwise idle cores. Figures are over the steps of all rounds, without the first ten of each.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from rnncli.data.corpora import load_corpus
from rnncli.presets import resolve
from rnncli.tasks import TASKS

WARM_UP = 10


class Case(NamedTuple):
    """A training that is measured."""

    task: str
    flags: dict[str, Any]
    steps: int


PLAIN = {"output_dropout": 0.0, "precision": "float32", "optimizer": "adamw", "lr": 1e-3, "schedule": "constant"}
"""Muon would enlarge a difference in the last digit, from another order of sums, to one in the second digit."""

CASES = {
    "char-lm, one LSTM of 512, 64 x 100": Case("char-lm", {**PLAIN, "hidden": "512", "bptt": 100}, 30),
    "char-lm, two LSTMs of 256, 64 x 32": Case("char-lm", PLAIN, 100),
    "parity, its recipe: 4 units, 64 x 12": Case("parity", {"patience_steps": 0}, 500),
}

WAYS = {
    "one process, one thread": (1, 1),
    "one process, two threads": (1, 2),
    "two processes, one thread each": (2, 1),
}


def train(case: Case) -> None:
    """Train as `rnn train` does; the first process prints the steps' seconds and predictions, and the last loss."""
    from rnncli.api import Training
    from rnncli.training.distributed import is_first, together
    from rnncli.training.loop import Stepped
    from rnncli.training.machine import keep_freed_memory, matmul_policy

    flags = {**case.flags, "corpus": (os.environ["CORPUS"],)} if case.task == "char-lm" else case.flags
    with together():
        trainer = Training.start(case.task, resolve(TASKS[case.task], {**flags, "epochs": 1_000})).trainer
        keep_freed_memory()
        seconds, predictions, loss, began = [], 0, 0.0, time.perf_counter()
        with matmul_policy(trainer.model, trainer.settings.precision):
            for event in trainer.events():
                if isinstance(event, Stepped):
                    seconds.append(time.perf_counter() - began)
                    predictions, loss = event.predictions, event.loss
                    if trainer.progress.step == case.steps:
                        break
                began = time.perf_counter()
        if is_first():
            print(json.dumps({"seconds": seconds[WARM_UP:], "predictions": predictions, "loss": loss}))


def measured(name: str, processes: int, threads: int, folder: Path) -> dict[str, Any]:
    """Run a training in a number of processes and threads, and return the figures that it prints."""
    own = {"OMP_NUM_THREADS": str(threads), "RNN_HOME": str(folder), "CORPUS": f"{folder}/text.txt"}
    environment = {**os.environ, **own, "TORCH_CPP_LOG_LEVEL": "ERROR"}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *launch, __file__, "--train", name]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--train", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        train(CASES[arguments.train])
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "text.txt").write_text(load_corpus("hillside").text * 40, encoding="utf-8")
        print("| training | processes | steps/s, median | fastest tenth | tokens/s, median | last loss |")
        print("| --- | --- | --- | --- | --- | --- |")
        for name in arguments.case or CASES:
            rounds = [{way: measured(name, *WAYS[way], Path(folder)) for way in WAYS} for _ in range(arguments.rounds)]
            for way in WAYS:
                seconds = [each for found in rounds for each in found[way]["seconds"]]
                rate, fastest = 1 / statistics.median(seconds), 1 / statistics.quantiles(seconds, n=10)[0]
                last = rounds[-1][way]
                tokens, loss = rate * last["predictions"], last["loss"]
                print(f"| {name} | {way} | {rate:.1f} | {fastest:.1f} | {tokens:,.0f} | {loss:.5f} |", flush=True)


if __name__ == "__main__":
    main()
