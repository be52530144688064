"""The tasks, one a file; `MODULES` is where a new one is registered."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from rnncli.errors import UsageError
from rnncli.plugins import Registry
from rnncli.task import Task

MODULES = ("parity", "poetry_lm", "poetry_classify", "tag", "wiki_lm", "char_lm", "translate")

TASKS: Registry[Task] = Registry(
    "rnncli.tasks",
    Task,
    {task.name: task for task in (import_module(f"{__name__}.{module}").TASK for module in MODULES)},
)


def task_of(header: Mapping[str, Any], source: Path) -> Task:
    """The task of a checkpoint by its header; raises UsageError for one that this version does not have."""
    name = header.get("task")
    if not isinstance(name, str) or name not in TASKS:
        raise UsageError(
            f"{source} is a model of {str(name)[:200]!r}, a task that this version does not have"
            " and no installed package brings"
        )
    return TASKS[name]
