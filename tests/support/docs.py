"""The Python blocks of a page of docs/, and what the page says they print."""

import contextlib
import io
import runpy
from typing import Any, NamedTuple

from support.markdown import ROOT, blocks

DOCS = ROOT / "docs"


class Block(NamedTuple):
    """A block of Python, and the block of output that follows it at once, if any."""

    code: str
    output: str


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page, in order."""
    return [
        Block(block.text, block.below.text if block.below and not block.below.language else "")
        for block in blocks(DOCS / page)
        if block.language == "python"
    ]


def run_page(page: str) -> tuple[dict[str, Any], list[str]]:
    """Run all blocks of a page in one namespace; returns it, and the output of each block."""
    names: dict[str, Any] = {}
    printed = []
    for number, block in enumerate(blocks_of(page), start=1):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compile(block.code, f"{page}, block {number}", "exec"), names)
        printed.append(output.getvalue())
    return names, printed


def run_file(name: str) -> dict[str, Any]:
    """The names that a program of docs/ defines; it does not see itself as the main program."""
    return runpy.run_path(str(DOCS / name))
