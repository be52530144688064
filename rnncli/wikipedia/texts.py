"""Clean texts, as wikiextractor, wp2txt and `rnn data prepare --text` write them, and plain texts."""

import html
import json
import re
from collections.abc import Iterator

from rnncli.wikipedia.dump import TITLE_LINE, Article, Report, Unit
from rnncli.wikipedia.wikitext import drop_lines

_DOC = re.compile(r"<doc\b([^>]*)>\s*+(.*?)(?:</doc>|(?=<doc\b)|\Z)", re.DOTALL)
_ATTRIBUTE = re.compile(r'(\w+)="(.*?)"(?=\s+\w+="|\s*\Z)')  # a title may hold quotation marks
_WP2TXT = re.compile(rf"^{TITLE_LINE}", re.MULTILINE)


def articles(unit: Unit, report: Report) -> Iterator[Article]:
    """The articles of a unit of text; the report counts unreadable ones and names the first."""
    data = unit.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        report.page_lost(f"byte {unit.begin + error.start:,} is not UTF-8", unit.path.name)
        return
    if "\0" in text:
        report.page_lost("it holds NUL characters", unit.path.name)
        return
    for article in KINDS[unit.kind](text, unit, report):
        yield article._replace(text=drop_lines(article.text.replace("\r\n", "\n").replace("\r", "\n")))


def _docs(text: str, unit: Unit, report: Report) -> Iterator[Article]:
    """The output of wikiextractor: `<doc id=… title=…>`, the title, the text, `</doc>`."""
    del unit
    end = 0
    for found in _DOC.finditer(text):
        _check_between(text[end : found.start()], report)
        end = found.end()
        attributes = {name: html.unescape(value) for name, value in _ATTRIBUTE.findall(found[1])}
        title = report.title = attributes.get("title", "")
        if not found[0].endswith("</doc>"):
            report.page_lost("cut short", title)
            continue
        heading, _, body = found[2].partition("\n")
        if html.unescape(heading.rstrip()) != title:
            body = found[2]
        yield Article(attributes.get("id", ""), title, html.unescape(body))
    _check_between(text[end:], report)


def _check_between(between: str, report: Report) -> None:
    if between.strip():
        report.page_lost("unexpected text between articles")


def _json_lines(text: str, unit: Unit, report: Report) -> Iterator[Article]:
    """One JSON object per line with `text`, and optionally `title` and `id`."""
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            fields = (_text_of(record.get("id")), _text_of(record.get("title")), record["text"])
            article = Article(*(each.encode("utf-8", "replace").decode() for each in fields))  # lone surrogates
        except (ValueError, KeyError, AttributeError, RecursionError):
            report.page_lost("a line is not a JSON object with a text", "" if report.title else unit.path.name)
            continue
        report.title = article.title
        yield article


def _text_of(value: object) -> str:
    return "" if value is None else str(value)


def _titled(text: str, unit: Unit, report: Report) -> Iterator[Article]:
    """The output of wp2txt: `[[Title]]` on a line, a blank line, then the text."""
    del unit
    before, *parts = _WP2TXT.split(text)
    _check_between(before, report)
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        yield Article("", title, body)


def _plain(text: str, unit: Unit, report: Report) -> Iterator[Article]:
    del report
    yield Article("", unit.path.stem, text)


KINDS = {"doc": _docs, "json": _json_lines, "wp2txt": _titled, "text": _plain}
