"""Split a sentence into a tagger's words: as its training file does, at blanks, or as NLTK does."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

Words = list[str]

SPLITS = ("training", "blanks", "nltk")

_MARK = "\u241f"
"""Separates words that are split in one call; NLTK leaves it unchanged."""

_BLOCK = 1_000
"""Words that are split in one call."""


def words_of(text: str) -> Words:
    """The words and punctuation marks of a line, as NLTK's `word_tokenize(line, preserve_line=True)` splits them."""
    words: Words = _tokenizer().tokenize(text)
    return words


def split_at_blanks(text: str) -> Words:
    """The words of a tokenized text: only blanks and tabs separate them, no-break spaces do not."""
    return re.findall(r"[^ \t]+", text)


def kept_whole(sentences: Sequence[Sequence[str]]) -> list[str]:
    """The forms of words that sentences keep whole although NLTK splits them, such as cannot, #a and @a.

    If sentences have a form both whole and split as NLTK does, the more frequent way decides.
    """
    words = Counter(word for sentence in sentences for word in sentence)
    whole, patterns = Counter[str](), set[tuple[str, ...]]()
    for word, parts in _each_split([word for word in words if len(word.split()) == 1 and _MARK not in word]):
        if len(parts) > 1:
            whole[_form(word)] += words[word]
            patterns.add(tuple(map(_shape, parts)))
    windows = _windows(sentences, patterns)
    merged = {"".join(window): window for window in windows}
    in_parts = Counter[str]()
    for word, parts in _each_split(list(merged)):
        if tuple(parts) == merged[word]:
            in_parts[_form(word)] += windows[merged[word]]
    return sorted(form for form, count in whole.items() if count > in_parts[form])


def split_like(text: str, whole: Sequence[str]) -> Words:
    """The words of a text as NLTK splits them, except words whose form is in `whole`."""
    words = words_of(text)
    spans = _spans(text, words) if whole else []
    beginnings = _beginnings(tuple(whole))
    found: Words = []
    place = 0
    while place < len(spans):
        end = last = place + 1
        while last < len(spans) and spans[last][0] == spans[last - 1][1]:
            last += 1
            merged = text[spans[place][0] : spans[last - 1][1]]
            if beginnings.isdisjoint((_shape(merged), merged.lower())):
                break  # no longer word can match either
            if _form(merged) in whole:
                end = last
        found.append(words[place] if end == place + 1 else text[spans[place][0] : spans[end - 1][1]])
        place = end
    return found or words


@lru_cache(maxsize=4)
def _beginnings(forms: tuple[str, ...]) -> frozenset[str]:
    """All prefixes of some forms, and the forms themselves."""
    return frozenset(form[:size] for form in forms for size in range(1, len(form) + 1))


def _shape(word: str) -> str:
    return re.sub(r"\w+", "a", word)


def _form(word: str) -> str:
    """The form of a word: its marks, with an a for letters and digits; a word without marks is its own form."""
    shape = _shape(word)
    return word.lower() if shape == "a" else shape


def _each_split(words: Sequence[str]) -> Iterator[tuple[str, Words]]:
    """Words, each with the parts that NLTK splits it into inside a sentence."""
    for begin in range(0, len(words), _BLOCK):
        some = words[begin : begin + _BLOCK]
        following = iter([*words_of(f" {_MARK} ".join(some)), _MARK])
        yield from ((word, list(iter(following.__next__, _MARK))) for word in some)


def _windows(sentences: Sequence[Sequence[str]], patterns: set[tuple[str, ...]]) -> Counter[tuple[str, ...]]:
    """Count sequences of words whose shapes match one of the patterns."""
    shapes = {word: _shape(word) for sentence in sentences for word in sentence}
    begins = {pattern[:2] for pattern in patterns} - {("a", "a")}  # almost all pairs of words, without marks
    sizes = {len(pattern) for pattern in patterns}
    found = Counter[tuple[str, ...]]()
    for sentence in sentences:
        marks = [shapes[word] for word in sentence]
        for place, begin in enumerate(pairwise(marks)):
            if begin not in begins:
                continue
            for size in sizes:
                window = tuple(marks[place : place + size])
                if len(window) == size and window in patterns:
                    found[tuple(sentence[place : place + size])] += 1
    return found


def _spans(text: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """The spans of NLTK's words in a text; empty where they cannot be located."""
    spans, place = [], 0
    for word in words:
        while place < len(text) and text[place].isspace():
            place += 1
        quote = word in ("``", "''") and text.startswith('"', place)
        if not quote and not text.startswith(word, place):
            return []
        end = place + (1 if quote else len(word))
        spans.append((place, end))
        place = end
    return spans


@cache
def _tokenizer() -> Any:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()
