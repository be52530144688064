"""The pages of the project, their blocks of code, and their links."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)

_BLOCK = re.compile(r"^```(?!`)([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NOTE = re.compile(r"<!-- ([\w ]+): (.*?) -->", re.DOTALL)
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A block of code: its language, its text, its line, the notes in comments before it, and the block right below."""

    language: str
    text: str
    line: int
    notes: list[tuple[str, str]]
    below: "Block | None"


def name_of(page: Path) -> str:
    """The page's path in the project."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order. Notes are comments `<!-- name: text -->` since the block before."""
    text = page.read_text("utf-8")
    found = list(_BLOCK.finditer(text))
    made: list[Block] = []
    below: Block | None = None
    for number in reversed(range(len(found))):
        begin = found[number - 1].end() if number else 0
        between = text[begin : found[number].start()]
        language, code = found[number].groups()
        made.insert(
            0, Block(language.strip(), code, text.count("\n", 0, found[number].start()) + 2, notes(between), below)
        )
        below = made[0] if number and not _NOTE.sub("", between).strip() else None
    return made


def notes(text: str) -> list[tuple[str, str]]:
    """The notes in a part of a page: names and texts."""
    return [(name, " ".join(note.split())) for name, note in _NOTE.findall(text)]


def prose(page: Path) -> str:
    """A page without its blocks of code, on the lines where it stood."""
    return _BLOCK.sub(lambda block: "\n" * block.group().count("\n"), page.read_text("utf-8"))


def spans(page: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every code span."""
    text = prose(page)
    for found in re.finditer(r"`([^`]+)`", text):
        yield text.count("\n", 0, found.start()) + 1, " ".join(found.group(1).split())


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Line and target of every link and picture."""
    text = re.sub(r"`[^`]+`", lambda span: "`" + "\n" * span.group().count("\n"), prose(page))
    for found in _LINK.finditer(text):
        yield text.count("\n", 0, found.start()) + 1, found.group(1)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    made: set[str] = set()
    for heading in _HEADING.findall(prose(page)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        made.add(
            next(f"{anchor}{end}" for end in ["", *(f"-{n}" for n in range(1, 99))] if f"{anchor}{end}" not in made)
        )
    return made
