"""Detect the kind of a file to prepare, and split it into units that separate processes can read."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rnncli.errors import RnnError, UsageError
from rnncli.wikipedia import bzip2
from rnncli.wikipedia.bzip2 import Damage

UNIT = 4 << 20
"""Bytes of text or XML per unit."""
MAX_PAGE = 64 << 20
"""Bytes; longer text without an end is not a page."""
_HEAD_SIZE = 1 << 16

_REFUSED = (
    (b"\x1f\x8b", "is a gzip file: decompress it first (`gunzip`)"),
    (b"\xfd7zXZ", "is an xz file: decompress it first (`unxz`)"),
    (b"7z\xbc\xaf", "is a 7z archive: decompress it first (`7z x`)"),
    (b"PK\x03\x04", "is a zip archive: decompress it first (`unzip`)"),
    (b"\xff\xfe", "is UTF-16 text: save it as UTF-8"),
    (b"\xfe\xff", "is UTF-16 text: save it as UTF-8"),
)
_HTML = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_DECLARATION = re.compile(rb"<!(doctype|entity)\b", re.IGNORECASE)
_NAMESPACE = re.compile(rb'<namespace key="(?:-1|-2|4|6|8|10|14|828)"[^>]*>([^<]+)</namespace>')
_RECORD = re.compile(rb'\{\s*"[^"\n]*"\s*:')
TITLE_LINE = r"\[\[(?!(?:File|Image|Category):)([^\[\]|\n]+)\]\][ \t\r]*\n(?=[ \t\r]*\n)"
"""The beginning of an article in wp2txt's output."""
_WP2TXT = re.compile(rf"\s*{TITLE_LINE}".encode())


class Article(NamedTuple):
    """One article: clean text, one paragraph per line."""

    id: str
    title: str
    text: str


@dataclass(frozen=True)
class DumpFile:
    """A file to read, and its kind: `bz2`, `xml`, or one of the kinds of text."""

    path: Path
    kind: str
    size: int
    namespaces: tuple[str, ...] = ()  # the wiki's names of namespaces without prose: files, categories, …


@dataclass(frozen=True)
class Unit:
    """A part of a file that can be read without the others."""

    path: Path
    kind: str
    begin: int
    end: int
    last: bool
    data: bytes | None = None  # decoded data, if the stream cannot be decoded in parts
    damage: tuple[Damage, ...] = ()  # found while decoding it
    namespaces: tuple[str, ...] = ()  # of the file

    @property
    def first(self) -> bool:
        return self.begin == 0

    @property
    def continues(self) -> bool:
        """Whether its last article continues in the next unit: a plain text is one article in parts."""
        return self.kind == "text" and not self.last

    def read(self) -> bytes:
        """Read its bytes from the file."""
        with self.path.open("rb") as file:
            file.seek(self.begin)
            return file.read(self.end - self.begin)


@dataclass
class Report:
    """Counts of a unit in addition to its articles: skipped pages, and losses."""

    redirects: int = 0
    others: int = 0  # pages outside the main namespace
    lost_pages: int = 0
    lost_bytes: int = 0  # of a compressed file
    first_loss: str = ""
    title: str = field(default="", repr=False)  # of the last complete page

    def page_lost(self, what: str, title: str = "") -> None:
        """Count a page that cannot be used."""
        self.lost_pages += 1
        self._name(f"page {title!r}: {what}" if title else f"{what} after page {self.title!r}")

    def bytes_lost(self, damage: Damage) -> None:
        """Count a stretch that cannot be read."""
        self.lost_bytes += damage.lost
        self._name(f"byte {damage.place:,}: {damage.what}")

    def _name(self, what: str) -> None:
        self.first_loss = self.first_loss or what


def find_dump_files(names: list[str], max_files: int | None = None, exclude: Iterable[Path] = ()) -> list[DumpFile]:
    """List the first `max_files` files to read, without those below `exclude`; files of a folder come sorted by path.

    Raises UsageError for what is not there, RnnError for a file that is neither a dump nor text.
    """
    files: list[Path] = []
    exclude = [folder.resolve() for folder in exclude]
    for name in names:
        path = Path(name)
        if path.is_dir():
            found = [file for file in sorted(path.rglob("*")) if _is_meant(file, path) and not _lies_in(file, exclude)]
            if not found:
                raise UsageError(f"no file to read lies in or below the folder {path}: name one with dumps or texts")
            files.extend(found)
        elif path.is_file():
            files.append(path)
        else:
            raise UsageError(f"{path} is neither a file nor a folder: name a dump, a text, or a folder of them")
    return [_dump_file(file) for file in files[:max_files]]


def _is_meant(file: Path, root: Path) -> bool:
    """Whether a file below a folder may be a text: not empty, hidden or unfinished, nor the index of `--text`."""
    return (
        file.is_file()
        and file.stat().st_size > 0
        and not file.name.startswith(".")
        and file.name != "index.json"
        and not any(folder.suffix == ".part" for folder in file.relative_to(root).parents)
    )


def _lies_in(file: Path, folders: list[Path]) -> bool:
    return bool(folders) and any(map(file.resolve().is_relative_to, folders))


