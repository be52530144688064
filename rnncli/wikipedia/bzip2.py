"""Read bz2 files in ranges of whole streams: find where streams begin, and decode them up to any damage."""

import bz2
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

STRETCH = 1 << 20
"""Compressed bytes per worker and range, at least: streams are not split."""
MAX_STREAM = 4 << 20
"""A longer stream is decoded while it is read, not by a worker."""
CHUNK = 1 << 20
"""Decoded bytes per chunk: a bz2 block is shorter, so at most one chunk comes from a damaged block."""

_PIECE = 1 << 18  # compressed bytes read at a time
_STREAM = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")  # a header, then a first block or the end of an empty stream
_MARK = 10  # its length in bytes


@dataclass
class Damage:
    """A damaged part of a stream."""

    place: int  # byte offset in the file
    lost: int  # bytes that could not be read
    what: str


def stretches(path: Path) -> Iterator[tuple[int, int]]:
    """Byte ranges of whole streams; a stream longer than `MAX_STREAM` begins a range up to the end of the file."""
    begin, size = 0, path.stat().st_size
    last = 0
    for start in _starts(path):
        if start - last > MAX_STREAM:
            break
        if start - begin >= STRETCH:
            yield begin, start
            begin = start
        last = start
    else:
        start = size
    if start - last <= MAX_STREAM:
        yield begin, size
        return
    if last > begin:
        yield begin, last
    yield last, size


def _starts(path: Path) -> Iterator[int]:
    """Possible beginnings of streams; after `MAX_STREAM` bytes without one, yields an arbitrary place and stops."""
    at, last, kept = 0, 0, b""
    with path.open("rb") as file:
        while data := file.read(STRETCH):
            window = kept + data
            base = at - len(kept)
            for found in _STREAM.finditer(window):
                last = base + found.start()
                yield last
            at += len(data)
            kept = window[-(_MARK - 1) :]
            if at - last > MAX_STREAM:
                yield at
                return


def decode(path: Path, begin: int, end: int) -> Iterator[bytes | Damage | None]:
    """Decode the streams from `begin` to `end`, then yield None, then decode what follows as long as it is consumed.

    A damaged stream ends with a `Damage`; decoding continues at the next stream that can be found.
    """
    with path.open("rb") as file:
        yield from _decode(file, begin, end)
        yield None
        yield from _decode(file, end, path.stat().st_size)


def _decode(file: BinaryIO, begin: int, end: int) -> Iterator[bytes | Damage]:
    at = begin
    while at < end:
        stream = _Stream(file, at, end)
        yield from stream.chunks()
        if stream.damage is None:
            at = stream.end
            continue
        following = _next_start(file, at + 1, end)
        yield Damage(stream.sound, following - stream.sound, stream.damage)
        at = following


def _next_start(file: BinaryIO, at: int, end: int) -> int:
    kept = b""
    file.seek(at)
    while at < end and (data := file.read(min(STRETCH, end - at))):
        window = kept + data
        if found := _STREAM.search(window):
            return at - len(kept) + found.start()
        kept = window[-(_MARK - 1) :]
        at += len(data)
    return end


class _Stream:
    """One stream, read in pieces: `end` is its end; after damage, `damage` has the reason, `sound` about the place."""

    def __init__(self, file: BinaryIO, begin: int, limit: int) -> None:
        self.file, self.at, self.limit = file, begin, limit
        self.end = self.sound = begin
        self.damage: str | None = None

    def chunks(self) -> Iterator[bytes]:
        """Decoded chunks; each is yielded only when the next one is decoded without error."""
        decoder = bz2.BZ2Decompressor()
        held = b""
        while not decoder.eof:
            data = b""
            if decoder.needs_input:
                self.file.seek(self.at)
                data = self.file.read(min(_PIECE, self.limit - self.at))
                self.sound = self.at
                self.at += len(data)
                if not data:
                    self.damage = "the file ends in the middle"
                    break
            try:
                chunk = decoder.decompress(data, CHUNK)
            except (OSError, EOFError, ValueError):
                self.damage = "damaged bz2 data"
                return
            if chunk:
                if held:
                    yield held
                held = chunk
        if held:
            yield held
        self.end = self.at - len(decoder.unused_data)
