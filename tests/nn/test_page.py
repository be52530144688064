"""The program of docs/nn.md: a complete training loop, in compiled loops as its readers run it."""

import re
from pathlib import Path
from typing import Any


def test_training_loop_of_the_page_learns() -> None:
    page = (Path(__file__).parents[2] / "docs" / "nn.md").read_text(encoding="utf-8")
    (program,) = (each for each in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "backward" in each)
    assert len([line for line in program.splitlines() if line]) <= 25
    names: dict[str, Any] = {}
    exec(compile(program, "nn.md", "exec"), names)
    assert names["accuracy"] > 0.95