def _dump_file(path: Path) -> DumpFile:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_SIZE)
    except OSError as error:
        raise RnnError(f"{path} cannot be read: {error.strerror}") from None
    if not head:
        raise RnnError(f"{path} is empty: name a dump or a text")
    kind = "bz2" if head.startswith(b"BZh") else _kind(path, head)
    if kind == "bz2":
        inside = next(bzip2.decode(path, 0, path.stat().st_size))
        head = inside[:_HEAD_SIZE] if isinstance(inside, bytes) else b""
        if head and _kind(path, head) != "xml":
            raise RnnError(f"{path} is not a dump of a wiki: if it is a text, decompress it first")
    namespaces = tuple(name.decode("utf-8", "replace") for name in _NAMESPACE.findall(head))
    return DumpFile(path, kind, path.stat().st_size, namespaces)


def _kind(path: Path, head: bytes) -> str:
    """Detect a file's kind by its first bytes; raises RnnError for files that are neither a wiki's XML nor text."""
    for mark, what in _REFUSED:
        if head.startswith(mark):
            raise RnnError(f"{path} {what}")
    head = head.removeprefix(b"\xef\xbb\xbf")
    if _HTML.match(head):
        raise RnnError(f"{path} is a web page, not a dump: download the *-pages-articles.xml.bz2 file itself")
    body = head.lstrip()
    if body.startswith((b"<?xml", b"<mediawiki", b"<!")):
        if _DECLARATION.search(head):
            raise RnnError(f"{path} declares a DOCTYPE or entities, so it is not a dump: download the dump itself")
        if b"<mediawiki" not in head:
            raise RnnError(f"{path} is XML, but not a dump of a wiki: it has no <mediawiki>")
        return "xml"
    if b"\0" in head:
        raise RnnError(f"{path} is a binary file (it holds NUL bytes): name a dump or a text")
    if body.startswith(b"<doc "):
        return "doc"
    if _RECORD.match(body):
        return "json"
    return "wp2txt" if _WP2TXT.match(head) else "text"


_UNIT_STARTS = {
    "xml": re.compile(rb"<page>"),
    "doc": re.compile(rb"(?<=\n)<doc "),
    "json": re.compile(rb"(?<=\n)"),
    "wp2txt": re.compile(rf"(?<=\n){TITLE_LINE}".encode()),
}
_MAX_START = 1 << 10
_LINE_START, *_IN_LINE = map(re.compile, (rb"(?<=\n)|(?<=\r)(?!\n)", rb"(?<=[ \t])", rb"(?=[^\x80-\xbf])"))
_MAX_LINE = 1 << 20
"""A longer line of a plain text may be split at a blank or, without one, at any letter."""


def units(source: DumpFile) -> Iterator[Unit]:
    """Split a file into units; the split is deterministic and lazy."""
    for unit in _units(source):
        yield replace(unit, namespaces=source.namespaces)


def _units(source: DumpFile) -> Iterator[Unit]:
    if source.kind != "bz2":
        yield from _slices(source)
        return
    for begin, end in bzip2.stretches(source.path):
        if end - begin > bzip2.MAX_STREAM + bzip2.STRETCH:
            yield from _decoded(source, begin)
        else:
            yield Unit(source.path, "bz2", begin, end, end == source.size)


def _slices(source: DumpFile) -> Iterator[Unit]:
    start = _UNIT_STARTS.get(source.kind)
    begin = 0
    with source.path.open("rb") as file:
        while begin < source.size:
            file.seek(begin + UNIT)
            place = _line_start(file) if start is None else _find(file, start)
            end = source.size if place is None else begin + UNIT + place
            yield Unit(source.path, source.kind, begin, end, end == source.size)
            begin = end


def _find(file: BinaryIO, start: re.Pattern[bytes]) -> int | None:
    """The distance in bytes to the next possible start of a unit; None where the file ends first.

    After `MAX_PAGE` bytes without a start, any letter is one: a unit must fit in memory.
    """
    window, dropped = b"", 0
    while data := file.read(_HEAD_SIZE):
        window += data
        if found := start.search(window):
            return dropped + found.start()
        if dropped > MAX_PAGE and (letter := _IN_LINE[-1].search(window)):
            return dropped + letter.start()
        dropped += max(0, len(window) - _MAX_START)
        window = window[-_MAX_START:]
    return None


def _line_start(file: BinaryIO) -> int | None:
    """The same as `_find` for a plain text."""
    window = file.read(_MAX_LINE)
    starts = [_LINE_START, *(_IN_LINE if len(window) == _MAX_LINE else ())]
    return next((found.start() for start in starts if (found := start.search(window))), None)


def _decoded(source: DumpFile, begin: int) -> Iterator[Unit]:
    """Decode a long stream in this process, in units that end where a page ends."""
    data, place = b"", begin
    damage: list[Damage] = []
    for chunk in bzip2.decode(source.path, begin, source.size):
        if chunk is None:
            break
        if isinstance(chunk, Damage):
            damage.append(chunk)
            data += CUT
            continue
        data += chunk
        end = data.rfind(b"</page>") + len(b"</page>")
        if len(data) >= UNIT and end > len(b"</page>"):
            yield Unit(source.path, "decoded", place, place + end, False, data[:end], tuple(damage))
            data, place, damage = data[end:], place + end, []
        elif len(data) > MAX_PAGE:
            data = data[-UNIT:]
    yield Unit(source.path, "decoded", place, place + len(data), True, data, tuple(damage))


CUT = b"<cut/>"
"""Marks lost parts in decoded data."""
