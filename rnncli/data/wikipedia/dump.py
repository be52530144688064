"""Reading dumps: which kind a file is, units of work that can be read apart, and the articles in a unit."""

import hashlib
import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rnncli.data.wikipedia import bzip2
from rnncli.data.wikipedia.bzip2 import Damage
from rnncli.data.wikipedia.wikitext import clean, drop_lines
from rnncli.errors import RnnError, UsageError

UNIT = 4 << 20
"""Bytes of text or XML that one worker takes at a time."""
LONGEST_PAGE = 64 << 20
"""Bytes; what goes on longer without an end is no page."""
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
_TITLE_LINE = re.compile(rb"\s*\[\[[^\[\]\n]+\]\]\s*\n")

_BETWEEN = re.compile(rb"\s*(</mediawiki>)?\s*(<\?xml[^>]*>)?\s*(<mediawiki\b.*?(</siteinfo>|>))?\s*", re.DOTALL)
_PAGE = re.compile(
    rb"<page>\s*<title>([^<]*)</title>\s*(?:<ns>(-?\d+)</ns>\s*)?<id>(\d+)</id>\s*(<redirect\b[^>]*>)?.*?<revision\b",
    re.DOTALL,
)
_TEXT = re.compile(rb"<text\b([^>]*?)(/?)>")
_SHA1 = re.compile(rb"<sha1>(\w+)</sha1>")
_SHA1_ATTRIBUTE = re.compile(rb'\bsha1="(\w+)"')
_REDIRECT = re.compile(r"\s*#redirect\b", re.IGNORECASE)
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DOC = re.compile(r'<doc\b([^>]*)>\n?(.*?)(?:</doc>|(?=<doc\b)|\Z)', re.DOTALL)
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')
_WP2TXT = re.compile(r"^\[\[([^\[\]\n]+)\]\][ \t]*$", re.MULTILINE)


class Article(NamedTuple):
    """One article: clean text, a paragraph a line."""

    id: str
    title: str
    text: str


@dataclass(frozen=True)
class Source:
    """A file to read, and what it holds: `bz2`, `xml`, or one of the kinds of text."""

    path: Path
    kind: str
    size: int


@dataclass(frozen=True)
class Unit:
    """A part of a source that can be read without the others."""

    path: Path
    kind: str
    begin: int
    end: int
    last: bool
    data: bytes | None = None  # decoded already, where that cannot be done in parts
    damage: tuple[Damage, ...] = ()  # met while decoding it

    @property
    def first(self) -> bool:
        return self.begin == 0


@dataclass
class Report:
    """What was found in a unit, beside its articles, and what was lost of it."""

    redirects: int = 0
    others: int = 0  # pages outside the main namespace
    lost_pages: int = 0
    lost_bytes: int = 0  # of a compressed file
    first_loss: str = ""
    title: str = field(default="", repr=False)  # of the last whole page

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


def find_sources(names: list[str]) -> list[Source]:
    """The files that are meant, those of folders in the order of their paths.

    Raises UsageError for what is not there, RnnError for a file that is neither a dump nor text.
    """
    sources = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            files = [file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith(".")]
            files = [file for file in files if file.name != INDEX]
            if not files:
                raise UsageError(f"no file lies in or below the folder {path}: name one with dumps or texts")
            sources.extend(_source(file) for file in files)
        elif path.is_file():
            sources.append(_source(path))
        else:
            raise UsageError(f"{path} is neither a file nor a folder: name a dump, a text, or a folder of them")
    return sources


INDEX = "index.json"


def _source(path: Path) -> Source:
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
        if isinstance(inside, bytes) and _kind(path, inside[:_HEAD_SIZE]) != "xml":
            raise RnnError(f"{path} holds no dump of a wiki: decompress it first, if it is a text")
    return Source(path, kind, path.stat().st_size)


