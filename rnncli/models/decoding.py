"""Text out of a language model: drawing tokens, a batch of lines at a time, or one stream that goes on.

Shapes: B lines, V words.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnncli.errors import RnnError
from rnncli.kernels.products import small_products

MAX_LENGTH = 200
"""A line that no END ended is cut here."""

FEW = 3
"""Lines; the products of so few rows are small."""

COLDEST, HOTTEST = 1e-6, 1e6
"""Below the one temperature only the likeliest token is left, as at 0; above the other all are alike."""


@dataclass(frozen=True)
class Sampling:
    """How words are drawn: temperature 0 takes the likeliest; top_k and top_p 0 cut nothing off."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.0


def token_probabilities(logits: Tensor, sampling: Sampling, barred: Tensor) -> Tensor:
    """The distribution (B, V) that the next token is drawn from, given logits (B, V) and the tokens (N,) never to draw.

    By temperature, then top-k (Fan et al. 2018), then top-p (Holtzman et al. 2020). What the barred tokens had is
    shared by all others, END too: words nearer to a line's end are rarer, and of measured ways this one comes
    closest to the length of real lines.
    """
    logits = logits.index_fill(-1, barred, -torch.inf)
    if sampling.temperature < COLDEST:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    if sampling.temperature != 1:  # at most 0, so that no temperature overflows
        logits = (logits - logits.amax(-1, keepdim=True)) / min(sampling.temperature, HOTTEST)
    return _nucleus(_top(logits, sampling.top_k).softmax(-1), sampling.top_p)


def draw(shares: Tensor, generator: torch.Generator) -> Tensor:
    """Draw from each row of shares (B, V) what `torch.multinomial` draws, in half its time: nothing is checked.

    The first of exponential clocks that run as fast as the shares are large (Gumbel 1954) strikes.
    """
    return (shares / torch.empty_like(shares).exponential_(generator=generator)).argmax(-1)


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
    beyond = ordered.cumsum(-1) - ordered >= p
    beyond[:, 0] = False
    ordered = ordered.masked_fill(beyond, 0.0)
    kept = torch.zeros_like(shares).scatter(-1, places, ordered)
    return kept / kept.sum(-1, keepdim=True)


def draw_on(
    model: Any, prime: Sequence[int], sampling: Sampling, *, barred: Sequence[int], generator: torch.Generator
) -> Iterator[int]:
    """Go on drawing tokens without end from a language model that has read the tokens of `prime`, one at least."""
    device = next(model.parameters()).device
    never = torch.tensor(barred, device=device)
    with torch.inference_mode(), small_products():
        step, states = model.eval().stepper(), model.initial_states(1)
        for token in prime:
            logits, states = step(torch.tensor([token], device=device), states)
        while True:
            drawn = torch.multinomial(token_probabilities(logits, sampling, never), 1, generator=generator).flatten()
            yield int(drawn)
            logits, states = step(drawn, states)


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
    longest: int = MAX_LENGTH,
) -> list[list[int]]:
    """Draw `count` lines from a language model, each from START to END; the tokens of `prime` begin every one.

    A line that no END ended is cut at the `longest`; the generator lives on the model's device.
    """
    with small_products() if count <= FEW else nullcontext():
        step, states = model.eval().stepper(), model.initial_states(count)
        device = next(model.parameters()).device
        for token in (start, *prime):
            logits, states = step(torch.full((count,), token, device=device), states)
        if logits.isnan().any():
            raise RnnError("the model's scores are not numbers: nothing can be drawn from them")
        lines: list[list[int]] = [list(prime) for _ in range(count)]
        open_lines = list(range(count))
        never, not_at_first = torch.tensor(barred, device=device), torch.tensor([*barred, end], device=device)
        while open_lines:
            begun = bool(lines[open_lines[0]])  # no line is empty
            shares = token_probabilities(logits, sampling, never if begun else not_at_first)
            drawn = draw(shares, generator)
            going = []
            for place, (line, token) in enumerate(zip(open_lines, drawn.tolist(), strict=True)):
                if token != end:
                    lines[line].append(token)
                    if len(lines[line]) < longest:
                        going.append(place)
            if len(going) < len(open_lines):
                rows = torch.tensor(going, dtype=torch.long, device=device)
                open_lines, drawn = [open_lines[place] for place in going], drawn[rows]
                states = [type(state)(*(part[rows] for part in state)) for state in states]
            if open_lines:
                logits, states = step(drawn, states)
    return lines
