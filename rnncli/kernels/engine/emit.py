"""Source text of a plan: one function for each stage, and one for each direction that runs a whole sequence.

The function of a stage runs it for all sequences of a step; without matmuls between stages, for all steps of some
sequences: it streams. Lengths and places come as an array of integers, so that nets of all sizes share one text.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from rnncli.kernels.engine.graph import Place
from rnncli.kernels.engine.inputs import Inputs
from rnncli.kernels.engine.ops import OPS
from rnncli.kernels.engine.plan import Pass, Plan, Stage
from rnncli.kernels.engine.sequence import Function, Sizes, called_with, step_loop, whole_sequence

IMPORT = "from rnncli.kernels.engine.functions import *"
"""The line of generated code that brings the functions it calls."""

HEADER = f'''"""Loops that rnn wrote for one step of a cell and its gradient."""

import numpy as np

{IMPORT}
'''

TIMED = ("projected", "kept", "dp", "dout")
BITS = "yrq"
"""Arrays that hold the bits of a bfloat16 if matmuls are rounded."""


class Loops(NamedTuple):
    """The functions of a direction: one for each stage, and one that runs all steps with their matmuls."""

    stages: tuple[Function, ...]
    steps: Function


class Code(NamedTuple):
    """The text, its functions by direction, and the integers that they read."""

    text: str
    forward: Loops
    backward: Loops
    sizes: tuple[int, ...]
    spare: int  # length of the rows that loops hand to the next ones


def emit(plan: Plan, inputs: Inputs) -> Code:
    """Write the source of a plan whose parameters lie in these inputs."""
    sizes, texts, spare = Sizes(), [], 0
    loops: list[Loops] = []
    for direction, found in (("forward", plan.forward), ("backward", plan.backward)):
        is_backward, stages = direction == "backward", []
        for number, stage in enumerate(found.stages):
            writer = _StageWriter(plan, found, stage, sizes)
            lines, arrays = writer.write(f"{direction}_{number}", is_backward, number == 0)
            texts.append("\n".join(lines))
            stages.append(Function(f"{direction}_{number}", arrays))
            spare = max(spare, writer.spare)
        steps = stages[0]
        if not plan.streams:
            steps, text = step_loop(plan, stages, is_backward=is_backward)
            texts.append(text)
        loops.append(Loops(tuple(stages), steps))
    texts += whole_sequence(plan, inputs, sizes, (loops[0].steps, loops[1].steps), spare)
    whole = "\n\n\n".join([HEADER, *(f"@compiled\n{each}" for each in texts)]) + "\n"
    return Code(whole, loops[0], loops[1], tuple(value for _, value in sizes.values), spare)


def row(array: str) -> str:
    """The expression of an array's row."""
    kind = "v" if array == "v" else array[0] if array not in TIMED else ""
    if array in TIMED or (kind in ("s", "x", "d") and array != "scratch"):
        return f"{array}[t, b]"
    return {"v": "v", "n": f"s{array[1:]}[t + 1, b]"}.get(kind, f"{array}[b]")


def base(array: str) -> str:
    """The argument in which an array lies."""
    return f"s{array[1:]}" if array[0] == "n" else array


