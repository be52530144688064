"""Convert wikitext to plain text: the source of one article to its paragraphs, one per line."""

import re
from functools import cache
from html import unescape

from rnncli.wikipedia.templates import carries_text, text_of
from rnncli.wikipedia.variants import choose_variants

_MAX_DEPTH = 12
"""Depth of nested templates that are resolved; deeper ones produce no text."""
_MAX_UNCLOSED = 20
"""Each unclosed brace drops one line of an article; after this many, all lines with braces are dropped."""

# Possessive quantifiers, and bodies that stop at the next tag of the same name, keep these fast for any source.
_HIDDEN = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(ref|references|math|chem|ce|gallery|timeline|syntaxhighlight|source|score|imagemap|hiero|graph|mapframe|maplink"
    r"|templatedata|inputbox|categorytree|section|table|templatestyles|indicator|includeonly|pre)\b[^<>]*+"
    r"(?:(?<=/)>|>(?:[^<]++|<(?!/?\1\b))*+</\1\s*+>)",
    re.DOTALL | re.IGNORECASE,
)
_LITERAL = re.compile(r"<nowiki>([^<]*+)</nowiki>", re.IGNORECASE)
_MARKUP = re.compile(r"[\[\]{}|'*#:;=<>_-]+")
_BRACES = re.compile(r"\{\{|\}\}|\{\||\|\}(?!\})")
_BEFORE_TABLE = " \t:*#"
_NAMESPACES = "file|image|category|media|special|template|portal|wikipedia|mediawiki|module|draft"
_OTHER_LANGUAGE = re.compile(r"\[\[(?<=^\[\[)[a-z-]{2,12}:[^\]|\n]*+\]\][ \t]*+$", re.MULTILINE)
_LINK = re.compile(r"\[\[:?+(?:[^\[\]]*\|)?([^\[\]|]*+)\]\]")
_ADDRESS = re.compile(
    r"\[(?:https?:|ftp:|irc:|news:|mailto:)?//[^\s\[\]<>]*+[ \t]*+([^\[\]\n]*+)\]|\[mailto:[^\]\n]*+\]"
)
_BARE_ADDRESS = re.compile(r"https?://[^\s<>\[\]\"]++")
_BREAK = re.compile(r"<(?:br|hr|p|/p|/?div|/?blockquote|/?poem|/?li|/?center)\b[^<>]*+>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][a-z0-9]*+(?:\s[^<>]*+)?/?>", re.IGNORECASE)
_EMPHASIS = re.compile(r"''+")
_POSSESSIVE = re.compile(r"'''s\b(?<=\w'''s)")
_SWITCH = re.compile(r"__[A-Z]{3,20}__")
_LEFT_OVER = (
    "{",
    "}",
    "|",
    "[[",
    "]]",
    "\t",
    *"\xa0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000",
)
_DROPPED_LINE = re.compile(r"^[ \t:]*+(?:[\[*\-|={}#;!][^\n]*+)?(?:\n|\Z)", re.MULTILINE)
_INDENT = re.compile(r"^[ \t:]++", re.MULTILINE)
_EMPTY_BRACKETS = re.compile(r"\((?:[\s,;:/–-]|\bor\b|\band\b)*+\)")
_BRACKET_START = re.compile(r"\([\s,;:]++(?=[^\s\)])")
_LOST_BEFORE = re.compile(r" (?=[,.;:)](?:\s|$))", re.MULTILINE)
_SPACES = re.compile(r"  +")


def clean(source: str, namespaces: tuple[str, ...] = ()) -> str:
    """The prose of an article, one paragraph per line, without the parts that the book leaves out.

    Removes headings, lists, tables, templates, references, files, categories and comments. Keeps the text of links,
    words, names and numbers, the text of templates and functions (`TEMPLATES`, `FUNCTIONS`), and one variant of words
    that the wiki shows in several scripts. `namespaces` adds the wiki's names of namespaces such as files and
    categories to the English ones.
    """
    if "<" in source:
        source = _LITERAL.sub(lambda literal: _MARKUP.sub(" ", literal[1]), source)
        source = _HIDDEN.sub("", source)
    source = choose_variants(source) if "-{" in source else source
    if "{{" in source or "{|" in source:
        source = choose_variants(resolve(source))
    if "[" in source:
        source = _file(namespaces).sub("", source)
        source = _OTHER_LANGUAGE.sub("", source)
        source = _LINK.sub(r"\1", source)
        source = _ADDRESS.sub(r"\1", source)
    if "<" in source:
        source = _BREAK.sub("\n", source)
        source = _TAG.sub("", source)
    return drop_lines(_tidy(source))


