"""Costs of a layer's forward and backward pass: time by T and by B, and peak memory.

Shapes: T steps, B batch, D input, M hidden.
"""

from collections.abc import Iterator
from functools import partial

from rnncli.analysis.bench import Contender, Row, measure
from rnncli.analysis.bench_cells import RIVALS, SHAPES, Shape, of_cell, of_layer
from rnncli.analysis.peak_memory import peak

STEPS = (25, 50, 100, 200, 400)
BATCHES = (8, 16, 32, 64, 128)

Points = list[tuple[int, float]]


def growth(kind: str, M: int, rounds: int) -> tuple[Points, Points]:
    """Milliseconds of a layer by T at B = 32, and by B at T = 50."""
    by_T = {T: Shape(T, 32, M, M) for T in STEPS}
    by_B = {B: Shape(50, B, M, M) for B in BATCHES}
    return _points(kind, by_T, rounds), _points(kind, by_B, rounds)


def _points(kind: str, shapes: dict[int, Shape], rounds: int) -> Points:
    rows = [Row(kind, str(shape), {"ours": partial(of_cell, kind, shape)}) for shape in shapes.values()]
    return [(size, each.milliseconds["ours"]) for size, each in zip(shapes, measure(rows, rounds), strict=True)]


def memory(kind: str) -> Iterator[tuple[Shape, int, int, int | None]]:
    """Peak bytes of a training step beyond weights and inputs, with the gradients: shape, ours, recompute, torch's.

    The last is None for a cell without a rival among torch's layers.
    """
    Layer = RIVALS.get(kind.partition(":")[0])
    for shape in SHAPES:
        ours: list[Contender] = [partial(of_cell, kind, shape, recompute=each) for each in (False, True)]
        yield shape, peak(ours[0]), peak(ours[1]), Layer and peak(partial(of_layer, Layer, shape))
