"""The resources that each kernel of the triton backend takes on a card, which may be absent.

Prints one row per kernel: its registers, the bytes of stack (values that did not fit into registers), and its shared
memory. benchmarks/cuda.py measures speed, on a card.
Run: python benchmarks/triton_kernels.py [--kinds elman,gru:reset-before] [--types float32] [--width 128] [--target 90]
"""

import argparse
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

KINDS = ("elman", "rated", "gru:reset-before", "gru:reset-after", "lstm:none", "lstm:diagonal", "lstm:full")
TYPES = ("float32", "float16", "bfloat16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--width", type=int, default=128, help="M")
    parser.add_argument("--target", type=int, default=90, help="compute capability, without the dot")
    options = parser.parse_args()
    os.environ["TRITON_INTERPRET"] = "0"
    cells = [(kind, getattr(torch, name)) for kind in options.kinds.split(",") for name in options.types.split(",")]
    print_compiled(cells, options.width, options.target)


def print_compiled(cells: list[tuple[str, torch.dtype]], M: int, capability: int) -> None:
    print(f"M{M}, compute capability {capability / 10}, triton {version('triton')}\n")
    print("| cell | type | kernel | registers | stack | shared KiB |\n| --- | --- | --- | --- | --- | --- |")
    for kind, dtype in cells:
        for name, kernel in compiled(kind, M, dtype, capability):
            print(f"| {kind} | {str(dtype)[6:]} | {name} | {resources(kernel)} |", flush=True)


def compiled(kind: str, M: int, dtype: torch.dtype, capability: int) -> Iterator[tuple[str, Any]]:
    """Compile all kernels of a cell, each as the backend launches it, and launch none."""
    import triton
    from triton.backends.compiler import GPUTarget

    from rnncli.cells import make_cell, use_cell
    from rnncli.kernels.triton.build import kernels_of
    from rnncli.kernels.triton.scan import unroll
    from rnncli.kernels.triton.tiers import Tier

    class Absent:
        """Replaces the driver of an absent card."""

        def get_current_target(self) -> GPUTarget:
            return GPUTarget("cuda", capability, 32)

        def get_current_device(self) -> int:
            return 0

        def get_current_stream(self, device: int) -> int:
            return device

    triton.runtime.driver.set_active(Absent())
    found: list[tuple[str, Any]] = []
    cell: Any = make_cell(use_cell(kind), M, M).to(dtype)
    kernels: Any = kernels_of(cell)
    x = torch.zeros(1, 1, M, dtype=dtype)
    for tier, directions in ((Tier.WHOLE, kernels.source.whole), (Tier.STEPS, kernels.source.steps)):
        for kernel in (each for direction in directions or () for each in direction):
            function = getattr(kernels.module, kernel.name)
            function.run = compile_only(function, f"{tier.name.lower()} {kernel.name}", found)
        if directions:
            with torch.no_grad():
                unroll(kernels, cell, x, cell.initial_state(1), None, tier)
            unroll(kernels, cell, x, cell.initial_state(1), None, tier)[0].sum().backward()
    yield from found


def compile_only(kernel: Any, name: str, found: list[tuple[str, Any]]) -> Callable[..., None]:
    """A kernel's `run` that compiles as for a launch, and adds the result to `found`."""

    def run(*args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        del warmup  # compiles only
        kept = "" if options["KEEP"] else ", nothing kept"
        found.append((name + kept, type(kernel).run(kernel, *args, grid=grid, warmup=True, **options)))

    return run


def resources(kernel: Any) -> str:
    """Registers, bytes of stack, KiB of shared memory."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(kernel.asm["cubin"])
        dump = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True)
    registers, stack = (re.search(rf"{word}:(\d+)", dump.stdout).group(1) for word in ("REG", "STACK"))
    return f"{registers} | {stack} | {kernel.metadata.shared / 1024:.0f}"


def version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


if __name__ == "__main__":
    main()
