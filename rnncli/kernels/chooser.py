"""The backend and the device that `auto` chooses: tables, each row next to the measurement behind it.

docs/speed.md and docs/triton.md have all figures. Shapes: T steps, B sequences, M hidden units.
"""

import math
from fnmatch import fnmatch
from typing import NamedTuple


class Case(NamedTuple):
    """A layer to unroll."""

    device: str
    kind: str  # of the cell, as `Cell.kind`
    units: int  # M
    precision: str = "float32"  # of its matmuls
    packed: bool = False  # the sequences differ in length
    sequences: int | None = None  # B; None: unknown so far
    single: bool = False  # one step, without gradients
    amx: bool = False  # whether the CPU multiplies tiles in bfloat16


class Row(NamedTuple):
    """A rule: the cases it covers and their backends, fastest first. `auto` takes the first backend that can run."""

    device: str  # a pattern, as are kind and precision
    backends: tuple[str, ...]
    because: str
    kind: str = "*"
    precision: str = "*"
    units: tuple[float, float] = (1, math.inf)  # from, to, inclusive
    sequences: tuple[float, float] = (0, math.inf)
    packed: bool | None = None  # None: either
    single: bool | None = None
    amx: bool | None = None

    def fits(self, case: Case) -> bool:
        """Tell whether the rule covers a case; an unknown number of sequences counts as 0."""
        return (
            fnmatch(case.device, self.device)
            and fnmatch(case.kind, self.kind)
            and fnmatch(case.precision, self.precision)
            and self.units[0] <= case.units <= self.units[1]
            and self.sequences[0] <= (case.sequences or 0) <= self.sequences[1]
            and self.packed in (None, case.packed)
            and self.single in (None, case.single)
            and self.amx in (None, case.amx)
        )


ROWS = (
    Row(
        "cpu",
        ("reference",),
        "one step has nothing to prepare: GRU B1 M64 0.45 ms, fused 0.67; LSTM none 0.36, torch 0.36; M650 1.4, torch "
        "6.7 (one thread of an EPYC, whole calls of rnncli.nn)",
        single=True,
    ),
    Row(
        "cpu",
        ("torch", "fused", "reference"),
        "oneDNN's LSTM is as fast as ours at B 64 and faster at B 20 (two EPYCs, T35 to T100, M 200 to 650)",
        kind="lstm:none",
        precision="float*",
        packed=False,
    ),
    Row(
        "cpu",
        ("torch", "fused", "reference"),
        "oneDNN's LSTM in bfloat16 on AMX (Sapphire Rapids): T100 B64 M512 133 ms, ours 225",
        kind="lstm:none",
        precision="bfloat16",
        packed=False,
        amx=True,
    ),
    Row(
        "cpu",
        ("torch", "reference"),
        "vectors of this few units are half empty: T12 B1024 M4, Elman 2.3 ms fused and 1.2 torch, LSTM full 9.4 and "
        "6.5 reference",
        units=(1, 15),
        sequences=(512, math.inf),
    ),
    Row("cpu", ("fused", "torch", "reference"), "1.3 to 10 times as fast as torch's layers (docs/speed.md)"),
    Row(
        "cuda",
        ("triton", "torch", "reference"),
        "cuDNN's persistent kernel lacks bfloat16: T1024 B16 M64, 256, 768 36 to 44 ms, ours 2.3 to 11 (Elman), "
        "3.8 to 23 (GRU reset-before), 4.3 to 24 (LSTM none)",
        precision="bfloat16",
    ),
    Row(
        "cuda",
        ("triton", "torch", "reference"),
        "float32: T100 B64 M512 2.6 ms against cuDNN's 5.0, T1024 B16 M768 21 against 31; below M 512 cuDNN wins: "
        "M64 3.0 against 1.6, M256 11 against 4.4",
        kind="elman",
        precision="float32",
        units=(512, math.inf),
    ),
    Row(
        "cuda",
        ("torch", "triton", "reference"),
        "float32 LSTM none: T100 B64 M512 5.2 ms against cuDNN's 5.3, T1024 B16 M64 7.4 against 1.8, M768 51 against "
        "42 (M256 23 against 35, the only point that ours won); float16: cuDNN's persistent kernel, M768 7.1 ms. Cells "
        "that torch lacks, yours too, fall through to triton: T100 B64 M512 LSTM full 8.5 ms, 106 by the reference",
    ),
    Row("*", ("torch", "reference"), "no measurement"),
)
"""The first row that fits a case decides. CUDA: one H100 80GB, torch 2.11, triton 3.6, forward and backward, ms."""


def preferred(case: Case) -> tuple[str, ...]:
    """List the backends that `auto` tries for a case, fastest first."""
    return next(row.backends for row in ROWS if row.fits(case))


class Tiny(NamedTuple):
    """Limits of the nets that a CPU computes faster than a CUDA device."""

    units: int  # greatest M of any layer
    sequences: int  # greatest B


TINY = Tiny(units=30, sequences=1)
"""Forward and backward on a CPU: Elman T12 B1 M4 0.17 to 0.18 ms, GRU reset-before T20 B1 M30 0.23 to 0.27.

On an H100 a launch takes 5 us, and each step of the loop needs at least one launch in each direction. The smallest
model measured there took 4.4 ms for a training step. Larger batches are unmeasured and run on CUDA.
"""


def faster_on_cpu(units: int, sequences: int = 1) -> bool:
    """Tell whether `--device auto` takes the CPU for layers of up to `units` and batches of up to `sequences`."""
    return units <= TINY.units and sequences <= TINY.sequences
