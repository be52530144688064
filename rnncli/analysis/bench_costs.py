"""Costs of a layer's forward and backward pass: time by T and by B, and peak memory.

Shapes: T steps, B batch, D input, M hidden.
"""

import ctypes
import gc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from rnncli.analysis.bench import Contender, Row, measure
from rnncli.analysis.bench_cells import RIVALS, SHAPES, Shape, of_cell, of_layer
from rnncli.errors import RnnError

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


def memory(kind: str) -> Iterator[tuple[Shape, int, int | None]]:
    """Peak bytes of a training step beyond weights, gradients and inputs: shape, ours, torch's layer.

    The last is None for a cell without a rival among torch's layers.
    """
    Layer = RIVALS.get(kind.partition(":")[0])
    for shape in SHAPES:
        ours: Contender = partial(of_cell, kind, shape)
        yield shape, _peak(ours), Layer and _peak(partial(of_layer, Layer, shape))


def _peak(prepare: Contender) -> int:
    """Peak growth of the process during a step, in bytes; raises RnnError where the system does not report it."""
    step: Callable[[], object] = prepare()
    step()
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # returns memory that earlier steps freed to the system
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets the peak
        before = _status("VmRSS")
        step()
        return _status("VmHWM") - before
    except (OSError, AttributeError, TypeError):  # a system without /proc, malloc_trim, or a C library of its own
        raise RnnError("peak memory can be measured only on Linux") from None


def _status(name: str) -> int:
    line = next(
        line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if line.startswith(name)
    )
    return int(line.split()[1]) * 1024
