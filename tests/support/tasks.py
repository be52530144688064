"""The tasks, some of which a test takes in the fast suite."""

from typing import Any

import pytest

from rnncli.tasks import TASKS


def some_tasks(*fast: str) -> list[Any]:
    """List all tasks; those that are not named are marked `slow`."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in TASKS]
