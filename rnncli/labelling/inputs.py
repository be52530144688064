"""The steps that a net which labels reads: words by a lexicon, or the tokens of the language model it started from."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

from rnncli.data.codec import Codec
from rnncli.data.marks import shorten
from rnncli.data.splitting import words_of
from rnncli.data.vocabulary import UNKNOWN
from rnncli.errors import RnnError

if TYPE_CHECKING:
    from rnncli.data.features import Features, Lexicon

MAX_STEPS = 5_000
"""Maximum number of words, or tokens, in a text; a batch with a longer text would not fit in memory."""

Lines = Sequence[Sequence[str]]


class Inputs(ABC):
    """How a net reads texts: each is split into words or tokens, which are then numbered."""

    opened: ClassVar[bool] = False  # whether the first step of each sequence is no token of its text

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """Split a text into words or tokens."""

    @abstractmethod
    def split_all(self, texts: Sequence[str]) -> list[list[str]]:
        """Split several texts; raises RnnError as `check_lengths`."""

    @abstractmethod
    def tags(self, lines: Lines) -> list[list[str]] | None:
        """Return the parts of speech of all words; None for a net that does not read them. Raises as `tags_of`."""

    @abstractmethod
    def encode(self, lines: Lines, tags: Lines | None = None) -> "Features":
        """Number the words or tokens of texts, with their tags; without `tags`, those that `tags` finds."""

    @abstractmethod
    def encode_words(self, lines: Lines) -> "Features":
        """Number sentences of words that are given: one step of each word is labelled."""

    @abstractmethod
    def written(self, text: str, words: Sequence[str]) -> list[str]:
        """Return words or tokens of a text as they are displayed."""

    @abstractmethod
    def pieces(self, text: str, words: Sequence[str]) -> list[str]:
        """Return the same with the blanks between them."""


@dataclass(frozen=True)
class WordInputs(Inputs):
    """Words and punctuation marks as NLTK splits them, numbered by a lexicon."""

    lexicon: "Lexicon"
    with_tags: bool

    def split(self, text: str) -> list[str]:
        return words_of(text)

    def split_all(self, texts: Sequence[str]) -> list[list[str]]:
        return words_of_all(texts)

    def tags(self, lines: Lines) -> list[list[str]] | None:
        return tags_if(lines, with_tags=self.with_tags)

    def encode(self, lines: Lines, tags: Lines | None = None) -> "Features":
        return self.lexicon.encode(lines, self.tags(lines) if tags is None else tags)

    def encode_words(self, lines: Lines) -> "Features":
        return self.encode(lines)

    def written(self, text: str, words: Sequence[str]) -> list[str]:
        return as_written(text, words)

    def pieces(self, text: str, words: Sequence[str]) -> list[str]:
        return [f"{' ' * (place > 0)}{word}" for place, word in enumerate(as_written(text, words))]


@dataclass(frozen=True)
class TokenInputs(Inputs):
    """The tokens of a language model: its opening token, then those of the text; new ones are UNKNOWN."""

    codec: Codec
    opening: int

    opened: ClassVar[bool] = True

    def split(self, text: str) -> list[str]:
        return self.codec.split(text)

    def split_all(self, texts: Sequence[str]) -> list[list[str]]:
        lines = list(map(self.split, texts))
        check_lengths(lines, min_length=0, what="tokens")
        return lines

    def tags(self, lines: Lines) -> None:
        del lines

    def encode(self, lines: Lines, tags: Lines | None = None) -> "Features":
        del tags
        from rnncli.data.features import Features

        encode = self.codec.vocabulary.encode
        return Features.of_tokens([[self.opening, *encode(line)] for line in lines], len(self.codec.vocabulary))

    def encode_words(self, lines: Lines) -> "Features":
        """A word of several tokens is labelled at the last one; a word without a token is UNKNOWN."""
        from rnncli.data.features import Features

        numbers: list[list[int]] = []
        labelled: list[bool] = []
        split = [list(self.tokens_of(line)) for line in lines]
        check_lengths([list(chain.from_iterable(line)) for line in split], min_length=0, what="tokens")
        for line in split:
            words = [self.codec.vocabulary.encode(tokens) or [UNKNOWN] for tokens in line]
            numbers.append([self.opening, *chain.from_iterable(words)])
            labelled += [False, *(place == len(word) - 1 for word in words for place in range(len(word)))]
        return Features.of_tokens(numbers, len(self.codec.vocabulary), labelled)

    def tokens_of(self, words: Sequence[str]) -> Iterator[list[str]]:
        """Yield the tokens of each word of a sentence, with the blank before it where tokens contain blanks."""
        blank = "" if self.codec.by_line or self.codec.units.spaced else " "
        yield from (self.split(f"{blank * (place > 0)}{word}") for place, word in enumerate(words))

    def written(self, text: str, words: Sequence[str]) -> list[str]:
        del text
        return list(map(self.codec.units.shown, words))

    def pieces(self, text: str, words: Sequence[str]) -> list[str]:
        spaced = self.codec.by_line or self.codec.units.spaced
        return [f"{' ' * (spaced and place > 0)}{word}" for place, word in enumerate(self.written(text, words))]


def inputs_of(config: Any, payload: Mapping[str, Any]) -> Inputs:
    """Return how a trained model reads texts, by its settings and the payload of its checkpoint.

    Raises ValueError for a payload with an opening token that is not one of its vocabulary.
    """
    if "lexicon" in payload or "tokenizer" not in payload:
        return WordInputs(lexicon_from(payload), "tags" in config.features)
    opening, codec = payload["opening"], Codec.of(payload)
    if type(opening) is not int or not 0 <= opening < len(codec.vocabulary):
        raise ValueError(f"opening is {opening!r}")
    return TokenInputs(codec, opening)


def lexicon_of(config: Any, lines: Lines, tags: Lines) -> dict[str, Any]:
    """The lexicon of the training texts, as a checkpoint stores it."""
    from rnncli.data.features import Lexicon

    max_length = config.char_ngrams if "chars" in config.features else 0
    lexicon = Lexicon.of(lines, tags, min_count=config.min_count, max_length=max_length)
    words = lexicon.words if "words" in config.features else ()
    return {"tags": list(lexicon.tags), "words": list(words), "grams": list(lexicon.grams), "longest": max_length}


def lexicon_from(payload: Mapping[str, Any]) -> "Lexicon":
    """The lexicon in a checkpoint's payload."""
    from rnncli.data.features import Lexicon

    tags, words, grams, max_length = (payload["lexicon"][name] for name in ("tags", "words", "grams", "longest"))
    return Lexicon(tuple(tags), tuple(words), tuple(grams), max_length)


