"""Fonts of this machine that have the letters of a picture, in addition to the one that pictures are drawn in."""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any
from unicodedata import category

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

_PLACEHOLDERS = ("last resort", "lastresort", "adobe blank", "adobe notdef", "fallback outline")
"""Parts of the names of fonts that draw the same box for every letter."""


def fonts_for(texts: Iterable[str]) -> tuple[list[str], str]:
    """The families that together have the letters of texts, matplotlib's own first, and the letters that none has.

    Each further family is the one that has the most of the letters that are still missing.
    """
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, findfont

    default = [*rcParams["font.family"]]
    letters = {sign for text in texts for sign in text if _is_drawn(sign)}
    missing = _lacking(_opened(str(findfont(FontProperties(family=default)))), letters)
    families = []
    while missing:
        best, fewest = "", missing
        for family, file in _installed().items():
            lacking = _lacking(_opened(file), missing)
            if len(lacking) < len(fewest):
                best, fewest = family, lacking
        if not best:
            break
        families.append(best)
        missing = fewest
    return [*default, *families], "".join(sorted(missing))


def _is_drawn(sign: str) -> bool:
    """Whether a font needs a glyph for it: not for blanks and controls, nor for a choice of the letter's variant."""
    return category(sign) not in ("Cc", "Cf") and not sign.isspace() and not "\ufe00" <= sign <= "\ufe0f"


def _lacking(font: "FT2Font | None", letters: set[str]) -> set[str]:
    return letters if font is None else {sign for sign in letters if not font.get_char_index(ord(sign))}


@cache
def _opened(file: str) -> "FT2Font | None":
    """A font file, or None where it cannot be read: others may have the letters."""
    from matplotlib.ft2font import FT2Font

    try:
        return FT2Font(file)
    except (OSError, RuntimeError):
        return None


def _installed() -> dict[str, str]:
    """Each family and the file of its most regular face, in alphabetical order."""
    from matplotlib.font_manager import fontManager

    def oddity(entry: Any) -> tuple[bool, int, str]:
        weight = entry.weight if isinstance(entry.weight, int) else 400
        return entry.style != "normal", abs(weight - 400), str(entry.fname)

    faces = sorted(fontManager.ttflist, key=oddity, reverse=True)
    files = {entry.name: str(entry.fname) for entry in faces}
    return {name: files[name] for name in sorted(files) if not any(each in name.lower() for each in _PLACEHOLDERS)}
