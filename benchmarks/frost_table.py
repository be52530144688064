"""How good is `rnn train poetry-lm --tokens words` on Frost? Trains the recipe from several seeds, each cell from one.

Prints held-out perplexity and accuracy next to n-grams, the mean length of 1,000 lines written at the defaults, and the
share of lines that copy the training text. Needs the corpus (rnn data get frost).
Run: python benchmarks/frost_table.py [--seeds 5]
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from rnncli.api import Training, load
from rnncli.data.corpora import load_corpus
from rnncli.language.reading import TextOptions
from rnncli.presets import resolve
from rnncli.task import Trained
from rnncli.tasks import TASKS
from rnncli.tasks.poetry_lm import GenerateOptions, write

TASK = TASKS["poetry-lm"]
OTHERS = ("elman", "rated", "gru", "lstm", "lstm:none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--corpus", default="frost")
    arguments = parser.parse_args()
    print("| model | held-out perplexity | accuracy | seconds | words per line (corpus) | copies |")
    print("| --- | --- | --- | --- | --- | --- |")
    origin = load_corpus(arguments.corpus).origin
    corpus = (arguments.corpus if origin == "embedded" else str(Path(origin).absolute()),)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RNN_HOME"] = folder  # deletes the runs at the end
        runs = [train(seed=seed, corpus=corpus) for seed in range(arguments.seeds)]
        print(row(f"GRU reset-after (default), {arguments.seeds} seeds", runs), flush=True)
        for cell in OTHERS:
            print(row(f"{cell}, seed 0", [train(cell=cell, corpus=corpus)]), flush=True)
        for name, metrics in TASK.baselines(runs[0][0], TextOptions()).items():
            print(f"| {name} | {metrics['perplexity']:.1f} | {metrics['accuracy']:.3f} | | | |")


def train(**flags: Any) -> tuple[Trained, float]:
    """Train the default recipe on the book's words with these flags; the last step's model, and the seconds."""
    training = Training.start(TASK.name, resolve(TASK, {"tokens": "words", **flags}))
    training.train(lambda _: None, print)
    return load(training.run.folder / "last.safetensors"), training.trainer.progress.seconds


def row(name: str, runs: list[tuple[Trained, float]]) -> str:
    """A row of the table: means over the runs, with the spread of the perplexity if there are several."""
    evaluated = [TASK.evaluate.run(trained, TextOptions()) for trained, _ in runs]
    written = [write(trained, GenerateOptions(lines=1000, seed=0)) for trained, _ in runs]
    words = statistics.mean(len(line.split()) for each in written for line in each.lines)
    copies = statistics.mean(each.facts["copies"] / 1000 for each in written)
    training_lines = TASK.token_access.data(runs[0][0], "").verse.training
    perplexities = [each["perplexity"] for each in evaluated]
    spread = f" ± {statistics.stdev(perplexities):.1f}" if len(runs) > 1 else ""
    return (
        f"| {name} | {statistics.mean(perplexities):.1f}{spread} | "
        f"{statistics.mean(each['accuracy'] for each in evaluated):.3f} | {statistics.mean(s for _, s in runs):.1f} | "
        f"{words:.2f} ({statistics.mean(len(line.words) for line in training_lines):.2f}) | {copies:.1%} |"
    )


if __name__ == "__main__":
    main()