class _StageWriter:
    """Writes the function of one stage."""

    def __init__(self, plan: Plan, found: Pass, stage: Stage, sizes: Sizes) -> None:
        self.plan, self.graph, self.found, self.stage, self.sizes = plan, plan.graph, found, stage, sizes
        self.here = set(stage.pieces)
        self.views: dict[Place, str] = {}
        self.constants: dict[str, str] = {}
        self.used: set[str] = set()
        self.held: dict[int, Place] = {}  # in spare rows
        self.spare = 0
        self.scalars: set[int] = set()

    def write(self, name: str, is_backward: bool, is_first: bool) -> tuple[list[str], tuple[str, ...]]:
        self.hold()
        body = self.loops()
        ended = self.ended(is_backward, is_first)
        before = [] if not is_backward else [f"copy_row(c{n}[b], b{n}[b])" for n in self.plan.copies if is_first]
        arrays = self.arrays([*ended, *before])
        flat = [(place, view) for place, view in self.views.items() if place.array in ("v", "spare")]
        rows = [(place, view) for place, view in self.views.items() if place.array not in ("v", "spare")]
        lines = [f"def {name}({called_with(self.plan)}, ends, sizes, {', '.join(arrays)}):"]
        opening = [self.view(place, view) for place, view in flat]
        inner = [self.view(place, view) for place, view in rows]
        numbers = sorted(
            {word for line in (*body, *opening, *inner) for word in _names(line)}, key=lambda n: int(n[1:])
        )
        lines += [f"    {n} = sizes[{n[1:]}]" for n in numbers]
        texts = {k: text.replace("inf", "np.inf").replace("nan", "np.nan") for text, k in self.constants.items()}
        lines += ["    real = s0.dtype.type", *(f"    {k} = real({text})" for k, text in texts.items())]
        lines += [f"    {line}" for line in opening]
        loop = ["for b in range(ends.size):", "    if t >= ends[b]:"]
        loop += [f"        {line}" for line in (*ended, "continue")]
        loop += [f"    {line}" for line in (*before, *inner, *body)]
        if self.plan.streams:
            steps = "len(s0) - 2, -1, -1" if is_backward else "len(s0) - 1"
            loop[0] = "for b in range(first, last):"
            loop = [f"for t in range({steps}):", *(f"    {line}" for line in loop)]
        return [*lines, *(f"    {line}" for line in loop)], arrays

    def arrays(self, lines: Sequence[str]) -> tuple[str, ...]:
        found = {base(place.array) for place in self.views} | {"s0"}
        found |= {array for line in lines for array in re.findall(r"(\w+)\[", line)}
        return tuple(sorted(found))

    def view(self, place: Place, name: str) -> str:
        start, n = self.sizes(f"start {place.array}", place.start), self.sizes("length", place.length)
        source = place.array if place.array == "spare" else row(place.array)
        if place.stride == 1:
            return f"{name} = {source}[{start}:{start} + {n}]"
        step = self.sizes(f"stride {place.array}", place.stride)
        return f"{name} = {source}[{start}:{start} + {n} * {step}:{step}]"

    def ended(self, is_backward: bool, is_first: bool) -> list[str]:
        """What happens past a sequence's end: the state stays, and its gradient waits."""
        written = list(dict.fromkeys(place.array for _, place in self.stage.stores))
        lines = [f"copy_row(s{array[1:]}[t, b], {row(array)})" for array in written if array[0] == "n"]
        zeros = [array for array in written if array[0] in "xde" or (is_backward and array == "projected")]
        lines += [f"{row(array)} = 0" for array in zeros]
        if is_backward and is_first:
            for number in range(len(self.graph.fields)):
                arriving = ["dout[t, b]"] if number == 0 else []
                arriving += [f"q{j}[b]" for j in self.plan.derivative.carried_by(self.graph, number)]
                lines += [f"add_row({each}, c{number}[b])" for each in arriving]
        return lines

    # values

    def read(self, piece: int) -> Place | None:
        """Where a piece is read from memory, if it is not computed here."""
        if piece in self.here:
            return None
        graph = self.graph
        if piece in self.found.where:
            return self.found.where[piece]
        if graph.pieces[piece].op != "load":
            return None
        place: Place = graph.pieces[piece].extra
        if place.array[0] == "v":
            return place._replace(array="v", start=place.start + self.plan.vectors[place.array])
        if place.array[0] == "y" and int(place.array[1:]) in self.plan.derivative.merged:
            j = self.plan.derivative.merged[int(place.array[1:])]
            return place._replace(array=f"y{j}", start=place.start + self.graph.matmuls[j].N)
        if place.array[0] == "c" and int(place.array[1:]) in self.plan.copies:
            return place._replace(array=f"b{place.array[1:]}")
        return place

    def name(self, place: Place) -> str:
        """The name of a view of memory."""
        return self.views.setdefault(place, f"p{len(self.views)}")

    def depth(self, piece: int) -> int:
        return self.found.depth[piece] if piece in self.here else 0

    def hold(self) -> None:
        """Give spare rows to what reductions read, and to what one loop hands to a later one."""
        for user in self.stage.pieces:
            op, operands, _, _ = self.graph.pieces[user]
            for piece in operands:
                length = self.graph.pieces[piece].length
                if piece in self.held or (length == 1 and op not in ("sum", "max")):
                    continue
                if op in ("sum", "max") or (piece in self.here and self.depth(piece) < self.depth(user)):
                    self.held[piece] = Place("spare", self.spare, length)
                    self.spare += length

    def value(self, piece: int, depth: int) -> str:
        """The expression of a piece in a loop of that depth, or outside loops if it has one element."""
        op, _, length, extra = self.graph.pieces[piece]
        if op in ("const", "size"):
            text = repr(extra) if op == "const" else self.sizes("count", int(extra))
            return self.constants.setdefault(text, f"k{len(self.constants)}") if op == "const" else f"real({text})"
        place = self.read(piece)
        if place is None:
            if piece in self.held and self.depth(piece) < depth and length > 1:
                return f"{self.name(self.held[piece])}[m]"
            return f"a{piece}"
        item = f"{self.name(place)}[{'m' if length > 1 else 0}]"
        return f"to_float({item})" if place.array[0] in BITS else item

    def statement(self, piece: int, depth: int) -> str:
        op, operands, _, extra = self.graph.pieces[piece]
        if op in ("sum", "max"):
            parts = [self.reduced(op, each) for each in operands]
            merged = " + ".join(parts) if op == "sum" else parts[0]
            for part in parts[1:] if op == "max" else ():
                merged = f"maximum({merged}, {part})"
            return f"a{piece} = {merged}"
        given = [self.value(each, depth) for each in operands]
        number = self.constants.setdefault(repr(extra), f"k{len(self.constants)}") if isinstance(extra, float) else ""
        return f"a{piece} = {OPS[op].text.format(*given, x=number)}"

    def reduced(self, op: str, piece: int) -> str:
        return f"row_{op}({self.name(self.held[piece])})"

    # loops

    def loops(self) -> list[str]:
        """All loops of a row, from depth 0 on; values of one element are computed between them."""
        lines: list[str] = []
        depths = [self.found.depth[piece] for piece in self.stage.pieces]
        for depth in range(1 + max(depths, default=0)):
            here = [piece for piece in self.stage.pieces if self.found.depth[piece] == depth]
            lines += [self.statement(piece, depth) for piece in here if self.graph.pieces[piece].length == 1]
            stores = [(piece, place) for piece, place in self.stage.stores if self.depth(piece) == depth]
            stores += [(piece, place) for piece, place in self.held.items() if self.depth(piece) == depth]
            lengths = {self.graph.pieces[piece].length for piece in here} | {place.length for _, place in stores}
            for length in sorted(lengths):
                wanted = [(piece, place) for piece, place in stores if place.length == length]
                wanted.sort(key=lambda pair: pair[0] in self.here)  # what is read from memory may be overwritten here
                body = [self.statement(p, depth) for p in here if self.graph.pieces[p].length == length > 1]
                body += [
                    f"{self.name(place)}[{'m' if length > 1 else 0}] {'+=' if place.array == 'acc' else '='} "
                    f"{self.value(piece, depth)}"
                    for piece, place in wanted
                ]
                if length > 1:
                    lines += [f"for m in range({self.sizes('length', length)}):"] if body else []
                    lines += [f"    {line}" for line in body]
                else:
                    lines += body
        return lines


def _names(line: str) -> set[str]:
    words = line.replace("[", " ").replace(":", " ").replace("]", " ").replace("(", " ").replace(")", " ").split()
    return {word for word in words if word[0] == "n" and word[1:].isdigit()}
