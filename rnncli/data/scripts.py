"""The scripts of a text, as far as they decide how it is split into words."""

import re
from typing import NamedTuple

_HAN = "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_KANA = "[\u3041-\u3096\u30a1-\u30fa\u31f0-\u31ff\uff66-\uff9d]"
_HANGUL = "[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3]"
# Thai, Lao, Tibetan, Burmese, Khmer, New Tai Lue, Tai Tham, Javanese
_UNSPACED = "[\u0e01-\u0edf\u0f40-\u0fbc\u1000-\u109f\u1780-\u17d3\u1980-\u19df\u1a20-\u1aad\ua980-\ua9c0]"
_LETTER = r"[^\W\d_]"

HAN_WORD, OTHER_WORD = 3, 10
"""Mean letters between two blanks up to which a text has words: in Han, and in other scripts without blanks."""


class Letters(NamedTuple):
    """Letters of a text: of some scripts, and all."""

    han: int
    kana: int
    hangul: int
    unspaced: int  # of other scripts that put no blank between words
    all: int


def letters_of(text: str) -> Letters:
    """Count a text's letters."""
    han, kana, hangul, unspaced = (len(re.findall(each, text)) for each in (_HAN, _KANA, _HANGUL, _UNSPACED))
    return Letters(han, kana, hangul, unspaced, max(len(re.findall(_LETTER, text)), han + kana + hangul + unspaced))


def lacks_blanks(text: str) -> bool:
    """Whether a text is mostly in a script without blanks between words, and has none inserted either."""
    letters = letters_of(text)
    dense = letters.han + letters.kana
    if 2 * (dense + letters.unspaced) <= letters.all:
        return False
    max_letters = HAN_WORD if dense > letters.unspaced else OTHER_WORD
    return letters.all > max_letters * len(text.split())
