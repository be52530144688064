"""Does a language model help `rnn train poetry-classify` to tell Frost from Poe, with few labelled lines and with all?

For each of five folds (seed 0), 50, 200 and all of the fold's training lines are labelled. A language model reads the
fold's training lines, as one text without labels, or only the labelled ones; no model reads a line of the fold's test
part. Each distinct line counts once. Prints the mean accuracy over the folds, its spread (standard deviation of the
folds), and in how many folds a net is better than the one that starts from the same language model before its training.
Needs the corpora (rnn data get frost poe). Run: python benchmarks/classify_transfer.py [FOLD …]
"""

import csv
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rnncli.api import Training, load
from rnncli.data.corpora import load_corpus
from rnncli.data.folds import clusters, stratified_folds
from rnncli.data.labelled import LabelledTexts, read_labelled
from rnncli.labelling.settings import LabelledOptions
from rnncli.presets import resolve
from rnncli.tasks import TASKS

FOLDS, SEED = 5, 0
EPOCHS = {50: 40, 200: 20, 0: 6}
"""Labelled lines (0: all of the fold's training lines), and passes over them."""

LANGUAGE: dict[str, Any] = {
    "cell": "lstm:none",
    "hidden": "128",
    "embedding": 128,
    "embedding_dropout": 0.3,
    "output_dropout": 0.5,
    "hold_out": 0.0,
    "epochs": 10,
    "validate_every": 10**6,
    "seed": SEED,
}
SHARED: dict[str, Any] = {"folds": 0, "ensemble": 1, "batch_size": 32, "validate_every": 10**6, "seed": SEED}
SCRATCH: dict[str, Any] = {"lr": 4e-3}
FINE_TUNED: dict[str, Any] = {"lr": 1e-2}

UNTRAINED = "untrained language model"
"""The net of the language models with new weights."""


class Part(NamedTuple):
    """The numbers of a fold's training lines, in random order, and of its test lines."""

    training: list[int]
    test: list[int]


def parts(data: LabelledTexts) -> Iterator[Part]:
    """Yield the folds of distinct lines."""
    folds = stratified_folds(data.labels, clusters(data.keys), FOLDS, SEED)
    for fold in range(FOLDS):
        training = [row for row, its in enumerate(folds) if its != fold]
        random.Random(SEED).shuffle(training)
        yield Part(training, [row for row, its in enumerate(folds) if its == fold])


def table(file: Path, data: LabelledTexts, rows: Sequence[int]) -> str:
    """Write lines with their labels as a table; returns its path."""
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("text", "label"), *((data.texts[row], data.labels[row]) for row in rows)])
    return str(file)


def language_model(file: Path, data: LabelledTexts, rows: Sequence[int], name: str, *, trained: bool = True) -> str:
    """Train a language model on lines as one text without labels, or only draw its weights; returns its checkpoint."""
    file.write_text("\n".join(data.texts[row] for row in rows), encoding="utf-8")
    training = Training.start("poetry-lm", resolve(TASKS["poetry-lm"], {"corpus": (str(file),), **LANGUAGE}), name)
    if trained:
        training.train(lambda _: None, print)
    return str(training.run.folder / "last.safetensors")


def measure(corpus: str, test: str, name: str, preset: str | None = None, **flags: Any) -> float:
    """Train a classifier; returns its accuracy on the test lines."""
    task = TASKS["poetry-classify"]
    training = Training.start(task.name, resolve(task, {"corpus": (corpus,), **SHARED, **flags}, preset), name)
    training.train(lambda _: None, print)
    model = load(training.run.folder / "last.safetensors")
    accuracy: float = task.evaluate.run(model, LabelledOptions(corpus=(test,)))["accuracy"]
    return accuracy


def nets(folder: Path, data: LabelledTexts, part: Part, fold: str) -> Iterator[tuple[int, str, float]]:
    """Yield the number of labelled lines, the name of a net, and its accuracy, for all nets of a fold."""
    test = table(folder / f"test{fold}.csv", data, part.test)
    untrained = language_model(folder / "all.txt", data, part.training, f"untrained{fold}", trained=False)
    everything = language_model(folder / "all.txt", data, part.training, f"all{fold}")
    for count, epochs in EPOCHS.items():
        rows = part.training[: count or None]
        corpus, name = table(folder / f"train{fold}-{count}.csv", data, rows), f"{fold}-{count}"
        yield count, "defaults, from scratch", measure(corpus, test, f"defaults{name}", epochs=epochs, **SCRATCH)
        starts = {UNTRAINED: untrained, "language model of all training lines": everything}
        if count:
            own = language_model(folder / "own.txt", data, rows, f"own{name}")
            starts["language model of the labelled lines"] = own
        for place, (start, file) in enumerate(starts.items()):
            flags = {"epochs": epochs, "init_from": file, **FINE_TUNED}
            yield count, start, measure(corpus, test, f"{place}{name}", "ulmfit", **flags)


def main() -> None:
    torch.set_num_threads(1)
    began = time.process_time()
    found: dict[tuple[int, str], list[float]] = {}
    wanted = list(map(int, sys.argv[1:])) or list(range(FOLDS))
    corpora = tuple(f"{name}={Path(load_corpus(name).origin).absolute()}" for name in ("frost", "poe"))
    data = read_labelled(corpora).distinct()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RNN_HOME"] = folder  # deletes the runs at the end
        for fold, part in enumerate(parts(data)):
            for count, name, accuracy in nets(Path(folder), data, part, str(fold)) if fold in wanted else ():
                found.setdefault((count, name), []).append(accuracy)
                print(f"fold {fold}, {count or 'all'} lines, {name}: {accuracy:.4f}", file=sys.stderr, flush=True)
    print("| labelled lines | net | accuracy | spread | better than untrained |")
    print("| --- | --- | --- | --- | --- |")
    for (count, name), figures in found.items():
        plain = found[count, UNTRAINED]
        better = sum(one > other for one, other in zip(figures, plain, strict=True))
        spread = statistics.stdev(figures) if len(figures) > 1 else 0.0
        mean = statistics.mean(figures)
        print(f"| {count or 'all'} | {name} | {mean:.3f} | {spread:.3f} | {better} of {len(plain)} |")
    print(f"{time.process_time() - began:.0f} s of one processor")


if __name__ == "__main__":
    main()
