"""Next-token prediction: embedding, a stack of cells, and a distribution over the vocabulary at every step."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.data.features import Ragged
from rnncli.errors import UsageError
from rnncli.models.dropout import LockedDropout, WordDropout
from rnncli.models.embedding import SpelledEmbedding
from rnncli.models.readout import AdaptiveSoftmax, FullSoftmax, SampledSoftmax, zipf_probs
from rnncli.models.stack import Stack, StackShape, States
from rnncli.models.stepper import Stepper
from rnncli.models.voices import Voices


@dataclass(frozen=True)
class Dropouts:
    """The dropout of a language model in training; the stack's shape holds the dropout between layers."""

    word: float = 0.0  # of the words read, whole vectors
    embedding: float = 0.0  # of the word vectors' features
    output: float = 0.0  # of the top layer's features


class LanguageModel(nn.Module):
    """Predicts the next token from all tokens before it (Mikolov et al. 2010).

    p(w_{t+1} | w_1..w_t) = softmax(h_t Wo + bo), x_t = row w_t of the embedding (V, D). With `tied` the output weights
    are the embedding (Press and Wolf 2017, arXiv:1608.05859), after a projection where M differs from D. With
    `spellings`, a token's n-grams add to x_t. `unit_vectors` scales x_t to length 1 (`row`), or the whole embedding to
    norm 1 after each training step (`matrix`, see `scale_vectors`). With `labels`, each of that many labels adds a
    trainable vector to x_t (see `rnncli.models.voices`). The embedding starts at N(0, 0.1), or from `start_from`;
    `frozen` keeps it untrained. The `softmax` is `full`, `adaptive`, or in training `sampled` (see
    `rnncli.models.readout`); for the last two, tokens are numbered by frequency. Raises UsageError as `Stack`, and for
    an impossible adaptive softmax.
    """

    noise_probs: Tensor | None

    def __init__(
        self,
        vocabulary_size: int,
        embedding_size: int,
        shape: StackShape,
        *,
        dropouts: Dropouts | None = None,
        tied: bool = False,
        unit_vectors: str = "no",
        spellings: Ragged | None = None,
        frozen: bool = False,
        softmax: str = "full",
        labels: int = 0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        dropouts = dropouts or Dropouts()
        self.unit_vectors = unit_vectors
        if spellings is None:
            self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        else:
            self.embedding = SpelledEmbedding(spellings, embedding_size)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.embedding.weight.requires_grad_(not frozen)
        self.voices = Voices(labels, embedding_size) if labels else None
        self.input_dropout = nn.Sequential(WordDropout(dropouts.word), LockedDropout(dropouts.embedding))
        self.stack = Stack(embedding_size, shape, backend)
        self.dropout = LockedDropout(dropouts.output)
        M = self.stack.output_size
        self.projection = nn.Linear(M, embedding_size, bias=False) if tied and embedding_size != M else nn.Identity()
        if softmax == "adaptive" and tied:
            raise UsageError("an adaptive softmax scores words from features of several sizes: leave --tied out")
        if softmax == "adaptive":
            self.output: nn.Module | None = AdaptiveSoftmax(M, vocabulary_size)
        else:
            self.output = None if tied else nn.Linear(M, vocabulary_size, bias=False)
            self.bias = nn.Parameter(self.embedding.weight.new_zeros(vocabulary_size))
        noise_probs = zipf_probs(vocabulary_size) if softmax == "sampled" else None
        self.register_buffer("noise_probs", noise_probs, persistent=False)

    @property
    def readout(self) -> FullSoftmax | AdaptiveSoftmax:
        """The part that scores words from features: logits, loss, accuracy."""
        if isinstance(self.output, AdaptiveSoftmax):
            return self.output
        if self.noise_probs is not None and self.training:
            return SampledSoftmax(self.word_vectors("output"), self.bias, self.noise_probs)
        return FullSoftmax(self.word_vectors("output"), self.bias)

    def init_bias(self, counts: Tensor) -> None:
        """Start from the frequency of each token, counts (V,): the output's bias becomes its log frequency."""
        self.readout.init_bias((counts + 0.5) / (counts + 0.5).sum())

    @torch.no_grad()
    def scale_vectors(self) -> None:
        """Divide the embedding (V, D) by its Frobenius norm, where `unit_vectors` is `matrix`.

        As the script of the book's chapter 6 does after each step (LazyProgrammer 2016).
        """
        if self.unit_vectors == "matrix":
            self.embedding.weight.div_(self.embedding.weight.norm().clamp(min=1e-12))

    def start_from(self, tokens: Tensor, vectors: Tensor) -> None:
        """Take vectors (N, D) from elsewhere for tokens (N,); all others stay unchanged."""
        with torch.no_grad():
            self.embedding.weight[tokens] = vectors.to(self.embedding.weight)

    @property
    def vector_layers(self) -> tuple[str, ...]:
        """The layers that have a vector for each word, the most informative one last.

        That is the input where words are spelled, and where its matrix is kept at unit norm, as in the book.
        """
        if isinstance(self.output, AdaptiveSoftmax):
            return ("input",)
        by_input = isinstance(self.embedding, SpelledEmbedding) or self.unit_vectors == "matrix"
        return ("output", "input") if by_input else ("input", "output")

    def word_vectors(self, layer: str) -> Tensor:
        """Return the vectors that words are read by (`input`) or scored by (`output`): (V, D) or (V, M).

        Where they are tied they are equal, except for what spelling adds to the input. Raises UsageError for the output
        of an adaptive softmax.
        """
        if layer == "input" and isinstance(self.embedding, SpelledEmbedding):
            return self.embedding.vectors(torch.arange(len(self.embedding.weight), device=self.embedding.weight.device))
        if layer == "input" or self.output is None:
            return self.embedding.weight
        if isinstance(self.output, nn.Linear):
            return self.output.weight
        raise UsageError("an adaptive softmax has output vectors of several sizes: use --layer input")

    def forward(
        self,
        tokens: Tensor,
        states: States | None = None,
        lengths: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> tuple[Tensor, States]:
        """Score the token after each of the tokens (T, B): logits (T, B, V), and the last states to continue from."""
        h, states = self.features(tokens, states, lengths, labels)
        return self.readout.logits(h), states

    def features(
        self,
        tokens: Tensor,
        states: States | None = None,
        lengths: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> tuple[Tensor, States]:
        """Return the features for `readout`, (T, B, M), or (T, B, D) where tied; and the last states."""
        h, states = self.outputs(tokens, states, lengths, labels)
        return self.projection(self.dropout(h)), states

    def outputs(
        self,
        tokens: Tensor,
        states: States | None = None,
        lengths: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> tuple[Tensor, States]:
        """Return the stack's outputs (T, B, M) for tokens (T, B), before dropout; and the last states.

        The labels, (T, B) like the tokens, give the voice of each; without labels, it is nobody's.
        """
        h: Tensor
        h, states = self.stack(self.add_label(self.input_dropout(self.read(tokens)), labels), states, lengths)
        return h, states

    def read(self, tokens: Tensor) -> Tensor:
        """Return the vectors (..., D) of tokens (...)."""
        x: Tensor = self.embedding(tokens)
        return F.normalize(x, dim=-1) if self.unit_vectors == "row" else x

    def add_label(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Add the vectors of labels (...) to those of tokens, x (..., D); dropout does not touch them."""
        return x if labels is None or self.voices is None else x + self.voices(labels)

    @torch.no_grad()
    def input_vectors(self, label: int | None = None) -> Tensor:
        """Return the vectors (V, D) that the stack reads, with all that spelling and the voice of a label add."""
        device = self.embedding.weight.device
        voice = None if label is None else torch.tensor(label, device=device)
        return self.add_label(self.read(torch.arange(len(self.embedding.weight), device=device)), voice)

    def initial_states(self, batch: int) -> States:
        """Return the trainable states before the first step, for a batch of that size."""
        return self.stack.initial_states(batch)

    def stepper(self, label: int | None = None) -> Stepper:
        """Return the model as it is now, one step at a time, in the voice of a label or of nobody."""
        return Stepper(self, label)
