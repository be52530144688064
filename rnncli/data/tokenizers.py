"""How text becomes tokens; a checkpoint names its tokenizer by its name here."""

import string
from collections.abc import Callable

_PUNCTUATION = str.maketrans("", "", string.punctuation + "‘’‚‛“”„‟«»‹›…¡¿")


def verse_words(line: str) -> list[str]:
    """Words as the book takes verse apart: lower-cased, ASCII punctuation removed, split at white space.

    Typographic quotation marks and dots go as well; a long dash stays, as in the book, part of its word.
    """
    return line.lower().translate(_PUNCTUATION).split()


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {"verse-words": verse_words}