@cache
def _file(namespaces: tuple[str, ...]) -> re.Pattern[str]:
    """The pattern of links to files and categories, which are not prose."""
    names = "|".join((_NAMESPACES, *map(re.escape, namespaces)))
    return re.compile(
        rf"\[\[\s*+(?:{names})\s*+:"
        r"(?:[^\[\]]++|\[\[(?:[^\[\]]++|\[[^\[\]]*+\])*+\]\]|\[(?!\[)(?:[^\[\]]++)?+\])*+\]\]",
        re.IGNORECASE,
    )


def drop_lines(text: str) -> str:
    """Drop blank lines and lines that begin with wikitext markup: headings, lists, tables."""
    return _DROPPED_LINE.sub("", text)


def _tidy(text: str) -> str:
    """Remove emphasis, addresses and emptied brackets, and decode entities, after all links are resolved."""
    if "''" in text:
        text = _EMPHASIS.sub("", _POSSESSIVE.sub("'s", text))
    if "__" in text:
        text = _SWITCH.sub("", text)
    if "://" in text:
        text = _BARE_ADDRESS.sub("", text)
    if "&" in text:
        text = unescape(unescape(text))
    text = _INDENT.sub("", drop_lines(text))
    for mark in _LEFT_OVER:
        if mark in text:  # separate replacements are four times as fast as one pattern
            text = text.replace(mark, " ")
    if "(" in text:
        text = _BRACKET_START.sub("(", _EMPTY_BRACKETS.sub("", text))
    return _LOST_BEFORE.sub("", _SPACES.sub(" ", text))


def resolve(source: str) -> str:
    """Replace templates by their text, and remove tables."""
    kept = []
    for _ in range(_MAX_UNCLOSED):
        text, rest = _resolve(source, 0)
        kept.append(text)
        if not rest:
            return "".join(kept)
        source = "".join(rest.partition("\n")[1:])  # never closed: drops the rest of this line
    kept.append("\n".join(line for line in source.split("\n") if "{" not in line))
    return "".join(kept)


def _resolve(source: str, depth: int) -> tuple[str, str]:
    """Resolved text, and the rest from the first unclosed brace on."""
    kept: list[str] = []
    opened: list[str] = []
    templates = begin = at = 0
    for mark in _BRACES.finditer(source):
        kind = mark[0]
        if kind == "{{" or (kind == "{|" and _starts_line(source, mark.start())):
            if not opened:
                begin = mark.start()
            opened.append(kind)
            templates += kind == "{{"
        elif opened and kind in ("}}", "|}"):
            closes = "{{" if kind == "}}" else "{|"
            if opened[-1] != closes and (closes == "{|" or not templates):
                continue
            while opened.pop() != closes:  # an unclosed table inside a template ends with the template
                pass
            templates -= closes == "{{"
            if not opened:
                kept.append(source[at:begin])
                if closes == "{{":
                    kept.append(_template(source[begin + 2 : mark.start()], depth))
                at = mark.end()
    if opened:
        kept.append(source[at:begin])
        return "".join(kept), source[begin:]
    kept.append(source[at:])
    return "".join(kept), ""


def _template(inside: str, depth: int) -> str:
    if depth == _MAX_DEPTH or not carries_text(inside.partition("|")[0]):
        return ""
    if "{" in inside:
        inside, lost = _resolve(inside, depth + 1)
        if lost:
            return ""
    return text_of(inside)


def _starts_line(source: str, place: int) -> bool:
    while place and source[place - 1] in _BEFORE_TABLE:
        place -= 1
    return not place or source[place - 1] == "\n"
