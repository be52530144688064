"""Time rnncli.nn against torch.nn and against the scan that it calls: forward and backward, medians, in turns.

python benchmarks/layers.py [ROUNDS]
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

import rnncli.nn as ours
from rnncli.analysis.bench import Contender, Row, machine, measure
from rnncli.analysis.bench_cells import Shape, of_cell, of_layer

SHAPES = (Shape(35, 20, 200, 200), Shape(100, 64, 512, 512), Shape(1, 1, 200, 200))
LAYERS: tuple[tuple[str, Callable[..., nn.Module], Any, str], ...] = (
    ("RNN", ours.RNN, nn.RNN, "elman"),
    ("GRU", ours.GRU, nn.GRU, "gru:reset-after"),
    ("GRU, reset before", partial(ours.GRU, reset="before"), nn.GRU, "gru:reset-before"),
    ("LSTM", ours.LSTM, nn.LSTM, "lstm:none"),
    ("LSTM, diagonal peepholes", partial(ours.LSTM, peepholes="diagonal"), nn.LSTM, "lstm:diagonal"),
    ("LSTM, full peepholes", partial(ours.LSTM, peepholes="full"), nn.LSTM, "lstm:full"),
)
"""A layer of ours, torch's nearest one, and our cell of the same equations."""


def rows() -> list[Row]:
    """Every layer at every shape."""
    found = []
    for shape in SHAPES:
        for name, Ours, Theirs, kind in LAYERS:
            contenders: dict[str, Contender] = {
                "rnncli.nn": partial(of_layer, Ours, shape),
                "torch.nn": partial(of_layer, Theirs, shape),
                "scan": partial(of_cell, kind, shape),
            }
            found.append(Row(name, str(shape), contenders))
    return found


if __name__ == "__main__":
    print(machine())
    print("| forward and backward, ms | rnncli.nn | torch.nn | torch / ours | the scan by itself |")
    print("| --- | --- | --- | --- | --- |")
    for each in measure(rows(), int(sys.argv[1]) if len(sys.argv) > 1 else 9):
        mine, theirs, scan = each.milliseconds.values()
        print(
            f"| {each.row.name} {each.row.shape} | {mine:.3g} | {theirs:.3g} | {each.ratio:.2f} | {scan:.3g} |",
            flush=True,
        )
