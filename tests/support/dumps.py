"""Small dumps, made page by page, in every form of real dumps."""

import bz2
import hashlib
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

HEADER = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="en">
  <siteinfo>
    <sitename>Wikipedia</sitename>
  </siteinfo>
"""
FOOTER = "</mediawiki>\n"


class Page(NamedTuple):
    """A page of a dump."""

    title: str
    text: str
    namespace: int = 0
    redirect: bool = False
    sha1: bool = True

    def xml(self, number: int) -> str:
        """The page in the form of a dump."""
        redirect = '\n    <redirect title="Elsewhere" />' if self.redirect else ""
        sha1 = f"\n      <sha1>{base36(hashlib.sha1(self.text.encode()).hexdigest())}</sha1>" if self.sha1 else ""
        return f"""  <page>
    <title>{escape(self.title, quote=False)}</title>
    <ns>{self.namespace}</ns>
    <id>{number}</id>{redirect}
    <revision>
      <id>{number + 1000}</id>
      <text xml:space="preserve">{escape(self.text, quote=False).replace('"', "&quot;")}</text>{sha1}
    </revision>
  </page>
"""


def base36(digits: str) -> str:
    """A hexadecimal number in base 36, as in MediaWiki."""
    number, text = int(digits, 16), ""
    while number:
        number, digit = divmod(number, 36)
        text = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + text
    return text


def dump_xml(pages: Sequence[Page]) -> str:
    """A whole dump."""
    return HEADER + "".join(page.xml(number) for number, page in enumerate(pages, 1)) + FOOTER


def multistream(pages: Sequence[Page], pages_per_stream: int = 2) -> bytes:
    """A dump as Wikimedia compresses it: bz2 streams of the header, of groups of pages, and of the footer."""
    texts = [page.xml(number) for number, page in enumerate(pages, 1)]
    groups = ["".join(texts[at : at + pages_per_stream]) for at in range(0, len(texts), pages_per_stream)]
    return b"".join(bz2.compress(text.encode()) for text in (HEADER, *groups, FOOTER))


def cut_streams(text: str, size: int) -> bytes:
    """A dump as a parallel compressor writes it: one stream per `size` bytes, which may cut pages."""
    data = text.encode()
    return b"".join(bz2.compress(data[at : at + size]) for at in range(0, len(data), size))
