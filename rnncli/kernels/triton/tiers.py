"""The tiers of the backend: whether a cell's sequences fit on chip, and how its kernels are launched.

Shapes: T steps, B batch, M hidden.
"""

from enum import Enum
from functools import cache

import torch
from torch import Tensor

from rnncli.kernels.engine.graph import Place
from rnncli.kernels.graphs import Graphs, recorder_on
from rnncli.kernels.triton.build import Kernels
from rnncli.kernels.triton.tile import MIN_TILE, Kernel, padded
from rnncli.kernels.triton.whole import is_streamed, weight_tiles

COLUMNS = 32
"""Features in a program's tile, with launches at each step."""

STREAMED = 64
"""Features in a program's tile, where a program takes them through all steps."""


class Tier(Enum):
    """How a loop over the steps is launched."""

    WHOLE = "one launch: a program takes its sequences through all steps, with the weights on chip"
    STEPS = "launches at each step, under a CUDA graph"


def choose_tier(kernels: Kernels, dtype: torch.dtype, device: torch.device) -> Tier:
    """Take one launch where it fits, else launches at each step."""
    if kernels.source.whole is None:
        return Tier.STEPS
    return Tier.WHOLE if on_chip_bytes(kernels, dtype) <= shared_memory(device) else Tier.STEPS


def on_chip_bytes(kernels: Kernels, dtype: torch.dtype) -> int:
    """Return the shared memory that a program of one launch needs: all matrices, and the tiles of a step."""
    if kernels.source.whole is None or is_streamed(kernels.plan.graph):
        return 0
    size = dtype.itemsize
    parts = 2 if precision() == "tf32x3" and size == 4 else 1  # a float32 is split into two of TF32
    matrices = sum(K * N for K, N in weight_tiles(kernels.plan)) * size * parts
    ((backward,),) = kernels.source.whole[1:]
    loaded = sum(padded(place.length) * _itemsize(place, size) for place in backward.loads)
    return matrices + MIN_TILE * (loaded + 3 * padded(backward.length) * size)


def _itemsize(place: Place, size: int) -> int:
    """The bytes of an element: fields of the state other than h are float32."""
    return 4 if place.array[0] in "sn" and place.array[1:] != "0" else size


def precision() -> str:
    """Say how float32 is multiplied: in three tensor-core matmuls, or in one where torch allows TF32."""
    allowed: str = torch.backends.cuda.matmul.fp32_precision
    return "tf32" if allowed == "tf32" else "tf32x3"


def shared_memory(device: torch.device) -> int:
    """Return the bytes of shared memory that a program can have."""
    if device.type != "cuda":
        return 227 * 1024  # as much as the largest cards have
    return int(getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", 48 * 1024))


@cache
def graphs_on(device: torch.device) -> Graphs:
    """Return the graphs of all scans on a device."""
    return Graphs(recorder_on(device))


class Launching:
    """The launches of one direction for some sequences."""

    def __init__(self, kernels: Kernels, tier: Tier, is_backward: bool, T: int, B: int, keep: bool) -> None:
        self.kernels, self.is_backward, self.T, self.B = kernels, is_backward, T, B
        self.is_whole = tier is Tier.WHOLE
        found = kernels.source.whole if self.is_whole else kernels.source.steps
        assert found is not None
        self.order: list[Kernel] = found[is_backward]
        self.arrays = list(dict.fromkeys(name for kernel in self.order for name in kernel.arrays))
        self.constants = {"KEEP": keep, "PRECISION": precision(), "enable_fp_fusion": True}

    def launch(self, arrays: dict[str, Tensor], ends: Tensor, written: tuple[str, ...]) -> None:
        """Launch all kernels; `written` are the beginnings of the names of what they change."""
        tensors = [ends, *(arrays[name] for name in self.arrays)]
        if self.is_whole:
            (kernel,) = self.order
            self.run(kernel, tensors, self.T)
            return

        changed = [k for k, name in enumerate(self.arrays, 1) if name.startswith(written) and name != "dout"]

        def steps(*given: Tensor) -> list[Tensor]:
            for t in reversed(range(self.T)) if self.is_backward else range(self.T):
                for kernel in self.order:
                    self.run(kernel, list(given), t)
            return [given[k] for k in changed]

        key = self.kernels.module.__name__, self.is_backward, self.T, self.B, str(self.constants)
        graphs_on(ends.device).run(key, steps, *tensors, into=[tensors[k] for k in changed])

    def run(self, kernel: Kernel, tensors: list[Tensor], t: int) -> None:
        """Launch a kernel for step t, or for t steps."""
        given = [tensors[1 + self.arrays.index(name)] for name in kernel.arrays]
        columns = STREAMED if self.is_whole else COLUMNS
        grid = -(-self.B // kernel.rows), 1 if kernel.is_whole else -(-kernel.length // columns)
        function = getattr(self.kernels.module, kernel.name)
        shape = {"ROWS": kernel.rows, "COLUMNS": columns, "num_warps": self.warps(kernel)}
        function[grid](*given, tensors[0], t, self.B, **shape, **self.constants)

    def warps(self, kernel: Kernel) -> int:
        """The warps of a program, by the size of its tile."""
        if self.is_whole and not kernel.is_whole:
            return 1
        return 8 if kernel.is_whole and kernel.length > 32 * kernel.rows // 16 else 4
