"""The programs of the docs that send the records of a training to wandb and MLflow, run with stand-ins for these."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rnncli.training.runs import Run, all_runs

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text("utf-8")


class Logged(ModuleType):
    """A module with the functions of wandb and mlflow that the programs call; it keeps what they receive."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.names: list[str] = []
        self.settings: dict[str, Any] = {}
        self.records: list[tuple[int, dict[str, float]]] = []
        self.is_open = False

    @contextmanager
    def init(self, *, project: str, name: str, config: dict[str, Any]) -> Iterator[None]:
        assert project == "rnn"
        self.settings = config
        with self.start_run(run_name=name):
            yield

    @contextmanager
    def start_run(self, *, run_name: str) -> Iterator[None]:
        self.names.append(run_name)
        self.is_open = True
        yield
        self.is_open = False

    def log_params(self, params: dict[str, Any]) -> None:
        assert self.is_open
        self.settings = params

    def log(self, data: dict[str, float], step: int) -> None:
        assert self.is_open
        assert all(type(value) in (int, float) for value in data.values())  # MLflow takes nothing else
        self.records.append((step, data))

    log_metrics = log


@pytest.mark.parametrize("library", ["wandb", "mlflow"])
def test_a_program_of_the_docs_logs_every_validation(library: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (program,) = (block for block in blocks if f"import {library}" in block)
    logged = Logged(library)
    monkeypatch.setitem(sys.modules, library, logged)
    exec(program, {})
    (run,) = all_runs()
    assert (logged.names, logged.is_open) == ([run.name], False)
    assert logged.settings["epochs"] == 1
    assert json.loads(json.dumps(logged.settings)) == logged.settings
    kept = records(run)
    assert kept
    assert [step for step, _ in logged.records] == [record["step"] for record in kept]
    assert [data for _, data in logged.records] == [
        {name: value for name, value in record.items() if value is not None} for record in kept
    ]


def records(run: Run) -> list[dict[str, float]]:
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]
