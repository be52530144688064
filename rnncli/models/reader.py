"""Words as the input of a net: their tag, their own vector, the sum of their character n-grams; or tokens.

Shapes: T steps, B batch, D features of a step, U distinct spellings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.data.features import ABSENT, Counts, Lexicon, Ragged, Tokens
from rnncli.models.dropout import LockedDropout, WordDropout


@dataclass(frozen=True)
class ReaderShape:
    """The features read of a word, their sizes, and their dropout in training."""

    features: Sequence[str]  # of tags, words, chars
    word_size: int = 32
    char_size: int = 32
    word_dropout: float = 0.0  # of words, with all their features
    char_dropout: float = 0.0  # of the n-grams
    input_dropout: float = 0.0  # of features, the same at every step
    frozen: bool = False  # whether the words' vectors stay untrained


class TokenReader(nn.Module):
    """Turns words into vectors: a one-hot tag (no embedding), a word's embedding, its spelling's embedding.

    The spelling of a word is the sum of its n-grams' embeddings over the square root of their number. Embeddings start
    at N(0, 0.1). Whatever `learn` did not see is read as unknown.
    """

    known_tags: Tensor
    known_words: Tensor
    known_grams: Tensor

    def __init__(self, lexicon: Lexicon, shape: ReaderShape) -> None:
        super().__init__()
        self.shape = shape
        self.tags = len(lexicon.tags) + 1
        words, grams = len(lexicon.words) + 1, len(lexicon.grams) + 1
        self.words = _embedding(words, shape.word_size) if "words" in shape.features else None
        if self.words is not None:
            self.words.weight.requires_grad_(not shape.frozen)
        self.grams = _embedding(grams, shape.char_size) if "chars" in shape.features else None
        self.register_buffer("known_tags", torch.ones(self.tags, dtype=torch.bool))
        self.register_buffer("known_words", torch.ones(words, dtype=torch.bool))
        self.register_buffer("known_grams", torch.ones(grams, dtype=torch.bool))
        self.input_dropout = _input_dropout(shape)
        sizes = {"tags": self.tags, "words": shape.word_size, "chars": shape.char_size}
        self.output_size = sum(sizes[name] for name in shape.features)

    def learn(self, counts: Counts, min_count: int) -> None:
        """Know the words and n-grams that occur at least `min_count` times, and all tags met; others are unknown."""
        self.known_tags.copy_(counts.tags > 0)
        self.known_words.copy_(counts.words >= min_count)
        self.known_grams.copy_(counts.grams >= min_count)

    def forward(self, tokens: Tokens) -> Tensor:
        """Return the features (T, B, D) of a batch of words."""
        parts = []
        if "tags" in self.shape.features:
            known = tokens.tags.where(self.known_tags[tokens.tags], ABSENT)
            parts.append(F.one_hot(known, self.tags).to(self._dtype))
        if self.words is not None:
            parts.append(self.words(tokens.words.where(self.known_words[tokens.words], ABSENT)))
        if self.grams is not None:
            parts.append(self._spelled(tokens.grams, self.grams)[tokens.forms])
        out: Tensor = self.input_dropout(torch.cat(parts, dim=-1))
        return out

    def _spelled(self, grams: Ragged, vectors: nn.Embedding) -> Tensor:
        """Return a vector (U, C) for each spelling."""
        numbers, lengths = grams
        rows = torch.arange(len(lengths), device=numbers.device).repeat_interleave(lengths)
        weights = self.known_grams[numbers].to(vectors.weight.dtype)
        known = torch.zeros_like(lengths, dtype=weights.dtype).index_add(0, rows, weights)
        weights = F.dropout(weights / known.clamp(min=1).sqrt()[rows], self.shape.char_dropout, self.training)
        return F.embedding_bag(
            numbers, vectors.weight, lengths.cumsum(0) - lengths, mode="sum", per_sample_weights=weights
        )

    @property
    def _dtype(self) -> torch.dtype:
        return next((each.dtype for each in self.parameters()), torch.get_default_dtype())


class EmbeddingReader(nn.Module):
    """Turns the V tokens of a language model into vectors, x_t = row w_t of the embedding; it starts at N(0, 0.1)."""

    def __init__(self, vocabulary_size: int, shape: ReaderShape) -> None:
        super().__init__()
        self.embedding = _embedding(vocabulary_size, shape.word_size)
        self.input_dropout = _input_dropout(shape)
        self.output_size = shape.word_size

    def forward(self, tokens: Tokens) -> Tensor:
        """Return the vectors (T, B, D) of a batch of tokens."""
        out: Tensor = self.input_dropout(self.embedding(tokens.words))
        return out


def _input_dropout(shape: ReaderShape) -> nn.Sequential:
    return nn.Sequential(WordDropout(shape.word_dropout), LockedDropout(shape.input_dropout))


def _embedding(count: int, size: int) -> nn.Embedding:
    vectors = nn.Embedding(count, size)
    nn.init.normal_(vectors.weight, std=0.1)
    return vectors
