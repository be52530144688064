"""What an interrupted prepare leaves behind for the next one: a line of JSON for every unit that is done."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any, TextIO

from rnncli.files import write_file

Record = dict[str, Any]

_FILE = "journal.jsonl"


class Journal:
    """The units that are done, in a folder that also holds their results, for one plan: the same input and settings."""

    def __init__(self, folder: Path, plan: Record) -> None:
        self.folder = folder
        self.done: dict[int, Record] = {}
        lines = self._lines()
        if lines and lines[0] == {"plan": plan}:
            self.done = {record["unit"]: record for record in lines[1:]}
        else:
            _empty(folder)
        kept = ({"plan": plan}, *self.done.values())
        write_file(folder / _FILE, "".join(json.dumps(line) + "\n" for line in kept).encode())  # without a cut line
        self.file: TextIO = (folder / _FILE).open("a", encoding="utf-8")

    def add(self, record: Record) -> None:
        """Note that a unit is done."""
        self.done[record["unit"]] = record
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()

    def _lines(self) -> list[Record]:
        lines: list[Record] = []
        with contextlib.suppress(OSError, ValueError):  # a last line that was cut is no line
            for line in (self.folder / _FILE).read_text("utf-8").splitlines():
                lines.append(json.loads(line))
        return lines

    def close(self) -> None:
        self.file.close()


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
