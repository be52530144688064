"""Text out of a model that scores next tokens: streams that are drawn, and the likeliest sequences by beam search.

Shapes: T steps, B streams, V words.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rnncli.errors import RnnError
from rnncli.kernels.graphs import Graphs, in_graph
from rnncli.kernels.matmul import small_matmul
from rnncli.models.recorded import RecordedStreams, fetched, recorded_step
from rnncli.models.sampling import Past, Sampling, draw, token_probabilities
from rnncli.models.stack import States, select_rows

MAX_SMALL = 3
"""Streams. Up to this number, matmuls have few rows and use `small_matmul`."""

MAX_STREAMS = 1024
"""Streams drawn side by side. More are drawn in batches of this size, which bounds the memory."""

WINDOW = 256
"""Tokens. A CPU reads up to this many step by step, which needs no scan; more are read by scans of this length."""

DecodeStep = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""The tokens (B,) and the states before them -> the logits (B, V) of the next tokens, and the states after them."""


LIKELIEST = 5
"""The number of likeliest tokens that a listener receives."""


class Choice(NamedTuple):
    """A drawn token, and its alternatives: the likeliest tokens, each with its probability."""

    stream: int
    token: int
    probability: float
    likeliest: list[tuple[int, float]]


Ending = Callable[[int], bool]
"""Takes each token of one stream as it is drawn; returns whether the stream ends with it."""

Listener = Callable[[Choice], None]
"""Receives each token as soon as it is drawn; an exception that it raises ends the drawing."""


class Opening(NamedTuple):
    """A stream of a model that has read something, ready to continue."""

    step: DecodeStep
    logits: Tensor  # (1, V)
    states: States


@torch.inference_mode()
def read(model: Any, tokens: Sequence[int], label: int | None = None) -> Opening:
    """Let a language model read one token or more from its first states, in the voice of a label or of nobody.

    Raises RnnError where its scores are not numbers.
    """
    step, states = model.eval().stepper(label), model.initial_states(1)
    device = next(model.parameters()).device
    if len(tokens) <= (WINDOW if device.type == "cpu" else 1):
        with small_matmul():
            for token in tokens:
                logits, states = step(torch.tensor([token], device=device), states)
    else:
        for begin in range(0, len(tokens), WINDOW):
            window = torch.tensor(tokens[begin : begin + WINDOW], device=device)[:, None]
            labels = None if label is None else torch.full_like(window, label)
            h, states = model.features(window, states, labels=labels)
        logits = model.readout.logits(h[-1])
    return Opening(step, _checked(logits), states)


def _checked(logits: Tensor) -> Tensor:
    """Return the scores; raise RnnError where one is NaN or plus infinity, which leaves no other a probability."""
    if logits.isnan().any() or logits.isposinf().any():
        raise RnnError("the model's scores are not numbers: no token can be chosen")
    return logits


def draw_streams(
    opening: Opening,
    count: int,
    sampling: Sampling,
    *,
    banned: Sequence[int],
    generator: torch.Generator,
    ending: Callable[[], Ending],
    banned_first: Sequence[int] = (),
    past: Sequence[int] = (),
    listen: Listener | None = None,
    graphs: Graphs | None = None,
) -> Iterator[list[tuple[int, int]]]:
    """Draw tokens for `count` streams side by side, all from one opening, each until its own `ending()` returns true.

    Yields, step by step, the number of each running stream with its token. A repetition guard treats `past` as already
    written. No stream begins with one of `banned_first`. The generator must be on the model's device. With `graphs` a
    step is launched before the tokens of the previous one are read, and streams that ended stay until half of all have:
    the texts are then others.
    """
    begun = sampling.past(past)
    for begin in range(0, count, MAX_STREAMS):
        streams = list(range(begin, min(begin + MAX_STREAMS, count)))
        pasts = [begun.copy() for _ in streams] if sampling.looks_back else None
        drawing = Drawing(opening, streams, pasts, sampling, banned, banned_first, generator, ending, listen)
        with small_matmul() if len(streams) <= MAX_SMALL else nullcontext():
            yield from _draw(*drawing) if graphs is None else _draw_ahead(drawing, graphs)


class Drawing(NamedTuple):
    """Streams to draw, as `draw_streams` takes them."""

    opening: Opening
    streams: list[int]
    pasts: list[Past] | None
    sampling: Sampling
    banned: Sequence[int]
    banned_first: Sequence[int]
    generator: torch.Generator
    ending: Callable[[], Ending]
    listen: Listener | None


