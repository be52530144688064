"""How well do word vectors know toyworld? Trains language models on its text, and gensim's word2vec for comparison.

Prints the accuracy on toyworld's 3,952 analogies, by layer and by metric, and the seconds of training; "book" counts
the book's four questions. Needs gensim (the extra `dev`).
Run: python benchmarks/toyworld_analogies.py [--seeds 3]
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from gensim.models import Word2Vec

from rnncli.analysis.analogies import METRICS, evaluate, questions_of, solve
from rnncli.analysis.vectors import of_model
from rnncli.api import Training, load
from rnncli.data import toyworld
from rnncli.data.vectors import WordVectors
from rnncli.presets import resolve
from rnncli.tasks import TASKS

TASK = TASKS["wiki-lm"]
RECIPES: dict[str, dict[str, Any]] = {
    "the defaults: GRU 128, D 64, untied, 5 epochs": {},
    "the same, LSTM without peepholes": {"cell": "lstm:none"},
    "the same, Elman": {"cell": "elman"},
    "the same, weight decay 0.1": {"weight_decay": 0.1},
    "the same, dropout 0.5": {"embedding_dropout": 0.5, "output_dropout": 0.5},
    "the same, M 64": {"hidden": "64"},
    "the same, tied, D 128": {"tied": True, "embedding": 128},
}
BOOK = {
    ("king", "man", "woman"): "queen",
    ("france", "paris", "london"): "england",
    ("france", "paris", "rome"): "italy",
    ("paris", "france", "italy"): "rome",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the recipe; other models are trained once")
    seeds = parser.parse_args().seeds
    print("| model | layer | seconds | " + " | ".join(METRICS) + " | book |")
    print("| --- | --- | --- |" + " --- |" * (len(METRICS) + 1))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RNN_HOME"] = folder  # deletes the runs at the end
        for place, (name, recipe) in enumerate(RECIPES.items()):
            runs = [dict(train({**recipe, "seed": seed})) for seed in range(seeds if place == 0 else 1)]
            for layer in runs[0]:
                print(row(f"{name}, {len(runs)} seeds" if len(runs) > 1 else name, layer, [run[layer] for run in runs]))
    for name, how in (("CBOW", {"sg": 0}), ("skip-gram", {"sg": 1})):
        print(row(f"gensim's {name}, D 100, window 5, 20 epochs", "input", [word2vec(how)]))


def train(flags: dict[str, Any]) -> Iterator[tuple[str, tuple[WordVectors, float]]]:
    """The vectors of a model trained with these flags, by layer, and the seconds it took."""
    training = Training.start(TASK.name, resolve(TASK, flags))
    training.train(lambda _: None, print)
    trained = load(training.run.folder / "best.safetensors")
    for layer in ("input",) if trained.config.tied else ("input", "output"):
        yield layer, (of_model(trained, layer), training.trainer.progress.seconds)


def word2vec(how: dict[str, int]) -> tuple[WordVectors, float]:
    """Gensim's vectors of the same text, on one core."""
    lines = [line.split() for line in toyworld.write().splitlines()]
    began = time.perf_counter()
    model = Word2Vec(lines, vector_size=100, window=5, min_count=2, epochs=20, seed=0, workers=1, **how)
    return WordVectors(tuple(model.wv.index_to_key), model.wv.vectors), time.perf_counter() - began


def row(name: str, layer: str, runs: list[tuple[WordVectors, float]]) -> str:
    """A row of the table: means over the runs, with the lowest accuracy if there are several."""
    cells = []
    for metric in METRICS:
        accuracies = [
            evaluate(vectors, questions_of("toyworld"), metric)[-1].metrics["accuracy"] for vectors, _ in runs
        ]
        lowest = f" (lowest {min(accuracies):.1%})" if len(runs) > 1 else ""
        cells.append(f"{statistics.mean(accuracies):.1%}{lowest}")
    book = [
        sum(solve(vectors, *question, metric, 1)[0].word == right for question, right in BOOK.items())
        for vectors, _ in runs
        for metric in METRICS[:2]
    ]
    seconds = statistics.mean(seconds for _, seconds in runs)
    return f"| {name} | {layer} | {seconds:.0f} | {' | '.join(cells)} | {min(book)} of 4 |"


if __name__ == "__main__":
    main()
