"""Text out of a language model: drawing tokens, a batch of lines at a time.

Shapes: B lines, V words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MAX_LENGTH = 200
"""A line that no END ended is cut here."""


@dataclass(frozen=True)
class Sampling:
    """How words are drawn: temperature 0 takes the likeliest; top_k and top_p 0 cut nothing off."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.0


def word_probabilities(
    logits: Tensor, sampling: Sampling, *, end: int, barred: Sequence[int], may_end: bool = True
) -> Tensor:
    """The distribution (B, V) that a line's next token is drawn from, given logits (B, V).

    END keeps the probability that the model gives it; the rest is shared among the words by temperature, top-k (Fan
    et al. 2018) and top-p (Holtzman et al. 2020). What the barred tokens had goes to the other words and not to END:
    a line must not end because a word in it was unknown. At temperature 0, END is taken where it is the likeliest;
    unless the line `may_end`, it is not taken at all.
    """
    p_end = logits.softmax(-1)[:, end] * may_end
    words = logits.clone()
    words[:, [end, *barred]] = -torch.inf
    if sampling.temperature == 0:
        ends = p_end >= (logits.softmax(-1) * words.isfinite()).amax(-1)
        p_end = ends.to(logits.dtype)
        shares = torch.nn.functional.one_hot(words.argmax(-1), words.shape[-1]).to(logits.dtype)
    else:
        shares = _nucleus(_top(words / sampling.temperature, sampling.top_k).softmax(-1), sampling.top_p)
    shares = shares * (1 - p_end)[:, None]
    shares[:, end] = p_end
    return shares


def _top(logits: Tensor, k: int) -> Tensor:
    """Leave the k greatest logits of each row."""
    if not 0 < k < logits.shape[-1]:
        return logits
    least = logits.topk(k, dim=-1).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def _nucleus(shares: Tensor, p: float) -> Tensor:
    """Leave the likeliest words of each row that together reach p, and share it all among them."""
    if not 0 < p < 1:
        return shares
    ordered, places = shares.sort(dim=-1, descending=True)
    ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered >= p, 0.0)
    kept = torch.zeros_like(shares).scatter(-1, places, ordered)
    return kept / kept.sum(-1, keepdim=True)


@torch.inference_mode()
def draw_lines(
    model: Any,
    count: int,
    sampling: Sampling,
    *,
    start: int,
    end: int,
    barred: Sequence[int],
    generator: torch.Generator,
    prime: Sequence[int] = (),
    max_length: int = MAX_LENGTH,
) -> list[list[int]]:
    """Draw `count` lines from a language model, each from START to END; the tokens of `prime` begin every one.

    The model maps tokens (T, B) and states to logits (T, B, V) and states; the generator lives on its device.
    """
    model.eval()
    device = next(model.parameters()).device
    tokens = torch.tensor([start, *prime], device=device)[:, None].expand(-1, count)
    lines: list[list[int]] = [list(prime) for _ in range(count)]
    open_lines = list(range(count))
    states = None
    while open_lines:
        logits, states = model(tokens, states)
        begun = bool(lines[open_lines[0]])  # no line is empty
        shares = word_probabilities(logits[-1], sampling, end=end, barred=barred, may_end=begun)
        drawn = torch.multinomial(shares, 1, generator=generator).flatten()
        for line, token in zip(open_lines, drawn.tolist(), strict=True):
            if token != end:
                lines[line].append(token)
        going = [
            place
            for place, (line, token) in enumerate(zip(open_lines, drawn.tolist(), strict=True))
            if token != end and len(lines[line]) < max_length
        ]
        open_lines = [open_lines[place] for place in going]
        rows = torch.tensor(going, dtype=torch.long, device=device)
        tokens = drawn[rows][None]
        states = [type(state)(*(part[rows] for part in state)) for state in states]
    return lines
