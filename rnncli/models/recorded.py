"""Models in use, by CUDA graphs: scoring, and writing, where a card computes a step while the host reads the last one.

Shapes: B streams, V words.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from rnncli.errors import RnnError, warn
from rnncli.kernels.graphs import Graphs, recorder_on
from rnncli.models.readout import AdaptiveSoftmax
from rnncli.models.stack import States, select_rows

STEP = "step"
"""The key of the graphs here: each `Graphs` records one function."""


_wanted: ContextVar[bool] = ContextVar("wanted", default=True)


@contextmanager
def without_graphs() -> Iterator[None]:
    """Record nothing inside."""
    token = _wanted.set(False)
    try:
        yield
    finally:
        _wanted.reset(token)


def graphs_on(device: torch.device, *generators: torch.Generator) -> Graphs | None:
    """Return graphs for a CUDA device, which may draw from these generators; None elsewhere, or if none is wanted."""
    recorder = recorder_on(device, *generators) if _wanted.get() else None
    return None if recorder is None else Graphs(recorder)


def graphs_of(model: Any) -> Graphs:
    """Return graphs for texts that a language model scores; they record on CUDA only, and no adaptive softmax."""
    found = None if isinstance(model.readout, AdaptiveSoftmax) else graphs_on(next(model.parameters()).device)
    return found or Graphs()


def run(graphs: Graphs, function: Callable[..., Any], *arguments: Any, uses: Sequence[Tensor] = ()) -> Any:
    """Run a function as `Graphs.run` does; if it turns out that it cannot be recorded, warn, and run it as it is."""
    recordable = graphs.records(STEP)
    try:
        result = graphs.run(STEP, function, *arguments, uses=uses)
    except RnnError as error:
        if not recordable:
            raise
        graphs.refused[STEP] = str(error)
        result = function(*arguments)
    if recordable and not graphs.records(STEP):
        warn(f"no CUDA graph is used: {graphs.refused[STEP]}")
    return result


class RecordedStreams:
    """Streams whose last tokens (B,) and states lie where a graph reads and overwrites them.

    `step` scores the next tokens as a `DecodeStep`; `choose` maps its logits (B, V) to tokens (B,) and whatever else
    the caller wants. A graph has both, or without `choose` the step.
    """

    def __init__(
        self,
        step: Callable[[Tensor, Any], tuple[Tensor, Any]],
        choose: Callable[[Tensor], tuple[Tensor, ...]] | None,
        tokens: Tensor,
        states: States,
        graphs: Graphs,
    ) -> None:
        self.step, self.choose, self.graphs = step, choose, graphs
        self.tokens, self.states = tokens.clone(), states

    def __len__(self) -> int:
        return len(self.tokens)

    def advance(self) -> tuple[Tensor, ...]:
        """Read the last tokens; return the next ones, and what `choose` adds; without `choose`, the logits."""
        found: tuple[Tensor, ...] = run(self.graphs, self._advance, uses=[self.tokens, *_fields(self.states)])
        return found

    def _advance(self) -> tuple[Tensor, ...]:
        logits, after = self.step(self.tokens, self.states)
        own = _fields(self.states)
        places = {field.untyped_storage().data_ptr() for field in own}
        new = [each.clone() if each.untyped_storage().data_ptr() in places else each for each in _fields(after)]
        for field, value in zip(own, new, strict=True):
            field.copy_(value)
        if self.choose is None:
            return (logits,)
        chosen = self.choose(logits)
        self.tokens.copy_(chosen[0])
        return chosen

    def keep(self, rows: Tensor) -> None:
        """Drop all streams except some rows (N,)."""
        tokens, states = self.tokens[rows], select_rows(self.states, rows)
        self.release()
        self.tokens, self.states = tokens, states

    def release(self) -> None:
        """Drop the graphs, once none runs: others may come to lie where these read and write."""
        if self.tokens.is_cuda:
            torch.cuda.synchronize(self.tokens.device)
        self.graphs.forget()


def _fields(states: States) -> list[Tensor]:
    return [field for state in states for field in state]


def recorded_step(step: Callable[[Tensor, Any], tuple[Tensor, Any]], graphs: Graphs) -> Any:
    """Wrap a `DecodeStep` of B rows, which graphs compute on the next power of two, so that few sizes occur."""

    def go(tokens: Tensor, states: States) -> tuple[Tensor, States]:
        B = len(tokens)
        size = 1 << (B - 1).bit_length()
        if size == B:
            logits, after = run(graphs, step, tokens, states)
            return logits, after
        rows = torch.arange(size, device=tokens.device).clamp(max=B - 1)
        logits, after = run(graphs, step, tokens[rows], select_rows(states, rows))
        return logits[:B], [type(state)(*(field[:B] for field in state)) for state in after]

    return go


def fetched(tokens: Tensor) -> Callable[[], list[int]]:
    """Begin to copy tokens (B,) to the host; the result waits for the copy, not for what the card computes after it."""
    if tokens.device.type != "cuda":
        return tokens.tolist
    there = tokens.to("cpu", non_blocking=True)
    copied: Any = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(tokens.device))

    def wait() -> list[int]:
        copied.synchronize()
        return there.tolist()

    return wait
