"""The checkpoint file: tensors and a readable header in one checksummed safetensors file, written atomically.

Layout: a safetensors file whose metadata holds `header` (JSON) and `sha256`, the hash of the whole file with 64 zeros
in the hash's own place. Every bit is covered, and nothing in it can be executed. A header is read without torch.
"""

import hashlib
import json
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnncli.data.text import PARTS_MARKS
from rnncli.errors import RnnError

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
"""The version of the header's layout that this program writes, and the newest that it reads."""

RENAMED = {"model.bridge.weight": "model.projection.weight"}
"""Tensors that older programs wrote under other names, and their current names."""

_BLANK = "0" * 64
_MARK = b'"sha256":"'


class CheckpointError(RnnError):
    """A file is not a checkpoint, is damaged, or comes from a newer program."""


@dataclass(frozen=True)
class Checkpoint:
    """The contents of one file: a JSON header and named tensors."""

    header: dict[str, Any]
    tensors: "dict[str, Tensor]" = field(repr=False)
    sha256: str = ""

    @property
    def is_resumable(self) -> bool:
        """Whether it holds the state of a training, and not only a model."""
        return any(name.startswith("random.") for name in self.tensors)


def to_bytes(header: Mapping[str, Any], tensors: "Mapping[str, Tensor]") -> bytes:
    """Serialize a checkpoint, its checksum filled in."""
    from safetensors.torch import save

    metadata = {"header": json.dumps({"schema": SCHEMA, **header}), "sha256": _BLANK}
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    blank = save(plain, metadata)
    place = blank.index(_MARK + _BLANK.encode()) + len(_MARK)
    digest = hashlib.sha256(blank).hexdigest().encode()
    return blank[:place] + digest + blank[place + len(digest) :]


def from_bytes(data: bytes, source: Path) -> Checkpoint:
    """Read a checkpoint back and hold it against its checksum; raises CheckpointError, naming `source`."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    digest = _metadata(data, source)["sha256"]
    place = data.find(_MARK + digest.encode()) + len(_MARK)
    hasher = hashlib.sha256(data[:place])
    hasher.update(_BLANK.encode())
    hasher.update(memoryview(data)[place + len(_BLANK) :])
    if place < len(_MARK) or hasher.hexdigest() != digest:
        raise CheckpointError(f"{source} is damaged: its contents do not match its SHA-256")
    header = _header(data, source)
    try:
        tensors = {RENAMED.get(name, name): value for name, value in load(data).items()}
        return Checkpoint(header, tensors, digest)
    except (SafetensorError, ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{source} is damaged: its tensors cannot be read ({error})") from None


def read(path: Path) -> Checkpoint:
    """Read and verify a checkpoint file; raises CheckpointError for anything but a sound one."""
    return from_bytes(_read_file(path), path)


def read_header(path: Path) -> dict[str, Any]:
    """Read only a checkpoint's header, unverified, such as for a list of runs; raises CheckpointError."""
    return _header(_read_file(path, header_only=True), path)


def _read_file(path: Path, *, header_only: bool = False) -> bytes:
    try:
        if not path.is_file():
            raise CheckpointError(f"{path} is {'not a file' if path.exists() else 'not there'}: name a checkpoint")
        with path.open("rb") as file:
            if not header_only:
                return file.read()
            start = file.read(8)
            size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            return start + file.read(min(size, os.fstat(file.fileno()).st_size))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except MemoryError:
        raise CheckpointError(f"cannot read {path}: it is larger than the memory") from None


def _metadata(data: bytes, source: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; raise CheckpointError with the reason for any other file."""
    try:
        size = struct.unpack("<Q", data[:8])[0]
        head = json.loads(data[8 : 8 + size]) if size <= len(data) - 8 else None
        metadata = head["__metadata__"] if head is not None else None
    except (struct.error, ValueError, KeyError, TypeError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        if data[:2] == b"PK" or data[:1] == b"\x80":
            raise CheckpointError(f"{source} is a pickle, which can run code when opened: rnn never opens one")
        raise CheckpointError(f"{source} is not a checkpoint of rnn, or its beginning is damaged")
    if not re.fullmatch("[0-9a-f]{64}", str(metadata.get("sha256"))) or not isinstance(metadata.get("header"), str):
        raise CheckpointError(f"{source} is a safetensors file, but not a checkpoint of rnn")
    return metadata


def _header(data: bytes, source: Path) -> dict[str, Any]:
    try:
        header: dict[str, Any] = json.loads(_metadata(data, source)["header"])
        schema, reading = header["schema"], header.get("reading", 1)
        if not isinstance(schema, int) or not isinstance(reading, int) or not _is_shallow(header):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(f"{source} is damaged: its header cannot be read") from None
    if schema > SCHEMA:
        raise CheckpointError(
            f"{source} was written by a newer rnn (schema {schema}, this one reads up to {SCHEMA}): update rnn"
        )
    payload = header.get("payload")
    if isinstance(payload, dict) and reading < 3 and payload.get("tokenizer") == "word":
        payload[PARTS_MARKS] = True  # which older programs did not write
    return header


MAX_DEPTH = 16
"""Levels of lists and objects in a header."""


def _is_shallow(value: Any) -> bool:
    """Tell whether lists and objects are nested no deeper than `MAX_DEPTH`: printing them is recursive."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [child for children in inner for child in children if isinstance(child, dict | list)]
        if not level:
            return True
    return False
