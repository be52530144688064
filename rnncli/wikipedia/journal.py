"""The journal of an unfinished prepare, from which the next call continues: one line of JSON per finished unit."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any, TextIO

from rnncli.files import write_file

Record = dict[str, Any]

_FILE = "journal.jsonl"


class Journal:
    """The finished units of one plan (input and settings), in the folder that also has their results."""

    def __init__(self, folder: Path, plan: Record) -> None:
        self.folder = folder
        self.done: dict[int, Record] = {}
        lines = self._lines()
        if lines and lines[0] == {"plan": plan}:
            self.done = {record["unit"]: record for record in lines[1:]}
        else:
            _empty(folder)
        kept = ({"plan": plan}, *self.done.values())
        write_file(folder / _FILE, "".join(json.dumps(line) + "\n" for line in kept).encode())  # complete lines only
        self.file: TextIO = (folder / _FILE).open("a", encoding="utf-8")

    def add(self, record: Record) -> None:
        """Record a finished unit."""
        self.done[record["unit"]] = record
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()

    def _lines(self) -> list[Record]:
        lines: list[Record] = []
        with contextlib.suppress(OSError, ValueError):  # ignores an incomplete last line
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
