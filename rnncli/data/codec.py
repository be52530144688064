"""The codec of a language model: it turns text into token ids, and token ids into text."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np

from rnncli.data.bpe import bpe_units
from rnncli.data.text import PARTS_MARKS, ends_words_at_marks
from rnncli.data.tokenizers import TOKENIZERS, UNITS, WORDS_AND_MARKS
from rnncli.data.units import Units
from rnncli.data.vocabulary import END, SPECIALS, START, UNKNOWN, Vocabulary

Ids = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Codec:
    """Tokenizer, vocabulary and labels of a language model.

    Word models read line by line, each line from an opening token to END. All other models read one stream of tokens.
    """

    tokenizer: str  # a name in TOKENIZERS or KINDS
    vocabulary: Vocabulary
    bpe: str = ""  # the merges, as JSON
    labels: tuple[str, ...] = ()  # the voices that the model knows
    is_running: bool = False  # word models only: the END of a line opens the next one, and the state is carried over
    parts_marks: bool = field(default_factory=ends_words_at_marks)  # of `word`: by the rules of READING 1 and 2

    @classmethod
    def of(cls, payload: Mapping[str, Any], *, is_running: bool = False) -> "Codec":
        """Read the codec from a checkpoint's payload."""
        vocabulary, labels = Vocabulary(tuple(payload["vocabulary"])), tuple(payload.get("labels", ()))
        parts_marks = payload.get(PARTS_MARKS) is True
        return cls(payload["tokenizer"], vocabulary, payload.get("bpe", ""), labels, is_running, parts_marks)

    @property
    def numbering(self) -> dict[str, Any]:
        """All that decides the token ids, as plain values."""
        kept: dict[str, Any] = {"tokenizer": self.tokenizer, "vocabulary": list(self.vocabulary.tokens)}
        if self.tokenizer == "word" and self.parts_marks:
            kept[PARTS_MARKS] = True
        return {**kept, "bpe": self.bpe} if self.bpe else kept

    @property
    def payload(self) -> dict[str, Any]:
        """The parts that a checkpoint stores."""
        return {**self.numbering, "labels": list(self.labels)} if self.labels else self.numbering

    @cached_property
    def units(self) -> Units:
        """How the tokenizer splits and joins; raises RnnError where `bpe` needs a library that is missing."""
        if self.by_line:
            return TOKENIZERS[self.tokenizer]
        if self.tokenizer == "word" and self.parts_marks:
            return WORDS_AND_MARKS
        return bpe_units(self.bpe) if self.bpe else UNITS[self.tokenizer]

    @property
    def noun(self) -> str:
        """What one of its tokens is called."""
        return {"char": "character", "bytes": "byte", "bpe": "token"}.get(self.tokenizer, "word")

    @property
    def by_line(self) -> bool:
        """Whether each line is a sequence of words with an END; otherwise a text is one stream."""
        return self.tokenizer in TOKENIZERS

    @property
    def by_sentence(self) -> bool:
        """Whether the state is reset at each line; otherwise one stream is read and the state is carried over."""
        return self.by_line and not self.is_running

    @property
    def opening(self) -> int:
        """The token that comes before a text: START or END, or in a stream a line feed.

        A stream without line feeds opens with the most frequent token.
        """
        if self.by_line:
            return END if self.is_running else START
        number = int(self.vocabulary.encode(self.units.split("\n"))[-1])
        return len(SPECIALS) if number == UNKNOWN else number

    @property
    def closing(self) -> tuple[int, ...]:
        """The tokens that come after a text."""
        return (END,) if self.by_line else ()

    @property
    def unwritten(self) -> tuple[int, ...]:
        """Tokens that generation never draws."""
        return (START, UNKNOWN) if self.by_line else (START, END, UNKNOWN)

    def split(self, text: str) -> list[str]:
        """Split a text into tokens; of words, a single line."""
        return self.units.split(text)

    def shown(self, number: int) -> str:
        """Return a token as it is displayed."""
        return self.units.shown(self.vocabulary.tokens[number])

    def join(self, numbers: Iterable[int], *, after: Sequence[str] = ()) -> Iterator[str]:
        """Yield the text of tokens piece by piece; each END is a line feed.

        The text continues the tokens `after` which it comes, so a blank may stand before its first word.
        """
        tokens = (self.vocabulary.tokens[number] for number in numbers)
        return islice(self.units.join(chain(after, tokens)), len(after), None)

    def unknown(self, tokens: Iterable[str]) -> list[str]:
        """List the tokens that the vocabulary lacks, each once, as they are displayed."""
        return sorted({self.units.shown(token) for token in tokens if token not in self.vocabulary.numbers})

    def grown(self, tokens: Iterable[str]) -> "Codec":
        """Return a codec that also knows `tokens`; new ones come after its own."""
        new = tuple(token for token in tokens if token not in self.vocabulary.numbers)
        return replace(self, vocabulary=Vocabulary(self.vocabulary.tokens + new))

    @property
    def dtype(self) -> str:
        """The smallest integer type that holds every token id."""
        return next(kind for kind, bits in (("u1", 8), ("<u2", 16), ("<u4", 32)) if len(self.vocabulary) <= 1 << bits)

    def encode(self, text: str) -> Ids:
        """Return the token ids of a text (N,); UNKNOWN for tokens that the vocabulary lacks."""
        if self.units.letters is None:
            return np.array(self.vocabulary.encode(self.split(text)), dtype=self.dtype)
        numbers: Ids = self._by_letter[codes(self.units.letters(text))]
        return numbers

    @cached_property
    def _by_letter(self) -> Ids:
        table = np.full(sys.maxunicode + 1, UNKNOWN, dtype=self.dtype)
        table[[ord(token) for token in self.vocabulary.words]] = np.arange(len(SPECIALS), len(self.vocabulary))
        return table


class Known(NamedTuple):
    """The numbering that a reader must use, if one is known before it reads a text."""

    codec: Codec | None = None
    grows: bool = False  # the codec adds tokens that it lacks
    only_held_out: bool = False  # the training part may be left out

    def or_new(self, make: Callable[[], Codec]) -> Codec:
        """Return the codec, with the tokens of a new one added where it grows; without a codec, the new one."""
        if self.codec is None:
            return make()
        return self.codec.grown(make().vocabulary.words) if self.grows else self.codec


def codes(letters: str) -> Ids:
    """Return the code points of letters (N,)."""
    return np.frombuffer(letters.encode("utf-32-le"), dtype="<u4")


def labels_of(names: Iterable[str], *, by_voice: bool) -> tuple[str, ...]:
    """Return the names of corpora as labels, each once; none where the corpora are read as one text."""
    labels = tuple(dict.fromkeys(names))
    return labels if by_voice and len(labels) > 1 else ()


def label_numbers(labels: Sequence[str], names: Sequence[str]) -> list[int] | None:
    """Return the number of each name's label; None where there are no labels, or a name has none."""
    known = bool(labels) and set(names) <= set(labels)
    return [labels.index(name) for name in names] if known else None
