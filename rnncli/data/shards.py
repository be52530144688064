"""Shards of token ids on disk, with their index and vocabulary: memory-mapped reading, and writing."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnncli.data.download import file_sha256
from rnncli.data.vocabulary import END, SPECIALS
from rnncli.errors import RnnError
from rnncli.home import data_dir

if TYPE_CHECKING:
    import numpy as np

SCHEMA = 1
INDEX = "index.json"
VOCABULARY = "vocabulary.tsv"
SHARD_TOKENS = 1 << 25
"""Tokens after which a shard ends with the current sequence; all shards except the last are a little larger."""


@dataclass(frozen=True)
class Shards:
    """A prepared corpus: sequences of token ids with END after each, and its words by frequency.

    Ids are those of `rnncli.data.vocabulary`: START 0, END 1, UNKNOWN 2, and 3 + n for the n-th most frequent word. To
    keep only the n most frequent words, read ids from 3 + n on as UNKNOWN.
    """

    folder: Path
    index: dict[str, Any]

    @classmethod
    def open(cls, name_or_folder: str | Path, *, verify: bool = False) -> "Shards":
        """Open the shards of that name below `data/`, or in that folder; `verify` also checks their SHA-256.

        Raises RnnError where they are absent, unfinished, damaged, or of a schema that this version does not know.
        """
        folder = _folder(name_or_folder)
        found = cls(folder, _read_index(folder))
        found.check(contents=verify)
        return found

    @property
    def name(self) -> str:
        return str(self.index["name"])

    @property
    def tokens(self) -> int:
        """The number of tokens, ENDs included."""
        return int(self.index["tokens"])

    @property
    def sequences(self) -> int:
        return int(self.index["sequences"])

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The words by frequency; the first has id 3."""
        return tuple(word for word, _ in self._words())

    def most_frequent(self, count: int) -> list[str]:
        """At most `count` words, the most frequent ones, without reading the others."""
        return [word for word, _ in islice(self._words(), count)]

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """How often each word of the vocabulary occurs."""
        return tuple(count for _, count in self._words())

    def memmaps(self) -> list["np.memmap[Any, Any]"]:
        """The ids, one read-only array per shard; data is read on access."""
        import numpy as np

        return [
            np.memmap(self.folder / shard["file"], dtype=self.index["dtype"], mode="r")
            for shard in self.index["shards"]
        ]

    def check(self, *, contents: bool) -> None:
        """Compare the sizes of all files with the index, and with `contents` their SHA-256.

        Raises RnnError, which names the first file that differs.
        """
        for entry in (*self.index["shards"], self.index["vocabulary"]):
            path = self.folder / entry["file"]
            try:
                sound = path.stat().st_size == entry["bytes"] and (not contents or file_sha256(path) == entry["sha256"])
            except OSError:
                sound = False
            if not sound:
                raise RnnError(
                    f"shards {self.name} are damaged: {path} is missing or has changed; {_again(self.folder)}"
                )

    def _words(self) -> Iterator[tuple[str, int]]:
        with (self.folder / VOCABULARY).open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                word, _, count = line.partition("\t")
                yield word, int(count)


def _folder(name_or_folder: str | Path) -> Path:
    named = data_dir() / name_or_folder
    if (named / INDEX).is_file() or not Path(name_or_folder).is_dir():
        return named
    return Path(name_or_folder)


def _read_index(folder: Path) -> dict[str, Any]:
    try:
        index: dict[str, Any] = json.loads((folder / INDEX).read_bytes())
        schema = index["schema"]
    except FileNotFoundError:
        if folder.with_name(f"{folder.name}.part").exists():
            raise RnnError(
                f"shards {folder.name} are unfinished: run the same `rnn data prepare` again to continue"
            ) from None
        raise RnnError(
            f"no shards are in {folder.absolute()}: make them with `rnn data prepare DUMP --name {folder.name}`"
        ) from None
    except OSError as error:
        raise RnnError(f"{folder / INDEX} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise RnnError(f"{folder / INDEX} is damaged; {_again(folder)}") from None
    if schema != SCHEMA:
        raise RnnError(f"{folder} holds shards of schema {schema}, this rnn reads {SCHEMA}; {_again(folder)}")
    return index


def _again(folder: Path) -> str:
    return f"delete the folder {folder} and run `rnn data prepare` again"


class ShardWriter:
    """Writes sequences of ids into `tokens-NNNNN.bin` below a folder, and keeps their entries for the index."""

    def __init__(self, folder: Path, words: int) -> None:
        self.folder = folder
        self.dtype = "<u2" if words + len(SPECIALS) <= 1 << 16 else "<u4"
        self.shards: list[dict[str, Any]] = []
        self.file: Any = None

    def add(self, ids: "np.ndarray[Any, Any]") -> None:
        """Append whole sequences, with END after each."""
        import hashlib

        if self.file is None:
            name = f"tokens-{len(self.shards):05}.bin"
            self.file, self.hash = (self.folder / name).open("wb"), hashlib.sha256()
            self.shards.append({"file": name, "tokens": 0, "sequences": 0, "bytes": 0})
        data = ids.astype(self.dtype).tobytes()
        self.file.write(data)
        self.hash.update(data)
        shard = self.shards[-1]
        shard["tokens"] += len(ids)
        shard["sequences"] += int((ids == END).sum())
        shard["bytes"] += len(data)
        if shard["tokens"] >= SHARD_TOKENS:
            self.close()

    def close(self) -> None:
        """Finish the current shard."""
        import os

        if self.file is not None:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            self.shards[-1]["sha256"] = self.hash.hexdigest()
            self.file = None
