"""Choose one variant of words that a wiki shows in one of several scripts, such as -{zh-hans:计算机; zh-hant:電腦}-."""

import re

_PREFERRED = ("zh-hans", "zh-cn", "zh-sg", "zh-my", "zh")
"""Simplified characters are preferred; a text without them, such as one in Serbian, keeps its first variant."""

_INNERMOST = re.compile(r"-\{(?!\{)([^{}]*+)\}-")
_MAX_DEPTH = 5
_CODE = re.compile(
    r"\s*(?:[^:=>;]*+=>\s*)?((?:zh|gan|wuu|sr|sh|kk|ku|uz|crh|tg|iu|shi|ban|tly|mni)(?:-[a-z]{2,6})*)\s*:(.*)",
    re.DOTALL,
)
_FLAGS = re.compile(r"\s*([A-Z-](?:\s*;\s*[A-Z-])*|[a-z]{2,3}(?:-[a-z]+)*(?:\s*;\s*[a-z]{2,3}(?:-[a-z]+)*)*)?\s*\|")
_HIDING = frozenset("THDN-")
"""Flags of rules that apply to the title or the rest of the page, or are only described; they produce no text."""


def choose_variants(source: str) -> str:
    """Replace each -{…}- by one variant, or by its whole text if it has no variants."""
    for _ in range(_MAX_DEPTH):
        chosen = _INNERMOST.sub(lambda found: _chosen(found[1]), source)
        if chosen == source:
            break
        source = chosen
    return source


def _chosen(inside: str) -> str:
    flags = _FLAGS.match(inside)
    if flags:
        if not _HIDING.isdisjoint(re.split(r"[\s;]+", flags[1] or "")):
            return ""
        inside = inside[flags.end() :]
    alternatives: dict[str, list[str]] = {}
    parts: list[str] = []
    for part in inside.split(";"):
        if begun := _CODE.fullmatch(part):
            parts = alternatives.setdefault(begun[1], [])
            part = begun[2]
        elif not alternatives:
            return inside.strip()
        parts.append(part)  # a part of the same variant: the semicolon belongs to the text
    preferred = next((each for each in _PREFERRED if each in alternatives), next(iter(alternatives)))
    return ";".join(alternatives[preferred]).strip(" \t\n;")
