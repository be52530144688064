"""Tokenizers, by the names that checkpoints store."""

import re
import string
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, partial

from rnncli.data.cased_words import cased_words, join_cased, shown_cased
from rnncli.data.marks import JOINERS, combining_marks
from rnncli.data.scripts import lacks_blanks
from rnncli.data.units import Units, from_bytes, shown_bytes
from rnncli.data.vocabulary import END, SPECIALS, UNKNOWN, UNKNOWN_WORD, written_word

_PUNCTUATION = str.maketrans("", "", string.punctuation + "‘’‚‛“”„‟«»‹›…¡¿")


def verse_words(line: str) -> list[str]:
    """Words of verse as in the book: lower-cased, ASCII punctuation removed, split at white space.

    Typographic quotation marks and dots are removed as well; a long dash stays part of its word, as in the book.
    """
    return line.lower().translate(_PUNCTUATION).split()


_THOUSANDS = re.compile(r",(?<=\d,)(?=\d{3}(?!\d))")


def wiki_words(text: str) -> list[str]:
    """Words of encyclopedic prose: lower-cased, without punctuation, split at hyphens and slashes.

    Apostrophes stay inside words (don't); a possessive 's is a word of its own. Initials keep their dots (u.s.), and
    numbers their decimal point, but not commas between thousands (1,000 is 1000). Letters keep their marks. Characters
    that join letters stay inside a word: a zero-width non-joiner (Persian), l·l (Catalan), gershayim (Hebrew).
    """
    return _find_words(_plain(text))


def wiki_words_and_ends(text: str) -> list[str]:
    """The `wiki_words` of many lines in one call, with a line feed where a line ends."""
    return _find_words(_plain(text), "|\n")


_JOINERS = "·״\u200c\u200d"


def _find_words(plain: str, ends: str = "") -> list[str]:
    return _wiki_word(ends, any(sign in plain for sign in _JOINERS)).findall(plain)  # most texts have none


@cache
def _wiki_word(ends: str, with_joiners: bool) -> re.Pattern[str]:
    """The pattern of a possessive 's, initials, a number with a point, a word with apostrophes, or `ends`.

    With `with_joiners`, a word may also contain other `_JOINERS`; the dot only between two l.
    """
    part = rf"\w[a-z0-9\w{combining_marks()}]*+"  # Latin letters come first, for speed
    inner = rf"['{_JOINERS}](?!(?<=')s\b)(?<![^l]·)(?!(?<=·)[^l])" if with_joiners else r"'(?!s\b)"
    return re.compile(rf"'s\b|(?:[^\W\d]\.){{2,}}|\d+(?:\.\d+)+|{part}(?:{inner}{part})*{ends}")


def _plain(text: str) -> str:
    """Normalise: lower case, one kind of apostrophe, composed accents, numbers without commas."""
    text = _THOUSANDS.sub("", text.lower().replace("_", " "))
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text.replace("i\u0307", "i"))  # lower() of a Turkish İ
    text = text.replace("’", "'").replace("\xad", "").replace("ŀ", "l·")
    return _hebrew(text) if any(letter in text for letter in _HEBREW) else text


_HEBREW = "אבגדהוזחטיכלמנסעפצקרשת"
_GERSHAYIM = re.compile(r"(?<=[א-ת])[\"”“](?=[א-ת])")


def _hebrew(text: str) -> str:
    """Replace quotation marks inside Hebrew abbreviations by Unicode's characters for them."""
    return _GERSHAYIM.sub("״", text).replace("׳", "'")


LOOKED_AT = 1_000
"""Most frequent words that are used to detect the script of a text."""


def hint_of_unspaced(words: Sequence[str]) -> str:
    """A hint for a text whose `wiki_words` are mostly of scripts without blanks between words; else empty."""
    if not lacks_blanks(" ".join(words)):
        return ""
    return "its script has no blanks between words, so whole clauses count as words: a model of characters fits better"


CASED, SPACED = "cased-words", "spaced-words"

_SPACED = re.compile(r"[^ \t\n]+")
_SPACED_AND_ENDS = re.compile(r"[^ \t\n]+|\n")


def spaced_words(text: str) -> list[str]:
    """The words of a tokenized text, split at blanks, tabs and line ends; its `<unk>` is UNKNOWN.

    Words that look like START, END or UNKNOWN itself are UNKNOWN as well.
    """
    return _with_unknown(_SPACED.findall(text))


def _with_unknown(words: list[str]) -> list[str]:
    return [SPECIALS[UNKNOWN] if word == UNKNOWN_WORD or word in SPECIALS else word for word in words]


def join_spaced(words: Iterable[str]) -> Iterator[str]:
    """Yield a piece of text for each word, with a blank before it except at the beginning of a line."""
    blank = ""
    for word in words:
        yield word if word == "\n" else blank + written_word(word)
        blank = "" if word == "\n" else " "


CLOSING = frozenset([".", ",", ";", ":", "!", "?", ")", "]", "}", "%", "...", "n't"])
OPENING = frozenset(["(", "[", "{", "$", "#"])
"""Tokens that have no blank before them, or after them."""


def join_words(words: Iterable[str], spaced: bool = False) -> Iterator[str]:
    """Yield words as readable text: blanks between words, none before closing punctuation; a line feed for each END.

    With `spaced`, there are blanks between all words.
    """
    glued = True
    for word in words:
        if word == SPECIALS[END]:
            yield "\n"
            glued = True
            continue
        glued = glued or (not spaced and (word in CLOSING or word.startswith("'")))
        yield written_word(word) if glued else f" {written_word(word)}"
        glued = not spaced and word in OPENING


TOKENIZERS: dict[str, Units] = {
    CASED: Units(cased_words, join_cased, shown=shown_cased),
    "verse-words": Units(verse_words, join_words, shown=written_word),
    "wiki-words": Units(wiki_words, join_words, shown=written_word),
    SPACED: Units(spaced_words, partial(join_words, spaced=True), shown=written_word),
}
"""The tokenizers of word models, which read a text line by line."""


@cache
def _word(marks: str) -> re.Pattern[str]:
    """The pattern of white space, or of a word or sign with the blank before it and the `marks` after its letters."""
    return re.compile(rf" ?\w[\w{marks}]*+| ?[^\w\s][{marks}]*+|\s" if marks else r" ?\w+| ?[^\w\s]|\s")


def _words(text: str) -> list[str]:
    marks = "" if text.isascii() else f"{combining_marks()}\ufe00-\ufe0f{JOINERS}"
    return _word(marks).findall(text)


def _as_letters(text: str) -> str:
    return text.encode().decode("latin-1")


UNITS: dict[str, Units] = {
    "char": Units(list, letters=str),
    "bytes": Units(
        lambda text: list(_as_letters(text)),
        lambda units: from_bytes(unit.encode("latin-1") for unit in units),
        _as_letters,
        lambda unit: shown_bytes(unit.encode("latin-1")),
    ),
    "word": Units(_words),
    "spaced": Units(
        lambda text: _with_unknown(_SPACED_AND_ENDS.findall(text)), join_spaced, shown=written_word, spaced=True
    ),
}

WORDS_AND_MARKS = Units(_word("").findall)
"""The `word` of READING 1 and 2, where a combining mark is a token."""

KINDS = (*UNITS, "bpe")
"""The kinds of tokens of running text; a `bpe` is trained on a text."""
