"""How well does `rnn train poetry-classify` tell Frost from Poe? Compares it with simpler models on the same folds.

Prints one row for each division of the lines and each input: accuracy and balanced accuracy of single lines, and of
groups if there are any. Needs the corpora and the tagger (rnn data get frost poe nltk-tagger) and the extra
`baselines`. Run: python benchmarks/classify_table.py
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from rnncli.api import Training, load
from rnncli.data.corpora import CORPORA, load_corpus
from rnncli.data.sources import NltkData
from rnncli.labelling.settings import LabelledOptions
from rnncli.presets import resolve
from rnncli.task import Trained
from rnncli.tasks import TASKS

TASK = TASKS["poetry-classify"]
DIVISIONS: dict[str, dict[str, Any]] = {
    "each distinct line once": {},
    "all lines, repeats on one side": {"distinct": False},
    "all lines, groups of four on one side": {"distinct": False, "group": "4"},
}
MODELS: dict[str, dict[str, Any]] = {
    "tags": {"features": ("tags",)},
    "words and characters": {},
}
METRICS = ("accuracy", "balanced_accuracy", "group_accuracy", "group_balanced_accuracy")


def main() -> None:
    corpora = tuple(f"{name}={Path(load_corpus(name).origin).absolute()}" for name in ("frost", "poe"))
    tagger = CORPORA["nltk-tagger"]
    assert isinstance(tagger, NltkData)
    tagger.members()
    os.environ["NLTK_DATA"] = str(tagger.path.absolute().parent.parent)
    print("| lines | model | accuracy | balanced | groups | groups, balanced | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RNN_HOME"] = folder  # deletes the runs at the end
        for lines, division in DIVISIONS.items():
            for weighted in (False, True):
                for name, model in MODELS.items():
                    trained, seconds = train(corpus=corpora, class_weights=weighted, **division, **model)
                    metrics = TASK.evaluate.run(trained, LabelledOptions())
                    print(row(lines, f"net, {name}{', weighted' * weighted}", metrics, f"{seconds:.0f}"), flush=True)
                for name, metrics in TASK.baselines(trained, LabelledOptions()).items():
                    if not weighted or "weighted" in name:
                        print(row(lines, name, metrics, ""), flush=True)


def train(**flags: Any) -> tuple[Trained, float]:
    """Train with these flags; returns the model and the seconds of training."""
    training = Training.start(TASK.name, resolve(TASK, flags))
    training.train(lambda _: None, print)
    return load(training.run.folder / "last.safetensors"), training.trainer.progress.seconds


def row(lines: str, name: str, metrics: dict[str, Any], seconds: str) -> str:
    figures = (f"{metrics[each]:.3f}" if each in metrics else "" for each in METRICS)
    return f"| {lines} | {name} | {' | '.join(figures)} | {seconds} |"


if __name__ == "__main__":
    main()