@torch.inference_mode()
def _draw(
    opening: Opening,
    streams: list[int],
    pasts: list[Past] | None,
    sampling: Sampling,
    banned: Sequence[int],
    banned_first: Sequence[int],
    generator: torch.Generator,
    ending: Callable[[], Ending],
    listen: Listener | None,
) -> Iterator[list[tuple[int, int]]]:
    device = opening.logits.device
    never = torch.tensor([*banned, *banned_first], dtype=torch.long, device=device)
    same = torch.zeros(len(streams), dtype=torch.long, device=device)
    logits, states = opening.logits[same], select_rows(opening.states, same)
    endings = [ending() for _ in streams]
    while streams:
        probs = token_probabilities(logits, sampling, never, pasts or ())
        drawn = draw(probs, generator)
        tokens = drawn.tolist()
        if listen is not None:
            _notify(listen, streams, drawn, probs)
        for past, token in zip(pasts or (), tokens, strict=False):
            past.add(token)
        yield list(zip(streams, tokens, strict=True))
        going = [place for place, token in enumerate(tokens) if not endings[place](token)]
        if len(going) < len(streams):
            rows = torch.tensor(going, dtype=torch.long, device=device)
            drawn, states = drawn[rows], select_rows(states, rows)
            streams, endings = [streams[place] for place in going], [endings[place] for place in going]
            pasts = pasts and [pasts[place] for place in going]
        if streams:
            logits, states = opening.step(drawn, states)
            never = never[: len(banned)]


@torch.inference_mode()
def _draw_ahead(given: Drawing, graphs: Graphs) -> Iterator[list[tuple[int, int]]]:
    """Draw by graphs: the device computes the next step while the host reads the tokens of this one.

    A row is a place in the batch; those of streams that ended are computed, and ignored.
    """
    opening, pasts = given.opening, given.pasts
    never = torch.tensor([*given.banned, *given.banned_first], dtype=torch.long, device=opening.logits.device)

    def choose(logits: Tensor) -> tuple[Tensor, ...]:
        probs = token_probabilities(logits, given.sampling, never, pasts or ())
        drawn = draw(probs, given.generator)
        return (drawn, probs) if given.listen else (drawn,)

    same = torch.zeros(len(given.streams), dtype=torch.long, device=never.device)
    chosen = choose(opening.logits[same])
    batch = RecordedStreams(
        opening.step, choose if pasts is None else None, chosen[0], select_rows(opening.states, same), graphs
    )
    never = never[: len(given.banned)]
    running = [(row, stream, given.ending()) for row, stream in enumerate(given.streams)]
    try:
        while running:
            read = fetched(chosen[0])
            following = batch.advance()
            tokens = read()
            if given.listen is not None:
                rows = torch.tensor([row for row, _, _ in running], device=never.device)
                _notify(given.listen, [stream for _, stream, _ in running], *(each[rows] for each in chosen))
            for past, token in zip(pasts or (), tokens, strict=False):
                past.add(token)
            yield [(stream, tokens[row]) for row, stream, _ in running]
            running = [(row, stream, ends) for row, stream, ends in running if not ends(tokens[row])]
            if running and 2 * len(running) <= len(batch):
                rows = torch.tensor([row for row, _, _ in running], dtype=torch.long, device=never.device)
                batch.keep(rows)
                following = tuple(each[rows] for each in following)
                pasts = pasts and [pasts[row] for row, _, _ in running]
                running = [(row, stream, ends) for row, (_, stream, ends) in enumerate(running)]
            if pasts is not None and running:
                chosen = choose(*following)
                batch.tokens.copy_(chosen[0])
            else:
                chosen = following
    finally:  # also where the caller wants no more
        batch.release()


def _notify(listen: Listener, streams: list[int], drawn: Tensor, probs: Tensor) -> None:
    """Send a listener what was drawn (B,) from the distributions `probs` (B, V)."""
    best = probs.topk(min(LIKELIEST, probs.shape[-1]))
    noise_probs = probs.gather(-1, drawn[:, None])[:, 0]
    told = zip(streams, drawn.tolist(), noise_probs.tolist(), best.indices.tolist(), best.values.tolist(), strict=True)
    for stream, token, probability, others, theirs in told:
        likeliest = [(other, share) for other, share in zip(others, theirs, strict=True) if share > 0]
        listen(Choice(stream, token, probability, likeliest))


class Length(NamedTuple):
    """The number of tokens in each stream's current sentence, as a part of the states."""

    tokens: Tensor  # (B, 1)


def restarting(step: DecodeStep, first: States, start: int, end: int) -> DecodeStep:
    """Wrap the steps of a model of single sentences: after an END, a stream restarts from `first` and START.

    END does not follow immediately, so that no sentence is empty.
    """

    def go(tokens: Tensor, states: States) -> tuple[Tensor, States]:
        ended = tokens == end
        if not in_graph() and not ended.any():
            return step(tokens, states)
        fresh = [
            type(state)(*(new.where(ended[:, None], old) for new, old in zip(begin, state, strict=True)))
            for begin, state in zip(first, states, strict=True)
        ]
        logits, after = step(tokens.masked_fill(ended, start), fresh)
        logits[:, end].masked_fill_(ended, -torch.inf)
        return logits, after

    return go


