"""The tasks, one a file; `MODULES` is where a new one is registered."""

from importlib import import_module

from rnncli.tasks.base import Task

MODULES = ("parity", "poetry_lm", "poetry_classify", "tag", "wiki_lm", "char_lm", "translate")

TASKS: dict[str, Task] = {
    task.name: task for task in (import_module(f"{__name__}.{module}").TASK for module in MODULES)
}
