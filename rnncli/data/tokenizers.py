"""How text becomes tokens; a checkpoint names its tokenizer by its name here."""

import unicodedata
from collections.abc import Callable


def verse_words(line: str) -> list[str]:
    """Words as the book takes verse apart: lower-cased, punctuation removed, split at white space."""
    return "".join(sign for sign in line.lower() if not _is_punctuation(sign)).split()


def _is_punctuation(sign: str) -> bool:
    return unicodedata.category(sign)[0] in "PS"


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {"verse-words": verse_words}
