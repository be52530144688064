"""Word vectors that also depend on spelling: a word's own vector, and those of its character n-grams.

Shapes: V words, G n-grams, D features.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.data.features import Ragged


class SpelledEmbedding(nn.Embedding):
    """The vector of a word: its own, plus the sum of its n-grams' vectors over the square root of their number.

    As Bojanowski et al. 2017 (arXiv:1607.04606), here as the input of a recurrent net (Kim et al. 2016,
    arXiv:1508.06615, take a convolution of the characters). `spellings` holds the n-grams, 0 to G - 1, of each of V
    words.
    """

    values: Tensor
    lengths: Tensor

    def __init__(self, spellings: Ragged, embedding_size: int) -> None:
        super().__init__(len(spellings.lengths), embedding_size)
        count = int(spellings.values.max()) + 1 if len(spellings.values) else 1
        self.grams = nn.Parameter(torch.empty(count, embedding_size).normal_(std=0.1))
        self.register_buffer("values", spellings.values, persistent=False)
        self.register_buffer("lengths", spellings.lengths, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the vectors (..., D) of tokens (...); each distinct one is computed once."""
        present, places = tokens.unique(return_inverse=True)
        return F.embedding(places, self.vectors(present))

    def vectors(self, words: Tensor) -> Tensor:
        """Return the vectors (N, D) of N words."""
        values, lengths = Ragged(self.values, self.lengths).only(words)
        starts = lengths.cumsum(0) - lengths
        spelled = F.embedding_bag(values, self.grams, starts, mode="sum")
        own: Tensor = F.embedding(words, self.weight)
        return own + spelled / lengths.clamp(min=1).sqrt()[:, None]
