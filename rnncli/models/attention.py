"""Attention: which source steps each target step looks at, and what it sees there.

Shapes: S source steps, T target steps, B batch, M decoder's units, E features of a source step, A of a key.
"""

import math

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Weighs the source's steps by how well they fit a query, for all target steps at once.

    a_ts = softmax_s(score(h_t, m_s)) over the steps that are not padding, c_t = sum_s a_ts m_s, with one of these
    scores: dot: h' k, where k is the sum of both directions' halves of m (or m itself for one direction); general: h'
    Wk m (Luong et al. 2015, arXiv:1508.04025); additive: v' tanh(Wq h + Wk m) (Bahdanau et al. 2015, arXiv:1409.0473;
    there the query is the state before the step, and c_t goes into the cell). `dot` needs M = A.
    """

    def __init__(self, kind: str, query_size: int, memory_size: int, directions: int) -> None:
        super().__init__()
        self.kind, self.directions = kind, directions
        self.key = nn.Identity() if kind == "dot" else nn.Linear(memory_size, query_size, bias=False)
        if kind == "additive":
            self.query = nn.Linear(query_size, query_size)
            self.score = nn.Parameter(torch.empty(query_size).normal_(std=1 / math.sqrt(query_size)))

    def keys(self, memory: Tensor) -> Tensor:
        """Return the keys (B, S, A) that queries are compared with, of memory (B, S, E)."""
        halves = memory.unflatten(-1, (self.directions, -1)).sum(-2) if self.kind == "dot" else memory
        keys: Tensor = self.key(halves)
        return keys

    def forward(self, h: Tensor, keys: Tensor, memory: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """Return what queries h (B, T, M) see, (B, T, E), and their weights (B, T, S), 0 on padding (B, S)."""
        if self.kind == "additive":
            scores = torch.tanh(self.query(h)[:, :, None] + keys[:, None]) @ self.score
        else:
            scores = h @ keys.transpose(1, 2)
        weights = scores.masked_fill(padding[:, None], -torch.inf).softmax(-1)
        return weights @ memory, weights