def limited(step: DecodeStep, end: int, length: int) -> DecodeStep:
    """Force END in every stream whose sentence has `length` tokens; a `Length` comes first in the states."""

    def go(tokens: Tensor, states: States) -> tuple[Tensor, States]:
        (before,) = states[0]
        size = (before + 1).masked_fill(tokens[:, None] == end, 0)
        logits, after = step(tokens, states[1:])
        only_end = logits.new_full(logits.shape[1:], -torch.inf)
        only_end[end : end + 1].zero_()
        return only_end.where(size >= length, logits), [Length(size), *after]

    return go


class Hypothesis(NamedTuple):
    """A sequence found by beam search."""

    tokens: list[int]  # without END
    log_probability: float  # nats, including END's
    score: float  # log_probability / length ** length_power, counting END
    ended: bool  # by END; other sequences were cut at the maximum length


class Beam:
    """The hypotheses of one search: the open ones, in the order of their rows, and the finished ones."""

    def __init__(self, past: Past, width: int, max_length: int, length_power: float) -> None:
        self.open, self.done = [past], list[Hypothesis]()
        self.skipped, self.width, self.max_length, self.length_power = len(past.tokens), width, max_length, length_power

    def grow(
        self, continuations: Iterable[tuple[float, int]], V: int, end: int | None
    ) -> Iterator[tuple[float, int, int]]:
        """Extend by one token along the likeliest continuations: each is log p and its index in the open scores (·, V).

        Yields those that stay open: log p, the number of the open hypothesis it extends, and the token.
        """
        before, self.open = self.open, []
        for log_probability, cell in islice(continuations, self.width - len(self.done)):
            if log_probability == -torch.inf:
                break
            place, token = divmod(cell, V)
            past = before[place].grown(token)
            length = len(past.tokens) - self.skipped
            if token == end or length == self.max_length:
                tokens = past.tokens[self.skipped :][: -1 if token == end else None]
                score = log_probability / length**self.length_power
                self.done.append(Hypothesis(tokens, log_probability, score, token == end))
            else:
                self.open.append(past)
                yield log_probability, place, token


@torch.inference_mode()
def beam_search(
    step: DecodeStep,
    states: Any,
    *,
    start: int,
    end: int | None,
    width: int,
    max_length: Sequence[int],
    length_power: float = 1.0,
    banned: Sequence[int] = (),
    banned_first: Sequence[int] = (),
    sampling: Sampling | None = None,
    past: Sequence[int] = (),
    graphs: Graphs | None = None,
) -> list[list[Hypothesis]]:
    """Find the likeliest sequences that follow START, best score first, in one search per row of the states.

    All searches run side by side; each finds at most `width` sequences of at most its own `max_length` tokens. `states`
    is a list of named tuples of tensors (B, ...), one row per hypothesis; it includes what an encoder found in the
    source. At every step the likeliest continuations stay. One that takes END gives its place to no other (Sutskever et
    al. 2014, arXiv:1409.3215), so that width 1 takes the likeliest token each time. A score is log p / length **
    length_power: 1 gives the mean per prediction, 0 the sum. Log-probabilities are the model's own, changed by the
    options of `sampling` that serve beam search. `banned` tokens are skipped; no sequence begins with one of
    `banned_first`. `graphs` compute the steps, if given. Raises as `read`.
    """
    step = step if graphs is None else recorded_step(step, graphs)
    device = states[0][0].device
    never = torch.tensor([*banned, *banned_first], dtype=torch.long, device=device)
    sampling = sampling or Sampling()
    beams = going = [Beam(sampling.past(past), width, limit, length_power) for limit in max_length]
    tokens, sums = torch.full((len(beams),), start, device=device), torch.zeros(len(beams), device=device)
    while going:
        logits, states = step(tokens, states)
        scores = _checked(logits).log_softmax(-1).index_fill(-1, never, -torch.inf)
        scores = sums[:, None] + sampling.searched(scores, [past for beam in going for past in beam.open])
        never = never[: len(banned)]
        V, rows = scores.shape[-1], [len(beam.open) for beam in going]
        padded = pad_sequence(scores.split(rows), batch_first=True, padding_value=-torch.inf).flatten(1)
        best, cells = padded.topk(min(width, padded.shape[1]))
        kept, first = [], 0
        for beam, count, *found in zip(going, rows, best.tolist(), cells.tolist(), strict=True):
            grown = beam.grow(zip(*found, strict=True), V, end)
            kept += [(log_probability, first + place, token) for log_probability, place, token in grown]
            first += count
        going = [beam for beam in going if beam.open]
        if going:
            log_probabilities, before, after = zip(*kept, strict=True)
            sums = torch.tensor(log_probabilities, dtype=scores.dtype, device=device)
            tokens = torch.tensor(after, device=device)
            states = select_rows(states, torch.tensor(before, device=device))
    return [sorted(beam.done, key=lambda each: -each.score) for beam in beams]
