"""Extract pages and articles from a dump's XML, without an XML parser; checksums verify each text."""

import hashlib
import re
from collections.abc import Iterator

from rnncli.wikipedia import bzip2
from rnncli.wikipedia.bzip2 import Damage
from rnncli.wikipedia.dump import CUT, MAX_PAGE, UNIT, Article, Report, Unit
from rnncli.wikipedia.wikitext import clean

_OUTSIDE = re.compile(
    rb"(?:\s++|</mediawiki>|<\?xml[^>]*+>|<mediawiki\b[^>]*+>|<siteinfo\b(?:[^<]++|<(?!/siteinfo>))*+</siteinfo>)*+"
)
"""Everything in a dump outside of its pages."""
_FOOTER = b"</mediawiki>"
_PAGE = re.compile(
    rb"<page>\s*<title>([^<]*)</title>\s*(?:<ns>(-?\d+)</ns>\s*)?<id>(\d+)</id>\s*(<redirect\b[^>]*>)?.*?<revision\b",
    re.DOTALL,
)
_TEXT = re.compile(rb"<text\b([^>]*?)(/?)>")
_SHA1 = re.compile(rb"<sha1>(\w+)</sha1>")
_SHA1_ATTRIBUTE = re.compile(rb'\bsha1="(\w+)"')
_REDIRECT = re.compile(r"\s*#redirect\b", re.IGNORECASE)
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def articles(unit: Unit, report: Report) -> Iterator[Article]:
    """The cleaned articles of a unit of a dump; the report counts unreadable pages and names the first."""
    for page in pages(_xml(unit, report), unit, report):
        article = _article(page, unit.namespaces, report)
        if article is not None:
            yield article


def _xml(unit: Unit, report: Report) -> Iterator[bytes | None]:
    """The XML of a unit in chunks, then None, then what follows it; `CUT` marks lost parts."""
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
                yield CUT
            else:
                beyond = beyond or chunk is None
                yield chunk
    else:
        yield unit.read()
        yield None


def pages(chunks: Iterator[bytes | None], unit: Unit, report: Report) -> Iterator[bytes]:
    """The pages that begin in a unit, from `<page>` to `</page>`; the last may end in the next unit."""
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
            _check_outside(buffer[at:begin], report, within=not whole)
            yield from _one_page(buffer[begin:end], report)
            at, whole = end, True
        buffer = buffer[at:]
        own = None if own is None else own - at
        if own is not None and not _page_open(buffer, own):
            break
        if len(buffer) > MAX_PAGE:
            report.page_lost(f"{MAX_PAGE >> 20} MB without the end of a page")
            buffer, whole = buffer[-UNIT:], False
    rest = buffer if own is None else buffer[: max(own, 0)]
    if b"<page>" in rest:
        report.page_lost("cut short", _title(rest))
    elif CUT not in rest or unit.last:
        _check_rest(rest.strip(), unit, report, within=not whole)


def _page_open(buffer: bytes, own: int) -> bool:
    """Whether a page begins in the first `own` bytes, even if they contain only a part of its tag."""
    return own > 0 and (buffer.find(b"<page>", 0, own + 5) >= 0 or (len(buffer) == own and _half_tag(buffer)))


def _half_tag(buffer: bytes) -> bool:
    return any(buffer.endswith(b"<page>"[:length]) for length in range(1, 6))


def _one_page(page: bytes, report: Report) -> Iterator[bytes]:
    inner = page.rfind(b"<page>")
    if inner > 0:  # the end of the previous page is missing
        report.page_lost("no end")
        page = page[inner:]
    if CUT in page:
        report.page_lost("cut by the damage", _title(page))
        return
    yield page


def _check_outside(between: bytes, report: Report, *, within: bool) -> None:
    """Count unexpected data between pages; with `within`, the end of a page may come first."""
    if within:
        between = between.partition(b"</page>")[2]
    if CUT not in between and not _OUTSIDE.fullmatch(between):
        report.page_lost("unexpected data")


def _check_rest(rest: bytes, unit: Unit, report: Report, *, within: bool) -> None:
    """Check the data after the last page, which a bz2 stream may cut anywhere.

    With `within`, no page has begun in this unit, so it may be in the middle of one.
    """
    if unit.last:
        if _FOOTER in rest:
            _check_outside(rest, report, within=within)
        elif not (within and rest and _FOOTER.endswith(rest)):
            report.page_lost("the dump ends without </mediawiki>: the rest is missing")
        return
    cut_header = unit.first and rest.startswith((b"<mediawiki", b"<?xml"))
    if not (within or cut_header or _FOOTER.startswith(rest) or _OUTSIDE.fullmatch(rest) or _half_tag(rest)):
        report.page_lost("unexpected data")


def _title(page: bytes) -> str:
    title = re.search(rb"<title>([^<]*)</title>", page)
    return _unescaped(title[1]).decode("utf-8", "replace") if title else ""


def _article(page: bytes, namespaces: tuple[str, ...], report: Report) -> Article | None:
    """The article of a page; None for redirects, other namespaces and damaged pages."""
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
    return Article(head[3].decode(), title, clean(source, namespaces))


def _source_text(page: bytes, tag: re.Match[bytes]) -> str | None:
    """A page's wikitext, verified by its SHA-1 if it has one; None if it is damaged."""
    if tag[2]:
        return ""
    end = page.rfind(b"</text>")
    if end < 0:
        return None
    begin = tag.end()
    if page.find(b"<revision", begin, end) >= 0:  # a dump with history: the last revision counts
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
