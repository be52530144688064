"""Source text of a kernel's body: pieces of a plan, each as a tile of some sequences and of its features.

A tile is (rows, columns); a piece of one element has one column, and a vector of parameters one row. Arrays have the
names of `plan`; `y`, `r` and `q`, the results of matmuls, lie in memory only where a kernel on its own computes them.
"""

from collections.abc import Iterable
from typing import NamedTuple

from rnncli.kernels.engine.graph import Place
from rnncli.kernels.engine.ops import OPS
from rnncli.kernels.engine.plan import Pass, Plan

MIN_TILE = 16
"""The minimum of rows and columns of a matmul's tiles."""

TIMED = ("projected", "dp", "dout")
"""Arrays with a row for each step, in addition to those of states, of operands and of gradients."""


class Kernel(NamedTuple):
    """A kernel of the text: its name, the tensors that it takes first, and what its programs are."""

    name: str
    arrays: tuple[str, ...]
    length: int  # the most features that a value has
    is_whole: bool  # whether a program has all features of its sequences
    rows: int  # sequences of a program
    loads: tuple[Place, ...]  # what a program reads at each step


def padded(length: int, min_width: int = MIN_TILE) -> int:
    """The width of a tile of this many features: a power of two."""
    return int(max(min_width, 1 << (length - 1).bit_length()))


def widths(plan: Plan) -> dict[str, int]:
    """The features of each array."""
    graph = plan.graph
    vectors = sum(graph.sizes[name] for name in plan.vectors)
    found = {"projected": graph.sizes["projected"], "dp": graph.sizes["projected"], "dout": graph.sizes["s0"]}
    found |= {"kept": plan.kept, "v": vectors, "acc": vectors}
    found["scratch"] = max(plan.forward.scratch, plan.backward.scratch)
    for n in range(len(graph.fields)):
        found |= dict.fromkeys((f"s{n}", f"c{n}"), graph.sizes[f"s{n}"])
    for j, m in enumerate(graph.matmuls):
        found |= {f"x{j}": m.K, f"r{j}": m.K, f"q{j}": m.K, f"y{j}": m.N, f"d{j}": plan.own_gradients(j)}
    return found


def number(value: float) -> str:
    """A constant in the kernels' language."""
    return repr(float(value)) if abs(value) < float("inf") else f'float("{float(value)}")'


