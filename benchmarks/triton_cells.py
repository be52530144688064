"""Cells by the triton backend beside torch's own layers (cuDNN) on a CUDA device, forward and backward.

Shapes: FlashRNN's published ones, B16 T1024 with D = M = 64 to 768, and fastrnns' T100 B64 D = M = 512. Medians of
`--rounds` runs taken in turns; ratio is the layer's time over ours. A cell that torch has no layer for stands beside
the one with as many gates. `--compile-only` needs no CUDA: it compiles every kernel for a card of `--target` and prints
the registers, the bytes of stack (what did not fit into registers), and the shared memory of each.
Run: python benchmarks/triton_cells.py [--kinds elman,gru:reset-before] [--types float32,bfloat16] [--rounds 20]
     python benchmarks/triton_cells.py --compile-only [--kinds …] [--types …] [--width 128] [--target 90]
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import nn

LAYERS: dict[str, Any] = {"elman": nn.RNN, "rated": nn.GRU, "gru": nn.GRU, "lstm": nn.LSTM}
KINDS = ("elman", "rated", "gru:reset-before", "gru:reset-after", "lstm:none", "lstm:diagonal", "lstm:full")
SHAPES = [(1024, 16, M) for M in (64, 128, 256, 512, 768)] + [(100, 64, 512)]
TYPES = ("float32", "float16", "bfloat16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--compile-only", action="store_true")
    parser.add_argument("--width", type=int, default=128, help="M of --compile-only")
    parser.add_argument("--target", type=int, default=90, help="compute capability of --compile-only, without the dot")
    options = parser.parse_args()
    cells = [(kind, getattr(torch, name)) for kind in options.kinds.split(",") for name in options.types.split(",")]
    if options.compile_only:
        os.environ["TRITON_INTERPRET"] = "0"
        print_compiled(cells, options.width, options.target)
    elif torch.cuda.is_available():
        print_measured(cells, options.rounds)
    else:
        sys.exit("triton_cells.py measures on a CUDA device, and there is none; --compile-only needs none")


def print_measured(cells: list[tuple[str, torch.dtype]], rounds: int) -> None:
    print(f"{torch.cuda.get_device_name()}, {date.today()}, torch {torch.__version__}, medians of {rounds} runs\n")
    print("| cell | shape | type | tier | forward ms | layer's | ratio | both ways ms | layer's | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind, dtype in cells:
        for T, B, M in SHAPES:
            print(measured(kind, T, B, M, dtype, rounds), flush=True)


def measured(kind: str, T: int, B: int, M: int, dtype: torch.dtype, rounds: int) -> str:
    """A row of the table."""
    from rnncli.cells import make_cell
    from rnncli.kernels.scan import scan
    from rnncli.kernels.triton.recipes import RECIPES
    from rnncli.kernels.triton.scan import choose_tier, joined

    torch.manual_seed(0)
    cell: Any = make_cell(kind, M, M).to("cuda", dtype)
    layer = LAYERS[kind.partition(":")[0]](M, M).to("cuda", dtype)
    x = torch.randn(T, B, M, device="cuda", dtype=dtype, requires_grad=True)
    runs = (lambda: scan(cell, x, cell.initial_state(B), None, "triton")[0], lambda: layer(x)[0])
    figures = []
    for step in (lambda run: run(), lambda run: run().sum().backward()):
        ours, theirs = medians([lambda run=run, step=step: step(run) for run in runs], rounds)
        figures += [f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.2f}"]
    form = cell.triton_form()
    tier = choose_tier(RECIPES[form.recipe], joined(form, dtype)[0]).__name__
    return f"| {kind} | T{T} B{B} M{M} | {str(dtype)[6:]} | {tier} | " + " | ".join(figures) + " |"


def medians(runs: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Milliseconds by the card's own clock, the runs taken in turns after three of each to warm up."""
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(rounds + 3):
        for run, found in zip(runs, times, strict=True):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            run()
            end.record()
            torch.cuda.synchronize()
            if turn >= 3:
                found.append(start.elapsed_time(end))
    return [statistics.median(found) for found in times]


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

    from rnncli.cells import make_cell
    from rnncli.kernels.triton import on_chip, stepwise
    from rnncli.kernels.triton.recipes import RECIPES
    from rnncli.kernels.triton.scan import OnChip, Stepwise, Unrolled, joined

    class Absent:
        """Stands for the driver of a card that is not there."""

        def get_current_target(self) -> GPUTarget:
            return GPUTarget("cuda", capability, 32)

        def get_current_device(self) -> int:
            return 0

        def get_current_stream(self, device: int) -> int:
            return device

    triton.runtime.driver.set_active(Absent())
    found: list[tuple[str, Any]] = []
    for tier, module in ((OnChip, on_chip), (Stepwise, stepwise)):
        for kernel in (module.forward, module.backward):
            kernel.run = compile_only(kernel, f"{tier.__name__} {kernel.__name__}", found)
        cell: Any = make_cell(kind, M, M).to(dtype)
        form = cell.triton_form()
        loop = tier(RECIPES[form.recipe], form.activation, torch.ones(1, dtype=torch.int32))
        projected = torch.zeros(1, 1, cell.gates * M, dtype=dtype, requires_grad=True)
        for keep in (False, True):
            outputs, *_ = Unrolled.apply(loop, keep, projected, *joined(form, dtype), *cell.initial_state(1))
        outputs.sum().backward()
    yield from found


def compile_only(kernel: Any, name: str, found: list[tuple[str, Any]]) -> Callable[..., None]:
    """A kernel's `run` that compiles, as for a launch, and adds what comes out to `found`."""

    def run(*args: Any, grid: Any, warmup: bool, **told: Any) -> None:
        del warmup  # whatever a launch says
        which = f" {told['WHICH'] + 1}" if "WHICH" in told else ""
        kept = "" if told.get("KEEP", True) else ", nothing kept"
        found.append((name + which + kept, type(kernel).run(kernel, *args, grid=grid, warmup=True, **told)))

    return run


def resources(kernel: Any) -> str:
    """Registers, bytes of stack, KiB of shared memory."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(kernel.asm["cubin"])
        told = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True)
    registers, stack = (re.search(rf"{word}:(\d+)", told.stdout).group(1) for word in ("REG", "STACK"))
    return f"{registers} | {stack} | {kernel.metadata.shared / 1024:.0f}"


def version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


if __name__ == "__main__":
    main()
