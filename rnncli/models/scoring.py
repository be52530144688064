"""The surprisal of each token of a text under a language model, for many texts at a time.

Shapes: T steps, B sequences.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnncli.data.batching import rounded_up
from rnncli.data.vocabulary import END
from rnncli.kernels.graphs import Graphs
from rnncli.models.recorded import graphs_of, run
from rnncli.models.stack import States

ROWS = 64
"""Sequences read side by side."""

WINDOW = 256
"""Steps read at a time, so that a text of any length fits in memory."""

MULTIPLE = 32
"""Steps. With graphs, the length of a window is a multiple of it."""

Costs = np.ndarray[Any, np.dtype[np.float64]]


def surprisals(model: Any, sequences: Sequence[Sequence[int]], label: int | None = None) -> list[Costs]:
    """Return -log p in nats of every token except the first of each sequence, given all tokens before it.

    Each sequence starts from the initial state, in the voice of a label or of nobody. Sequences of similar length are
    read side by side, and padding is never scored: each gets its result as if read by itself, within float32's
    rounding.
    """
    order = sorted(range(len(sequences)), key=lambda place: -len(sequences[place]))
    found: list[Costs] = [np.zeros(0)] * len(sequences)
    graphs = graphs_of(model.eval())
    for begin in range(0, len(order), ROWS):
        places = order[begin : begin + ROWS]
        together = _together(model, [sequences[place] for place in places], label, graphs)
        for place, costs in zip(places, together, strict=True):
            found[place] = costs
    return found


@torch.inference_mode()
def _together(model: Any, sequences: Sequence[Sequence[int]], label: int | None, graphs: Graphs) -> Iterator[Costs]:
    """Do the same for a few sequences, longest first.

    A row ends where its sequence does. Graphs need few shapes: for them all rows stay, and windows are padded.
    """
    device = next(model.parameters()).device
    lengths = torch.tensor([len(sequence) - 1 for sequence in sequences])
    recorded = graphs.recorder is not None
    steps = rounded_up(int(lengths[0]), MULTIPLE if recorded else 1)
    tokens = torch.full((steps + 1, len(sequences)), END)
    for row, sequence in enumerate(sequences):
        tokens[: len(sequence), row] = torch.tensor(sequence)
    costs = torch.zeros(steps, len(sequences), dtype=torch.float64)
    states: States = model.initial_states(len(sequences))

    def scored(read: Tensor, targets: Tensor, labels: Tensor | None, states: States) -> tuple[Tensor, States]:
        h, after = model.features(read, states, labels=labels)
        return model.readout.surprisals(h.flatten(0, 1), targets.flatten()).view_as(targets), after

    for begin in range(0, steps, WINDOW):
        rows = len(sequences) if recorded else int((lengths > begin).sum())
        window = tokens[begin : begin + WINDOW + 1, :rows].to(device)
        target_mask = torch.arange(begin, begin + len(window) - 1)[:, None] < lengths[:rows]
        read, targets = window[:-1].contiguous(), window[1:]
        labels = None if label is None else torch.full_like(read, label)
        if recorded:
            found, states = run(graphs, scored, read, targets, labels, states)
            costs[begin : begin + WINDOW] = found.cpu()
        else:
            states = [type(state)(*(part[:rows] for part in state)) for state in states]
            h, states = model.features(read, states, labels=labels)
            there = target_mask.to(device)
            costs[begin : begin + WINDOW, :rows][target_mask] = model.readout.surprisals(h[there], targets[there]).cpu()
    for row, length in enumerate(lengths.tolist()):
        yield costs[:length, row].numpy().copy()