def _kind(path: Path, head: bytes) -> str:
    """What a file is by its first bytes; raises RnnError for what is neither XML of a wiki nor text."""
    for mark, what in _REFUSED:
        if head.startswith(mark):
            raise RnnError(f"{path} {what}")
    head = head.removeprefix(b"\xef\xbb\xbf")
    if _HTML.match(head):
        raise RnnError(f"{path} is a web page, not a dump: download the *-pages-articles.xml.bz2 file itself")
    body = head.lstrip()
    if body.startswith((b"<?xml", b"<mediawiki", b"<!")):
        if _DECLARATION.search(head):
            raise RnnError(f"{path} declares a DOCTYPE or entities, as no dump does: it is not read")
        if b"<mediawiki" not in head:
            raise RnnError(f"{path} is XML, but not a dump of a wiki: no <mediawiki> begins in it")
        return "xml"
    if b"\0" in head:
        raise RnnError(f"{path} is a binary file (it holds NUL bytes): name a dump or a text")
    if body.startswith(b"<doc "):
        return "doc"
    if body.startswith(b"{"):
        return "json"
    return "wp2txt" if _TITLE_LINE.match(head) else "text"


_UNIT_STARTS = {"xml": b"<page>", "doc": b"\n<doc ", "json": b"\n", "wp2txt": b"\n[[", "text": b"\n"}


def units(source: Source) -> Iterator[Unit]:
    """The source in parts, always the same ones, each read from the file only when it is its turn."""
    if source.kind != "bz2":
        yield from _slices(source)
        return
    for begin, end in bzip2.stretches(source.path):
        if end - begin > bzip2.LONGEST + bzip2.STRETCH:
            yield from _decoded(source, begin)
        else:
            yield Unit(source.path, "bz2", begin, end, end == source.size)


def _slices(source: Source) -> Iterator[Unit]:
    mark = _UNIT_STARTS[source.kind]
    begin = 0
    with source.path.open("rb") as file:
        while begin < source.size:
            end = _find(file, mark, begin + UNIT, source.size)
            yield Unit(source.path, source.kind, begin, end, end == source.size)
            begin = end


def _find(file: BinaryIO, mark: bytes, at: int, size: int) -> int:
    """Where the mark stands at or after `at` (behind its line feed, if it begins with one), or the size of the file."""
    kept = b""
    file.seek(at)
    while at < size and (data := file.read(_HEAD_SIZE)):
        window = kept + data
        if (place := window.find(mark)) >= 0:
            return at - len(kept) + place + (mark[:1] == b"\n")
        kept = window[-len(mark) :]
        at += len(data)
    return size


def _decoded(source: Source, begin: int) -> Iterator[Unit]:
    """A long stream, decoded here and now, in parts that end where a page ends."""
    data, place = b"", begin
    damage: list[Damage] = []
    for chunk in bzip2.decode(source.path, begin, source.size):
        if chunk is None:
            break
        if isinstance(chunk, Damage):
            damage.append(chunk)
            data += _CUT
            continue
        data += chunk
        end = data.rfind(b"</page>") + len(b"</page>")
        if len(data) >= UNIT and end > len(b"</page>"):
            yield Unit(source.path, "decoded", place, place + end, False, data[:end], tuple(damage))
            data, place, damage = data[end:], place + end, []
        elif len(data) > LONGEST_PAGE:
            data = data[-UNIT:]
    yield Unit(source.path, "decoded", place, place + len(data), True, data, tuple(damage))


_CUT = b"<cut/>"
"""Stands in decoded data where some of it was lost."""


def articles(unit: Unit, report: Report) -> Iterator[Article]:
    """The articles of a unit, cleaned; what cannot be read is counted and named in the report."""
    if unit.kind in _TEXT_KINDS:
        yield from _text_articles(unit, report)
        return
    for page in pages(_xml(unit, report), unit, report):
        article = _article(page, report)
        if article is not None:
            yield article


