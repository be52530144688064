"""The vocabulary: tokens and their ids, most frequent first, after START, END and UNKNOWN."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

START, END, UNKNOWN = 0, 1, 2
SPECIALS = ("<start>", "<end>", "<unknown>")

UNKNOWN_WORD = "<unk>"
"""The unknown word of a tokenized text."""


def written_word(word: str) -> str:
    """A word as written in a text, where UNKNOWN is `<unk>`."""
    return UNKNOWN_WORD if word == SPECIALS[UNKNOWN] else word


@dataclass(frozen=True)
class Vocabulary:
    """All tokens that a model knows, by id; the first three are START, END and UNKNOWN."""

    tokens: tuple[str, ...]

    @classmethod
    def of(cls, sequences: Iterable[Sequence[str]], min_count: int = 1) -> "Vocabulary":
        """Include every token that occurs at least `min_count` times, ties in alphabetical order."""
        return cls.counted(Counter(token for sequence in sequences for token in sequence), min_count)

    @classmethod
    def counted(cls, counts: Mapping[str, int], min_count: int = 1, size: int = 0) -> "Vocabulary":
        """The same from counts of tokens; with a `size`, at most that many tokens."""
        seen = (token for token, count in counts.items() if count >= min_count and token not in SPECIALS)
        kept = sorted(seen, key=lambda token: (-counts[token], token))
        return cls(SPECIALS + tuple(kept[: size or None]))

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def words(self) -> tuple[str, ...]:
        """The tokens except START, END and UNKNOWN."""
        return self.tokens[len(SPECIALS) :]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Token -> id."""
        return {token: number for number, token in enumerate(self.tokens)}

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """The ids of tokens; UNKNOWN for those not in the vocabulary."""
        return [self.numbers.get(token, UNKNOWN) for token in tokens]

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """The tokens of ids."""
        return [self.tokens[number] for number in numbers]
