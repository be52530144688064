"""Find installed fonts for the letters of a picture that the default font lacks."""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any
from unicodedata import category

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

_PLACEHOLDERS = ("last resort", "lastresort", "adobe blank", "adobe notdef", "fallback outline")
"""Parts of the names of fonts that draw every letter as the same box."""


def fonts_for(texts: Iterable[str]) -> tuple[list[str], str]:
    """Font families that together cover the letters of texts, matplotlib's own first, and the uncovered letters.

    Each further family is the one that covers most of the missing letters.
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
    """Whether a character needs a glyph: not blanks, control characters and variation selectors."""
    return category(sign) not in ("Cc", "Cf") and not sign.isspace() and not "\ufe00" <= sign <= "\ufe0f"


def _lacking(font: "FT2Font | None", letters: set[str]) -> set[str]:
    return letters if font is None else {sign for sign in letters if not font.get_char_index(ord(sign))}


@cache
def _opened(file: str) -> "FT2Font | None":
    """Open a font file; None if it cannot be read, since other fonts may have the letters."""
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