def _xml(unit: Unit, report: Report) -> Iterator[bytes | None]:
    """The XML of a unit in chunks, then None, then what follows it; a lost stretch leaves `_CUT`."""
    if unit.data is not None:
        for damage in unit.damage:
            report.bytes_lost(damage)
        yield unit.data
        yield None
    elif unit.kind == "bz2":
        beyond = False
        for chunk in bzip2.decode(unit.path, unit.begin, unit.end):
            if isinstance(chunk, Damage):
                if not beyond:
                    report.bytes_lost(chunk)
                yield _CUT
            else:
                beyond = beyond or chunk is None
                yield chunk
    else:
        yield _read(unit)
        yield None


def _read(unit: Unit) -> bytes:
    with unit.path.open("rb") as file:
        file.seek(unit.begin)
        return file.read(unit.end - unit.begin)


def pages(chunks: Iterator[bytes | None], unit: Unit, report: Report) -> Iterator[bytes]:
    """The pages that begin in a unit, from `<page>` to `</page>`; the last may end beyond it."""
    buffer, own, whole = b"", None, unit.first or unit.kind != "bz2"
    for chunk in chunks:
        if chunk is None:
            own = len(buffer)
        else:
            buffer += chunk
        at = 0
        while (begin := buffer.find(b"<page>", at)) >= 0 and (own is None or begin < own):
            end = buffer.find(b"</page>", begin)
            if end < 0:
                break
            end += len(b"</page>")
            if whole or at:
                _check_between(buffer[at:begin], report)
            yield from _one_page(buffer[begin:end], report)
            at, whole = end, True
        buffer = buffer[at:]
        own = None if own is None else own - at
        if own is not None and not _page_open(buffer, own):
            break
        if len(buffer) > LONGEST_PAGE:
            report.page_lost(f"{LONGEST_PAGE >> 20} MB without the end of a page")
            buffer, whole = buffer[-UNIT:], False
    _check_rest(buffer, unit, own, report)


def _page_open(buffer: bytes, own: int) -> bool:
    """Whether a page begins in the first `own` bytes, which may hold but a part of its tag."""
    return own > 0 and (buffer.find(b"<page>", 0, own + 5) >= 0 or (len(buffer) == own and _half_tag(buffer)))


def _half_tag(buffer: bytes) -> bool:
    return any(buffer.endswith(b"<page>"[:length]) for length in range(1, 6))


def _one_page(page: bytes, report: Report) -> Iterator[bytes]:
    inner = page.rfind(b"<page>")
    if inner > 0:  # one whose end is missing came before
        report.page_lost("a page without an end")
        page = page[inner:]
    if _CUT in page:
        report.page_lost("cut by the damage", _title(page))
        return
    yield page


def _check_between(between: bytes, report: Report) -> None:
    if not between.isspace() and between and _CUT not in between and not _BETWEEN.fullmatch(between):
        report.page_lost("what stands there is no page")


def _check_rest(buffer: bytes, unit: Unit, own: int | None, report: Report) -> None:
    """What is left when no more pages follow: a page that was cut, or the end of the dump."""
    rest = buffer if own is None else buffer[: max(own, 0)]
    if b"<page>" in rest:
        report.page_lost("cut short", _title(rest))
    elif unit.last:
        if b"</mediawiki>" not in rest:
            report.page_lost("the dump ends without </mediawiki>: the rest is missing")
    elif rest and not rest.isspace() and _CUT not in rest and not _BETWEEN.fullmatch(rest) and not _half_tag(rest):
        report.page_lost("what stands there is no page")


def _title(page: bytes) -> str:
    title = re.search(rb"<title>([^<]*)</title>", page)
    return _unescaped(title[1]).decode("utf-8", "replace") if title else ""


