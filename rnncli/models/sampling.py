"""The distribution that a next token is drawn from: what each way of cutting and guarding makes of a model's scores.

Shapes: B streams, V words.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

COLDEST, HOTTEST = 1e-6, 1e6
"""Below the one temperature only the likeliest token is left, as at 0; above the other all are alike."""


@dataclass(frozen=True)
class Sampling:
    """How words are drawn: temperature 0 takes the likeliest; top_k, top_p, min_p and no_repeat 0 cut nothing off."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    repetition_window: int = 64  # tokens, those read before included
    no_repeat: int = 0

    @property
    def looks_back(self) -> bool:
        """Whether what was written has a say in what comes next."""
        return self.repetition_penalty != 1 or self.no_repeat > 0


class Past:
    """What one stream has read and written, and what followed each of its (n-1)-grams."""

    def __init__(self, n: int, tokens: Iterable[int] = ()) -> None:
        self.n, self.tokens = n, list[int]()
        self._followers = dict[tuple[int, ...], frozenset[int]]()
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        """One token more."""
        self.tokens.append(token)
        if 0 < self.n <= len(self.tokens):
            *context, last = self.tokens[-self.n :]
            before = tuple(context)
            self._followers[before] = self._followers.get(before, frozenset()) | {last}

    def grown(self, token: int) -> "Past":
        """Another past, with one token more."""
        other = self.copy()
        other.add(token)
        return other

    def copy(self) -> "Past":
        """The same, to go on by itself."""
        other = Past(self.n)
        other.tokens, other._followers = self.tokens.copy(), self._followers.copy()
        return other

    @property
    def repeats(self) -> frozenset[int]:
        """The tokens that would end an n-gram which was there already."""
        if not 0 < self.n <= len(self.tokens) + 1:
            return frozenset()
        return self._followers.get(tuple(self.tokens[len(self.tokens) - self.n + 1 :]), frozenset())


def token_probabilities(
    logits: Tensor, sampling: Sampling, barred: Tensor, pasts: Sequence[Past] | None = None
) -> Tensor:
    """The distribution (B, V) that the next token is drawn from, given logits (B, V) and the tokens (N,) never to draw.

    In this order: the repetition penalty (Keskar et al. 2019, arXiv:1909.05858), n-grams that are not repeated (Paulus
    et al. 2017, arXiv:1705.04304), temperature, top-k (Fan et al. 2018, arXiv:1805.04833), top-p (Holtzman et al. 2020,
    arXiv:1904.09751), min-p (Nguyen et al. 2024, arXiv:2407.01082); each cuts what the one before has left, and one
    token at least always stays. `pasts` is of each stream, for the first two. What the barred tokens had is shared by
    all others, END too: words nearer to a line's end are rarer, and of measured ways this one comes closest to the
    length of real lines.
    """
    logits = logits.index_fill(-1, barred, -torch.inf)
    if pasts is not None:
        logits = without_repeats(_penalized(logits, sampling, pasts), pasts)
    if sampling.temperature < COLDEST:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    if sampling.temperature != 1:  # at most 0, so that no temperature overflows
        logits = (logits - logits.amax(-1, keepdim=True)) / min(sampling.temperature, HOTTEST)
    return _likely(_nucleus(_top(logits, sampling.top_k).softmax(-1), sampling.top_p), sampling.min_p)


def draw(shares: Tensor, generator: torch.Generator) -> Tensor:
    """Draw from each row of shares (B, V) what `torch.multinomial` draws, in half its time: nothing is checked.

    The first of exponential clocks that run as fast as the shares are large (Gumbel 1954) strikes.
    """
    return (shares / torch.empty_like(shares).exponential_(generator=generator)).argmax(-1)


def without_repeats(scores: Tensor, pasts: Sequence[Past]) -> Tensor:
    """Scores (B, V) with -inf for what would end an n-gram of the stream's past; untouched where nothing were left."""
    cells = [(row, token) for row, past in enumerate(pasts) for token in past.repeats]
    if not cells:
        return scores
    rows, tokens = torch.tensor(cells, device=scores.device).T
    cut = scores.index_put((rows, tokens), scores.new_tensor(-torch.inf))
    return cut.where((cut > -torch.inf).any(-1, keepdim=True), scores)


def _penalized(logits: Tensor, sampling: Sampling, pasts: Sequence[Past]) -> Tensor:
    """Divide the logits of what stands in the window by the penalty; negative ones are multiplied, to sink as well."""
    penalty, window = sampling.repetition_penalty, sampling.repetition_window
    cells = [(row, token) for row, past in enumerate(pasts) for token in set(past.tokens[-window:])]
    if penalty == 1 or not cells:
        return logits
    rows, tokens = torch.tensor(cells, device=logits.device).T
    seen = logits[rows, tokens]
    return logits.index_put((rows, tokens), torch.where(seen > 0, seen / penalty, seen * penalty))


def _top(logits: Tensor, k: int) -> Tensor:
    """Leave the k greatest logits of each row, and what equals the least of them."""
    if not 0 < k < logits.shape[-1]:
        return logits
    least = logits.topk(k, dim=-1).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def _nucleus(shares: Tensor, p: float) -> Tensor:
    """Leave the likeliest words of each row that together reach p, and share it all among them."""
    if not 0 < p < 1:
        return shares
    ordered, places = shares.sort(dim=-1, descending=True)
    beyond = ordered.cumsum(-1) - ordered >= p
    beyond[:, 0] = False
    ordered = ordered.masked_fill(beyond, 0.0)
    kept = torch.zeros_like(shares).scatter(-1, places, ordered)
    return kept / kept.sum(-1, keepdim=True)


def _likely(shares: Tensor, p: float) -> Tensor:
    """Leave the words of each row that have at least p times the share of the likeliest one."""
    if p <= 0:
        return shares
    kept = shares.masked_fill(shares < p * shares.amax(-1, keepdim=True), 0.0)
    return kept / kept.sum(-1, keepdim=True)
