"""The tasks, one a file; `TASKS` is where a new one is registered."""

from rnncli.tasks import parity, poetry_lm
from rnncli.tasks.base import Task

TASKS: dict[str, Task] = {task.name: task for task in (parity.TASK, poetry_lm.TASK)}