def _article(page: bytes, report: Report) -> Article | None:
    """The article of a page, or None for a redirect, another namespace, and what is damaged."""
    head = _PAGE.match(page)
    text = _TEXT.search(page, head.end()) if head else None
    if head is None or text is None:
        report.page_lost("its parts are damaged", _title(page))
        return None
    title = _unescaped(head[1]).decode("utf-8", "replace")
    if head[2] not in (None, b"0") or head[4] is not None:
        if head[2] in (None, b"0"):
            report.redirects += 1
        else:
            report.others += 1
        report.title = title
        return None
    source = _source_text(page, text)
    if source is None:
        report.page_lost("its text is damaged", title)
        return None
    report.title = title
    if _REDIRECT.match(source):
        report.redirects += 1
        return None
    return Article(head[3].decode(), title, clean(source))


def _source_text(page: bytes, tag: re.Match[bytes]) -> str | None:
    """A page's wikitext, proven by its SHA-1 where it has one; None where it is damaged."""
    if tag[2]:
        return ""
    end = page.rfind(b"</text>")
    if end < 0:
        return None
    begin = tag.end()
    if page.find(b"<revision", begin, end) >= 0:  # with all its history: the last revision counts
        tag = list(_TEXT.finditer(page, begin, end))[-1]
        begin = tag.end()
    data = _unescaped(page[begin:end])
    sha1 = _SHA1_ATTRIBUTE.search(tag[1]) or _SHA1.search(page, end)
    if sha1:
        try:
            if int(sha1[1], 36) != int.from_bytes(hashlib.sha1(data, usedforsecurity=False).digest()):
                return None
        except ValueError:
            return None
    elif _FORBIDDEN.search(data):
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _unescaped(data: bytes) -> bytes:
    if b"&" not in data:
        return data
    for entity, character in ((b"&lt;", b"<"), (b"&gt;", b">"), (b"&quot;", b'"'), (b"&#039;", b"'"), (b"&amp;", b"&")):
        data = data.replace(entity, character)
    return data


def _text_articles(unit: Unit, report: Report) -> Iterator[Article]:
    data = _read(unit)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        report.page_lost(f"byte {unit.begin + error.start:,} is not UTF-8", unit.path.name)
        return
    if "\0" in text:
        report.page_lost("it holds NUL characters", unit.path.name)
        return
    for article in _TEXT_KINDS[unit.kind](text.replace("\r\n", "\n"), unit, report):
        yield article._replace(text=drop_lines(article.text))


def _docs(text: str, unit: Unit, report: Report) -> Iterator[Article]:
    """As wikiextractor writes: `<doc id=… title=…>`, the title, the text, `</doc>`."""
    for found in _DOC.finditer(text):
        attributes = {name: html.unescape(value) for name, value in _ATTRIBUTE.findall(found[1])}
        title = attributes.get("title", "")
        if not found[0].endswith("</doc>"):
            report.page_lost("cut short", title)
            continue
        body = found[2].removeprefix(f"{title}\n")
        yield Article(attributes.get("id", ""), title, html.unescape(body))


def _json_lines(text: str, unit: Unit, report: Report) -> Iterator[Article]:
    """One JSON object a line with `text`, and `title` and `id` where it has them."""
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            article = Article(str(record.get("id", "")), str(record.get("title", "")), str(record["text"]))
        except (ValueError, KeyError, AttributeError):
            report.page_lost("a line is no JSON object with a text", "" if report.title else unit.path.name)
            continue
        report.title = article.title
        yield article


def _titled(text: str, unit: Unit, report: Report) -> Iterator[Article]:
    """As wp2txt writes: `[[Title]]` on a line, then the text."""
    del report
    parts = _WP2TXT.split(text)
    if parts[0].strip():
        yield Article("", unit.path.stem, parts[0])
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        yield Article("", title, body)


def _plain(text: str, unit: Unit, report: Report) -> Iterator[Article]:
    del report
    yield Article("", unit.path.stem, text)


_TEXT_KINDS = {"doc": _docs, "json": _json_lines, "wp2txt": _titled, "text": _plain}