class TileWriter:
    """Writes the statements of one kernel; `width` is the text of a tile's width, or None for the padded length."""

    def __init__(self, plan: Plan, found: Pass, width: str | None, min_width: int = MIN_TILE) -> None:
        self.plan, self.graph, self.found, self.width, self.min_width = plan, plan.graph, found, width, min_width
        self.widths = widths(plan)
        self.before: list[str] = []  # statements on parameters only
        self.lines: list[str] = []
        self.names: dict[int, str] = {}  # of pieces
        self.memory: dict[Place, str] = {}  # tiles that have been loaded
        self.alive: dict[str, str] = {}  # values that are 0 beyond a sequence's end
        self.lengths: set[int] = set()
        self.arrays: dict[str, None] = {}
        self.name = ""

    def kernel(self, *, is_whole: bool, rows: int) -> Kernel:
        """The kernel that has been written."""
        loads = tuple(place for place, name in self.memory.items() if name[0] == "p" and place.array != "v")
        return Kernel(self.name, tuple(self.arrays), max(self.lengths, default=1), is_whole, rows, loads)

    # addresses

    def columns(self, length: int) -> str:
        """The width of a tile."""
        return self.width or str(padded(length, self.min_width))

    def row(self, array: str) -> str:
        """The row of an array for each sequence, at this step."""
        if array[0] == "n":
            return "(now + B)"
        if array in ("kept", "x") or (array[0] == "x" and array[1:].isdigit()):
            return self.kept_row(array)
        is_timed = array in TIMED or (array[0] in "sd" and array[1:].isdigit())
        return "now" if is_timed else "rows"

    def kept_row(self, array: str) -> str:
        """The row of an array that is kept for the backward pass."""
        del array
        return "now"

    def address(self, place: Place, row: str | None = None) -> str:
        """The addresses of a tile."""
        base = f"s{place.array[1:]}" if place.array[0] == "n" else place.array
        self.arrays[base] = None
        text = f"{base} + {place.start}"
        if place.array != "v":
            width = self.widths[base]
            text = f"{base} + {row or self.row(place.array)} * {width} + {place.start}"
        if place.length > 1:
            self.lengths.add(place.length)
            text += f" + m{place.length}" + (f" * {place.stride}" if place.stride > 1 else "")
        return text

    def mask(self, place: Place) -> str:
        if place.array == "v":
            return f"m{place.length} < {place.length}" if place.length > 1 else "True"
        return f"in{place.length}" if place.length > 1 else "there"

    # values

    def read(self, place: Place) -> str:
        """The tile at a place in memory, in float32."""
        if place not in self.memory:
            self.memory[place] = name = f"p{len(self.memory)}"
            if place.array == "v" and place.length == 1:
                text = f"tl.load({self.address(place)})"
            else:
                text = f"tl.load({self.address(place)}, {self.mask(place)}, other=0.0).to(tl.float32)"
            (self.before if place.array == "v" else self.lines).append(f"{name} = {text}")
        return self.memory[place]

    def value(self, piece: int) -> str:
        """The expression of a piece."""
        op, _, _, extra = self.graph.pieces[piece]
        if op in ("const", "size"):
            return number(extra)
        if piece not in self.names:
            place: Place = self.found.where.get(piece) or extra
            if place.array in self.plan.vectors:
                place = place._replace(array="v", start=place.start + self.plan.vectors[place.array])
            is_result = place.array[0] in "yrq"
            self.names[piece] = self.result(place) if is_result else self.read(place)
        return self.names[piece]

    def result(self, place: Place) -> str:
        """Part of a matmul's result."""
        raise NotImplementedError

    def compute(self, piece: int) -> None:
        """Write the statement of a piece."""
        op, operands, _, extra = self.graph.pieces[piece]
        if op in ("sum", "max"):
            text = self.reduction(op, operands)
        else:
            given = [self.value(each) for each in operands]
            if all(self.graph.pieces[each].op in ("const", "size") for each in operands):
                given = [f"tl.full((1, 1), {each}, tl.float32)" for each in given]
            text = OPS[op].text.format(*given, x=extra)
        self.names[piece] = f"a{piece}"
        self.lines.append(f"a{piece} = {text}")

    def reduction(self, op: str, operands: Iterable[int]) -> str:
        parts = []
        for piece in operands:
            length, value = self.graph.pieces[piece].length, self.value(piece)
            if length > 1:
                self.lengths.add(length)
                rest = "0.0" if op == "sum" else 'float("-inf")'
                value = f"tl.{op}(tl.where(in{length}, {value}, {rest}), 1, keep_dims=True)"
            parts.append(value)
        if op == "sum":
            return " + ".join(parts)
        found = parts[0]
        for part in parts[1:]:
            found = f"maximum({found}, {part})"
        return found

    def while_alive(self, value: str, otherwise: str = "0.0") -> str:
        """The value of a piece, or another beyond the end of a sequence."""
        key = f"{value}, {otherwise}"
        if key not in self.alive:
            self.alive[key] = name = f"e{len(self.alive)}"
            self.lines.append(f"{name} = tl.where(alive, {key})")
        return self.alive[key]

    def first_column(self, value: str) -> str:
        """The value of a matmul's result of one column."""
        return f"tl.sum(tl.where(unit < 1, {value}, 0.0), 1, keep_dims=True)"

    # stores

    def write_tile(self, place: Place, value: str, row: str | None = None) -> None:
        """Store a tile; programs with other features leave values of one element to the first."""
        mask = self.mask(place) if place.length > 1 else "one"
        self.lines.append(f"tl.store({self.address(place, row)}, {value}, {mask})")

    # the kernel

    def opening(self) -> list[str]:
        """Statements on rows and columns."""
        lines = [
            "B = B.to(tl.int64)  # and with it all addresses",
            "rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]",
            "there = rows < B",
            "one = rows < tl.where(tl.program_id(1) == 0, B, 0)",
            "end = tl.load(ends + rows, there, other=0)",
            f"unit = tl.arange(0, {self.columns(1)})[None, :]",
        ]
        for length in sorted(self.lengths):
            shift = "tl.program_id(1) * COLUMNS + " if self.width else ""
            lines.append(f"m{length} = {shift}tl.arange(0, {self.columns(length)})[None, :]")
            lines.append(f"in{length} = there & (m{length} < {length})")
        return lines
