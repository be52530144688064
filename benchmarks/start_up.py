"""How long until `rnn` answers? Times the help of verbs and tasks, verbs without a model, and `rnn generate poetry`.

Each line is a separate process. A round runs all of them, so that other load of the machine slows all equally. Times
are medians over rounds, in seconds of CPU, and ratios are to `python -c "import typer, rich"`.
`--of FOLDER` times another checkout next to this one, in the same rounds.
Run: python benchmarks/start_up.py [--rounds 9] [--of FOLDER]
"""

import argparse
import compileall
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from rnncli.cli import SUMMARIES
from rnncli.tasks import OUTLINES

HERE = Path(__file__).parents[1]
LIMIT = 2.5
"""The maximum ratio of a help."""

BASE = ["-c", "import typer, rich"]
LINES = [
    "--help",
    *(f"{verb} --help" for verb in SUMMARIES),
    *(f"train {task} --help" for task in OUTLINES),
    "runs",
    "data list",
]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--of", type=Path, action="append", default=[], help="Another checkout; may be repeated.")
    arguments = parser.parse_args()
    folders = [*arguments.of, HERE]
    for folder in folders:
        compileall.compile_dir(folder / "rnncli", quiet=1)
    figures: dict[Path, dict[str, list[float]]] = {folder: {line: [] for line in ["", *LINES]} for folder in folders}
    with tempfile.TemporaryDirectory() as home:
        os.environ["RNN_HOME"] = home
        for _ in range(arguments.rounds):
            for line in ["", *LINES]:
                for folder in folders:
                    figures[folder][line].append(seconds(line, folder))
    print_rows({folder: {line: median(each) for line, each in found.items()} for folder, found in figures.items()})
    with tempfile.TemporaryDirectory() as home:
        os.environ["RNN_HOME"] = home
        print_generation(arguments.rounds)


def seconds(line: str, folder: Path) -> float:
    """CPU seconds, user and system, of a command line in a checkout; of the imports for an empty line."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    words = ["-m", "rnncli", *line.split()] if line else BASE
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # an older checkout may lack a verb, which gives an error
    subprocess.run([sys.executable, *words], env=environment, cwd=folder, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def print_rows(medians: Mapping[Path, Mapping[str, float]]) -> None:
    """Print a table: one row per command, with seconds and ratio for each checkout."""
    heads = [f"{folder.name}: seconds | times the imports" for folder in medians]
    print(f"| command | {' | '.join(heads)} |\n|{' --- |' * (1 + 2 * len(heads))}")
    for line in ["", *LINES]:
        cells = [f"{found[line]:.3f} | {found[line] / found['']:.2f}" for found in medians.values()]
        print(f"| {f'rnn {line}' if line else 'import typer, rich'} | {' | '.join(cells)} |")
    ours = medians[HERE]
    slow = [line for line in LINES if line.endswith("--help") and ours[line] > LIMIT * ours[""]]
    print(f"helps of more than {LIMIT} times: {', '.join(slow) or 'none'}")


def print_generation(rounds: int) -> None:
    """Train a small model, and print the time to its first words: of a whole process, and after the imports."""
    from rnncli.api import Training, load
    from rnncli.presets import resolve
    from rnncli.tasks import TASKS
    from rnncli.tasks.poetry_lm import GenerateOptions, write

    training = Training.start("poetry-lm", resolve(TASKS["poetry-lm"], {"corpus": ("hillside",)}))
    training.train(lambda _: None, print)
    whole = median(seconds("generate poetry", HERE) for _ in range(rounds))
    began = time.perf_counter()
    write(load(task="poetry-lm"), GenerateOptions())
    print(f"rnn generate poetry: {whole:.2f} s; after the imports {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
