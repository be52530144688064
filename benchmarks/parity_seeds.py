"""Does `rnn train parity` always solve parity? Trains every cell from many seeds, then tests on unseen strings.

Prints a table: seeds that solve all 4,096 strings of 12 bits, seeds that get 1,000 random strings of 1,000 bits right,
steps, restarts, seconds. Run: python benchmarks/parity_seeds.py [--seeds 20] [--cells elman,rated,gru,lstm]
"""

import argparse
import os
import statistics
import tempfile
from typing import Any

from rnncli.api import Training, load
from rnncli.presets import resolve
from rnncli.task import Trained
from rnncli.tasks import TASKS
from rnncli.training.loop import Progress

TASK = TASKS["parity"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--cells", default="elman,rated,gru,lstm")
    arguments = parser.parse_args()
    print("| cell | 12 bits: all 4,096 right | 1,000 x 1,000 bits right | steps | restarts | seconds, median (max) |")
    print("| --- | --- | --- | --- | --- | --- |")
    for cell in arguments.cells.split(","):
        runs = [one_run(cell, seed) for seed in range(arguments.seeds)]
        short, long, steps, restarts, seconds = zip(*runs, strict=True)
        print(
            f"| {cell} | {sum(each == 1 for each in short)} of {len(runs)} | {sum(each == 1 for each in long)} of "
            f"{len(runs)} | {statistics.median(steps):.0f} ({max(steps)}) | {sum(restarts)} in all | "
            f"{statistics.median(seconds):.2f} ({max(seconds):.2f}) |",
            flush=True,
        )


def one_run(cell: str, seed: int) -> tuple[float, float, int, int, float]:
    """Train once; the accuracies on both kinds of strings, steps, restarts and seconds of training."""
    trained, progress = train(cell=cell, seed=seed)
    short = accuracy(trained)
    long = accuracy(trained, bits=1000, strings=1000, seed=seed)
    return short, long, progress.step, progress.restarts, progress.seconds


def train(**flags: Any) -> tuple[Trained, Progress]:
    """Train parity with these flags in a separate home; the best model, and the progress of its training."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RNN_HOME"] = folder
        training = Training.start("parity", resolve(TASK, flags))
        training.train(lambda _: None, print)
        return load(training.run.folder / "best.safetensors"), training.trainer.progress


def accuracy(trained: Trained, **options: Any) -> float:
    """The classification rate at the last step, as in `rnn evaluate parity`."""
    rate: float = TASK.evaluate.run(trained, TASK.evaluate.Options(**options))["accuracy"]
    return rate


if __name__ == "__main__":
    main()