def tags_if(lines: Lines, *, with_tags: bool) -> list[list[str]] | None:
    """The words' parts of speech by NLTK's tagger; None if the net does not read them."""
    from rnncli.data.tagging import tags_of

    return tags_of([list(line) for line in lines]) if with_tags else None


def words_of_all(texts: Sequence[str], split: Callable[[str], list[str]] = words_of) -> list[list[str]]:
    """The words of each text; raises RnnError as `check_lengths`."""
    lines = [split(text) for text in texts]
    check_lengths(lines)
    return lines


def check_lengths(lines: Lines, min_length: int = 1, what: str = "words") -> None:
    """Raise RnnError for a text with fewer than `min_length` words, or with more than `MAX_STEPS`."""
    for place, line in enumerate(lines, start=1):
        if not min_length <= len(line) <= MAX_STEPS:
            beginning, limits = shorten(" ".join(line), 40), f"{min_length} to {MAX_STEPS:,}"
            raise RnnError(f"text {place} ({beginning}) has {len(line):,} {what}: a text must have {limits}")


def as_written(text: str, words: Sequence[str]) -> list[str]:
    """Words with the quotation marks of the text, which NLTK's tokenizer turns into `` and ''."""
    return ['"' if word in ("``", "''") and word not in text else word for word in words]
