"""Source text of the kernels that are launched at each step: one for each stage of the plan.

A program has a tile of sequences and of features, and adds up the matmuls that its pieces need. A stage with a sum over
features gets programs with all features of a sequence; its matmuls are then kernels of their own, before it.
"""

from typing import NamedTuple

from rnncli.kernels.engine.graph import Place
from rnncli.kernels.engine.plan import Pass, Plan, Stage
from rnncli.kernels.triton.tile import MIN_TILE, Kernel, TileWriter, padded

DEPTH = 64
"""The most columns of a matmul's operand that a program reads at once."""

Loads = list[tuple[int, Place]]
"""Pieces that are part of a matmul's result, and their places in it."""


class Part(NamedTuple):
    """Part of a matmul's operand in memory, and the rows of the weight by which it is multiplied."""

    array: str
    start: int
    length: int
    offset: int


def step_kernels(plan: Plan, is_backward: bool) -> tuple[list[Kernel], list[str]]:
    """The kernels of a step in one direction, in their order, and their texts."""
    found = plan.backward if is_backward else plan.forward
    kernels: list[Kernel] = []
    texts: list[str] = []
    for stage in found.stages:
        for is_row, only in _launches(plan, found, stage):
            name = f"{'backward' if is_backward else 'forward'}_{len(kernels)}"
            writer = StepWriter(plan, found, is_backward, is_row)
            text = writer.write(name, stage, only)
            kernels.append(writer.kernel(is_whole=is_row, rows=1 if is_row else MIN_TILE))
            texts.append(text)
    return kernels, texts


def _launches(plan: Plan, found: Pass, stage: Stage) -> list[tuple[bool, Loads | None]]:
    """The launches of a stage: whether programs have all features, and the results if it computes nothing else."""
    if not stage.pieces and not any(place.array[0] != "e" for _, place in stage.stores):
        return []
    if all(plan.graph.pieces[piece].op not in ("sum", "max") for piece in stage.pieces):
        return [(False, None)]
    loads = results_read(plan, found, stage)
    return [*([(False, loads)] if loads else []), (True, None)]


def results_read(plan: Plan, found: Pass, stage: Stage) -> Loads:
    """The parts of matmuls' results that a stage reads."""
    graph = plan.graph
    used = [each for piece in stage.pieces for each in graph.pieces[piece].operands]
    used += [piece for piece, place in stage.stores if place.array[0] != "e"]
    return [
        (each, graph.pieces[each].extra)
        for each in sorted(set(used))
        if graph.pieces[each].op == "load" and graph.pieces[each].extra.array[0] in "yrq" and each not in found.where
    ]


