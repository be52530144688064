"""The surprisal of each token of a text under a language model, for many texts at a time.

Shapes: T steps, B sequences.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from rnncli.data.vocabulary import END
from rnncli.models.stack import States

ROWS = 64
"""Sequences read side by side."""

WINDOW = 256
"""Steps read at a time, so that a text of any length fits in memory."""

Costs = np.ndarray[Any, np.dtype[np.float64]]


def surprisals(model: Any, sequences: Sequence[Sequence[int]], label: int | None = None) -> list[Costs]:
    """Return -log p in nats of every token except the first of each sequence, given all tokens before it.

    Each sequence starts from the initial state, in the voice of a label or of nobody. Sequences of similar length are
    read side by side, and padding is never scored: each gets its result as if read by itself, within float32's
    rounding.
    """
    order = sorted(range(len(sequences)), key=lambda place: -len(sequences[place]))
    found: list[Costs] = [np.zeros(0)] * len(sequences)
    for begin in range(0, len(order), ROWS):
        places = order[begin : begin + ROWS]
        for place, costs in zip(places, _together(model, [sequences[place] for place in places], label), strict=True):
            found[place] = costs
    return found


@torch.inference_mode()
def _together(model: Any, sequences: Sequence[Sequence[int]], label: int | None) -> Iterator[Costs]:
    """Do the same for a few sequences, longest first: a row ends where its sequence does."""
    model.eval()
    device = next(model.parameters()).device
    lengths = torch.tensor([len(sequence) - 1 for sequence in sequences])
    tokens = torch.full((int(lengths[0]) + 1, len(sequences)), END)
    for row, sequence in enumerate(sequences):
        tokens[: len(sequence), row] = torch.tensor(sequence)
    costs = torch.zeros(int(lengths[0]), len(sequences), dtype=torch.float64)
    states: States = model.initial_states(len(sequences))
    for begin in range(0, len(costs), WINDOW):
        rows = int((lengths > begin).sum())
        window = tokens[begin : begin + WINDOW + 1, :rows].to(device)
        target_mask = torch.arange(begin, begin + len(window) - 1)[:, None] < lengths[:rows]
        states = [type(state)(*(part[:rows] for part in state)) for state in states]
        read = window[:-1].contiguous()
        labels = None if label is None else torch.full_like(read, label)
        h, states = model.features(read, states, labels=labels)
        there = target_mask.to(device)
        costs[begin : begin + WINDOW, :rows][target_mask] = model.readout.surprisals(h[there], window[1:][there]).cpu()
    for row, length in enumerate(lengths.tolist()):
        yield costs[:length, row].numpy().copy()
