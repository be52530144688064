"""How long until `rnn` answers? Times `rnn --help`, and `rnn generate poetry` from a model that is there.

Prints medians of five runs in seconds: the whole process, and for the second what comes after the imports.
Run: python benchmarks/start_up.py
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from rnncli.api import Training, load
from rnncli.presets import resolve
from rnncli.tasks import TASKS
from rnncli.tasks.poetry_lm import GenerateOptions, write


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RNN_HOME"] = folder
        training = Training.start("poetry-lm", resolve(TASKS["poetry-lm"], {"corpus": ("hillside",)}))
        training.train(lambda _: None, print)
        rows = {
            "rnn --help": lambda: command("--help"),
            "rnn generate poetry": lambda: command("generate", "poetry"),
            "the same, after the imports": lambda: write(load(task="poetry-lm"), GenerateOptions()),
        }
        print("| what | seconds |\n| --- | --- |")
        for name, work in rows.items():
            print(f"| {name} | {statistics.median(seconds(work) for _ in range(5)):.2f} |", flush=True)


def command(*words: str) -> None:
    """Run `rnn` as a process of its own."""
    subprocess.run([sys.executable, "-m", "rnncli", *words], check=True, capture_output=True)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
