"""Sequence to sequence: an encoder, a decoder that starts from its last states, and attention between them.

Shapes: S source steps, T target steps, B batch, D embedding, M hidden, E features of a source step, V vocabulary.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rnncli.data.pairs import Pair
from rnncli.kernels.scan import padding_mask
from rnncli.models.attention import Attention
from rnncli.models.dropout import LockedDropout, WordDropout
from rnncli.models.language_model import Dropouts
from rnncli.models.readout import FullSoftmax
from rnncli.models.stack import Stack, StackShape, States


class Encoded(NamedTuple):
    """What attention sees of sources: every step, batch first."""

    memory: Tensor  # (B, S, E)
    keys: Tensor  # (B, S, A)
    padding: Tensor  # (B, S), True beyond a source's end


class Translator(nn.Module):
    """Predicts a target token by token from a whole source (Sutskever et al. 2014; Luong et al. 2015).

    Encoder: m_s = [forward_s; backward_s] of its top layer. Decoder: every layer's first state is tanh(W s + b) of the
    last states s, in both directions, of the encoder's layer; h_t is its top output, c_t what `Attention` sees for it;
    h~_t = tanh(Wc [c_t; h_t]), without attention tanh(Wc h_t); p(y_t) = softmax(h~_t Wo' + bo). The context is not fed
    into the cell, so that the decoder is one scan. Source and target share one embedding, which `frozen` keeps
    untrained; `tied` shares it with Wo too (Press and Wolf 2017). Raises UsageError as `Stack`.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_size: int,
        shape: StackShape,
        *,
        attention: str = "general",
        bidirectional: bool = True,
        dropouts: Dropouts | None = None,
        tied: bool = False,
        frozen: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        dropouts = dropouts or Dropouts()
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.embedding.weight.requires_grad_(not frozen)
        self.input_dropout = nn.Sequential(WordDropout(dropouts.word), LockedDropout(dropouts.embedding))
        self.encoder = Stack(embedding_size, replace(shape, bidirectional=bidirectional), backend)
        self.decoder = Stack(embedding_size, replace(shape, learn_h0=False), backend)
        M, E = self.decoder.output_size, self.encoder.output_size
        self.attention = None if attention == "none" else Attention(attention, M, E, self.encoder.directions)
        cells: Any = self.decoder.cells
        self.starts = nn.ModuleList(
            nn.Linear(self.encoder.directions * size, size) for cell in cells for size in cell.state_sizes.values()
        )
        self.joint = nn.Linear(M + E if self.attention else M, embedding_size, bias=False)
        self.dropout = LockedDropout(dropouts.output)
        self.projection = nn.Identity()
        self.weight = None if tied else nn.Parameter(torch.empty(vocabulary_size, embedding_size).normal_(std=0.1))
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))

    @property
    def stack(self) -> Stack:
        """The decoder's cells; the encoder's are of the same kind."""
        return self.decoder

    @property
    def by_layer(self) -> list[list[nn.Module]]:
        """Its parts by layer: the token vectors, the encoder's layers, the decoder's, and the output.

        The output has the parameters that are not listed here.
        """
        first, *decoder = self.decoder.by_layer
        return [[self.embedding], *self.encoder.by_layer, [self.starts, *first], *decoder, [self.joint]]

    @property
    def readout(self) -> FullSoftmax:
        """The part that scores words from features: logits, loss, accuracy."""
        return FullSoftmax(self.embedding.weight if self.weight is None else self.weight, self.bias)

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Encoded, States]:
        """Read sources (S, B) of those lengths (B,), which are on the CPU; the states are the decoder's first."""
        memory, last = self.encoder(self.input_dropout(self.embedding(source)), None, lengths)
        memory = memory.transpose(0, 1)
        padding = padding_mask(len(source), lengths).t().to(memory.device)
        keys = self.attention.keys(memory) if self.attention else memory
        both = self.encoder.directions
        layers = [last[place : place + both] for place in range(0, len(last), both)]
        values = [torch.cat(parts, dim=-1) for layer in layers for parts in zip(*layer, strict=True)]
        starts = iter(torch.tanh(start(value)) for start, value in zip(self.starts, values, strict=True))
        states = [type(state)(*(next(starts) for _ in state)) for state in last[::both]]
        return Encoded(memory, keys, padding), states

    def outputs(
        self, pair: Pair, states: None = None, lengths: None = None, labels: None = None
    ) -> tuple[Tensor, None]:
        """Return h~ (T, B, D) of every target step, before dropout; no state continues into another batch."""
        del states, lengths, labels
        return self._read(pair)[0].transpose(0, 1), None

    def features(
        self, pair: Pair, states: None = None, lengths: None = None, labels: None = None
    ) -> tuple[Tensor, None]:
        """Return the features (T, B, D) that `readout` scores words from."""
        h, _ = self.outputs(pair, states, lengths, labels)
        return self.dropout(h), None

    def forward(self, pair: Pair) -> Tensor:
        """Score the token after each of the target's tokens (T, B): logits (T, B, V)."""
        return self.readout.logits(self.features(pair)[0])

    def weights(self, pair: Pair) -> Tensor | None:
        """Return how much each target step looks at each source step, (B, T, S); None without attention."""
        return self._read(pair)[1]

    def step(self, tokens: Tensor, states: States) -> tuple[Tensor, States]:
        """Score the token after each of the tokens (B,): logits (B, V), and the states after.

        The first of the `states` is the `Encoded`, one row per token; the decoder's states follow.
        """
        (memory, keys, padding), *before = states
        top, after = self.decoder.step(self.decoder.prepare(0, self.embedding(tokens)), before)
        encoded = Encoded(memory, keys, padding)
        h, _ = self._attended(top[:, None], encoded)
        return self.readout.logits(h[:, 0]), [encoded, *after]

    def _read(self, pair: Pair) -> tuple[Tensor, Tensor | None]:
        """Return h~ (B, T, D) of every target step, and the attention weights."""
        encoded, first = self.encode(pair.source, pair.lengths)
        h, _ = self.decoder(self.input_dropout(self.embedding(pair.target)), first)
        return self._attended(h.transpose(0, 1), encoded)

    def _attended(self, h: Tensor, encoded: Encoded) -> tuple[Tensor, Tensor | None]:
        """Return h~ (B, T, D) of h (B, T, M), and the attention weights."""
        if self.attention is None:
            return torch.tanh(self.joint(h)), None
        context, weights = self.attention(h, encoded.keys, encoded.memory, encoded.padding)
        return torch.tanh(self.joint(torch.cat([context, h], dim=-1))), weights

    def init_bias(self, counts: Tensor) -> None:
        """Start from the frequency of each token in targets, counts (V,)."""
        self.readout.init_bias((counts + 0.5) / (counts + 0.5).sum())

    def initial_states(self, batch: int) -> States:
        """Return the states from which a decoder without a source would start."""
        return self.decoder.initial_states(batch)
