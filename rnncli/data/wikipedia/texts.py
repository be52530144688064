"""Texts that are clean already, as wikiextractor, wp2txt and `rnn data prepare --text` write them, or plain ones."""

import html
import json
import re
from collections.abc import Iterator

from rnncli.data.wikipedia.dump import Article, Report, Unit
from rnncli.data.wikipedia.wikitext import drop_lines

_DOC = re.compile(r"<doc\b([^>]*)>\n?(.*?)(?:</doc>|(?=<doc\b)|\Z)", re.DOTALL)
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')
_WP2TXT = re.compile(r"^\[\[([^\[\]\n]+)\]\][ \t]*$", re.MULTILINE)


def articles(unit: Unit, report: Report) -> Iterator[Article]:
    """The articles of a unit of text; what cannot be read is counted and named in the report."""
    data = unit.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        report.page_lost(f"byte {unit.begin + error.start:,} is not UTF-8", unit.path.name)
        return
    if "\0" in text:
        report.page_lost("it holds NUL characters", unit.path.name)
        return
    for article in KINDS[unit.kind](text.replace("\r\n", "\n"), unit, report):
        yield article._replace(text=drop_lines(article.text))


def _docs(text: str, unit: Unit, report: Report) -> Iterator[Article]:
    """As wikiextractor writes: `<doc id=… title=…>`, the title, the text, `</doc>`."""
    del unit
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
            fields = (str(record.get("id", "")), str(record.get("title", "")), str(record["text"]))
            article = Article(*(each.encode("utf-8", "replace").decode() for each in fields))  # lone surrogates
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


KINDS = {"doc": _docs, "json": _json_lines, "wp2txt": _titled, "text": _plain}