class StepWriter(TileWriter):
    """Writes the kernel of a stage."""

    def __init__(self, plan: Plan, found: Pass, is_backward: bool, is_row: bool) -> None:
        super().__init__(plan, found, None if is_row else "COLUMNS", 1 if is_row else MIN_TILE)
        self.is_backward, self.is_row = is_backward, is_row

    def write(self, name: str, stage: Stage, only: Loads | None) -> str:
        """The text of a stage's kernel, or of one that only stores matmuls' results."""
        self.name = name
        loads = results_read(self.plan, self.found, stage) if only is None else only
        if not self.is_row:
            for array in dict.fromkeys(place.array for _, place in loads):
                self.multiply(array, [(piece, place) for piece, place in loads if place.array == array])
        if only is not None:
            for piece, place in only:
                self.write_tile(place, self.names[piece])
        else:
            for piece in stage.pieces:
                self.compute(piece)
            for piece, place in stage.stores:
                self.store(piece, place)
        constants = "ROWS: tl.constexpr, COLUMNS: tl.constexpr, KEEP: tl.constexpr, PRECISION: tl.constexpr"
        here = ["now = t * B + rows", "alive = t < end"]
        if not self.is_backward:
            here.append("spot = now if KEEP else rows")
        return "\n".join([
            '@triton.jit(do_not_specialize=["t", "B"])',
            f"def {name}({', '.join(self.arrays)}, ends, t, B, {constants}):",
            *(f"    {line}" for line in (*self.opening(), *here, *self.before, *self.lines)),
        ])  # fmt: skip

    def row(self, array: str) -> str:
        if array[0] == "c":
            return "(rows + (t + 1) % 2 * B)"  # the gradients that arrive; those that leave have the other half
        return super().row(array)

    def kept_row(self, array: str) -> str:
        if self.is_backward:
            return "now"
        return "rows" if array != "kept" and int(array[1:]) in self.plan.again else "spot"

    def result(self, place: Place) -> str:
        assert self.is_row  # other kernels have all results at their beginning
        return self.read(place)

    # matmuls

    def sources(self, array: str) -> tuple[list[Part], str]:
        """The operand of a matmul, and its row."""
        j = int(array[1:])
        if array[0] == "y":
            operand = self.plan.operands[j]
            return [Part(operand, 0, self.graph.matmuls[j].K, 0)], self.row(operand)
        found, offset = [], 0
        for place in self.plan.d_parts[j]:
            found.append(Part(place.array, place.start, place.length, offset))
            offset += place.length
        return found, "now" if array[0] == "r" else "(now + B)"

    def multiply(self, array: str, loads: Loads) -> None:
        """Write the loops over the operand of a matmul for some parts of its result."""
        j = int(array[1:])
        for piece, _ in loads:
            self.lines.append(f"a{piece} = tl.zeros((ROWS, COLUMNS), tl.float32)")
            self.names[piece] = f"a{piece}"
        sources, row = self.sources(array)
        for source in sources:
            base = f"s{source.array[1:]}" if source.array[0] == "n" else source.array
            self.arrays |= {base: None, f"w{j}": None}
            depth = min(DEPTH, padded(source.length))
            address = f"{base} + {row} * {self.widths[base]} + {source.start} + inner[None, :]"
            self.lines += [
                f"for k in range(0, {source.length}, {depth}):",
                f"    inner = k + tl.arange(0, {depth})",
                f"    x = tl.load({address}, there & (inner < {source.length})[None, :], other=0.0)",
                f"    x = x.to(w{j}.dtype.element_ty)",
            ]
            for piece, place in loads:
                weight = self.weight(array, source, place)
                self.lines.append(f"    a{piece} = tl.dot(x, {weight}, a{piece}, input_precision=PRECISION)")
        for piece, place in loads:
            if place.length == 1:
                self.lines.append(f"a{piece} = {self.first_column(f'a{piece}')}")

    def weight(self, array: str, source: Part, place: Place) -> str:
        """A tile of a weight (N, K): from input to output, or back."""
        j = int(array[1:])
        column = "unit" if place.length == 1 else f"m{place.length}"
        if place.length > 1:
            self.lengths.add(place.length)
        inner, K = f"({source.offset} + inner)[:, None]", self.graph.matmuls[j].K
        out = f"({place.start} + {column} * {place.stride})"
        where = f"{out} * {K} + {inner}" if array[0] == "y" else f"{inner} * {K} + {out}"
        mask = f"(inner < {source.length})[:, None] & ({column} < {place.length})"
        return f"tl.load(w{j} + {where}, {mask}, other=0.0)"

    # stores

    def store(self, piece: int, place: Place) -> None:
        """Store a piece; what the backward pass needs only if it follows."""
        kind = place.array[0]
        if kind == "e":
            return
        value = self.value(piece)
        if kind == "n":
            value = self.while_alive(value, self.read(place._replace(array=f"s{place.array[1:]}")))
        elif self.is_backward and kind == "c":
            value = self.while_alive(value, self.arriving(place))
            self.write_tile(place, value, "(rows + t % 2 * B)")
            return
        elif self.is_backward and place.array == "acc":
            value = f"tl.load({self.address(place)}, {self.mask(place)}, other=0.0) + {self.while_alive(value)}"
        elif self.is_backward and place.array != "scratch":
            value = self.while_alive(value)
        self.write_tile(place, value)

    def arriving(self, place: Place) -> str:
        """The gradient that arrives at part of the state."""
        arrived = self.read(place)
        return f"{arrived} + {self.read(place._replace(array='dout'))}" if place.array == "c0" else arrived
