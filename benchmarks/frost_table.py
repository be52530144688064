"""How good is `rnn train poetry-lm` on Frost? Trains the default recipe from several seeds and each cell from one.

Prints held-out perplexity and accuracy beside n-grams, the mean length of 1,000 lines written at the defaults, and the
share that copy the training text. Needs the corpus (rnn data get frost).
Run: python benchmarks/frost_table.py [--seeds 5]
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from rnncli.analysis.baselines import BASELINES
from rnncli.api import Training, load
from rnncli.tasks import TASKS
from rnncli.tasks.base import Trained, resolve
from rnncli.tasks.poetry_lm import EvaluateOptions, GenerateOptions, write
from rnncli.training.runs import Run

TASK = TASKS["poetry-lm"]
OTHERS = ("elman", "rated", "gru", "lstm", "lstm:none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--corpus", default="frost")
    arguments = parser.parse_args()
    print("| model | held-out perplexity | accuracy | seconds | words a line (corpus) | copies |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        runs = [train(Path(folder), seed=seed, corpus=(arguments.corpus,)) for seed in range(arguments.seeds)]
        print(row(f"GRU reset-after (default), {arguments.seeds} seeds", runs), flush=True)
        for cell in OTHERS:
            print(row(f"{cell}, seed 0", [train(Path(folder), cell=cell, corpus=(arguments.corpus,))]), flush=True)
        for name, metrics in BASELINES["poetry-lm"](runs[0][0], EvaluateOptions()).items():
            print(f"| {name} | {metrics['perplexity']:.1f} | {metrics['accuracy']:.3f} | | | |")


def train(folder: Path, **flags: Any) -> tuple[Trained, float]:
    """Train the default recipe with these flags; the model of the last step, and the seconds it took."""
    settings = TASK.settle(resolve(TASK, flags))
    training = Training(TASK, settings, Run(folder / TASK.name / f"{settings.label}-{settings.seed}"))
    training.run(lambda _: None, print)
    return load(training.run_folder.folder / "last.safetensors"), training.trainer.progress.seconds


def row(name: str, runs: list[tuple[Trained, float]]) -> str:
    """A row of the table: means over the runs, and the spread of the perplexity where there are several."""
    evaluated = [TASK.evaluate.run(trained, EvaluateOptions()) for trained, _ in runs]
    written = [write(trained, GenerateOptions(lines=1000, seed=0)) for trained, _ in runs]
    words = statistics.mean(len(line.split()) for each in written for line in each.lines)
    copies = statistics.mean(each.copies / 1000 for each in written)
    perplexities = [each["perplexity"] for each in evaluated]
    spread = f" ± {statistics.stdev(perplexities):.1f}" if len(runs) > 1 else ""
    return (
        f"| {name} | {statistics.mean(perplexities):.1f}{spread} | "
        f"{statistics.mean(each['accuracy'] for each in evaluated):.3f} | {statistics.mean(s for _, s in runs):.1f} | "
        f"{words:.2f} ({runs[0][0].payload['words_a_line']:.2f}) | {copies:.1%} |"
    )


if __name__ == "__main__":
    main()
