"""The gradient of a step: further pieces of its graph, from the gradients of the new state to those of its inputs.

The gradient of the new state's field i is `c<i>`, plus `dout` for the first one, plus `q<j>` for each matmul j of the
next step that multiplies the field. `r<j>` is the gradient of matmul j's operand in this step.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from rnncli.kernels.engine.graph import Graph, Place
from rnncli.kernels.engine.ops import OPS

Packed = tuple[tuple[int, Place], ...]


@dataclass
class Derivative:
    """Where the gradients are, as pieces and their places."""

    inputs: dict[str, Packed] = field(default_factory=dict)  # of `projected`, the state and the vectors, by array
    results: list[Packed] = field(default_factory=list)  # of the matmuls
    carried: set[int] = field(default_factory=set)  # matmuls of a whole field: the step before adds their `r` itself
    merged: dict[int, int] = field(default_factory=dict)
    """Matmuls of an old field by the matmul of the new one, which computes them a step ahead, and `r` of both."""
    begin: int = 0  # the number of the first piece that is not one of the step

    def carried_by(self, graph: Graph, number: int) -> list[int]:
        """The matmuls of a field whose `r` arrives as `q`."""
        return [j for j in sorted(self.carried - self.merged.keys()) if field_of(graph, j) == number]


def derive(graph: Graph, merged: dict[int, int]) -> Derivative:
    """Extend a graph by its gradient."""
    return _Reverse(graph, merged).run()


def field_of(graph: Graph, j: int) -> int | None:
    """The number of the old state's field that a matmul multiplies, if it is a whole field."""
    pieces = [graph.pieces[piece] for piece, _ in graph.matmuls[j].operand]
    if any(piece.op != "load" for piece in pieces):
        return None
    array, *others = {piece.extra.array for piece in pieces}
    places = [place[1:] for _, place in graph.matmuls[j].operand]
    whole = not others and array[0] == "s" and graph.sizes[array] == graph.matmuls[j].K
    return int(array[1:]) if whole and [piece.extra[1:] for piece in pieces] == places else None


def new_field_of(graph: Graph, j: int) -> int | None:
    """The number of the new state's field that a matmul multiplies, if it is a whole field."""
    bare = [(piece, place[1:]) for piece, place in graph.matmuls[j].operand]
    for number, packed in enumerate(graph.fields):
        if bare == [(piece, place[1:]) for piece, place in packed]:
            return number
    return None


class _Reverse:
    """Reverse mode: pieces from last to first, each with the sum of its gradients."""

    def __init__(self, graph: Graph, merged: dict[int, int]) -> None:
        self.graph = graph
        self.sums: dict[int, list[int]] = {}
        self.found = Derivative(begin=len(graph.pieces), merged=merged)
        self.found.carried = {j for j in range(len(graph.matmuls)) if field_of(graph, j) is not None}

    def run(self) -> Derivative:
        graph, found = self.graph, self.found
        for number, packed in enumerate(graph.fields):
            for piece, place in packed:
                self.give(piece, self.arriving(number, place))
        multiplied = set()
        for piece in reversed(range(found.begin)):
            op, operands, _, extra = graph.pieces[piece]
            if op == "load" and extra.array[0] == "y" and self.sums.get(piece):
                multiplied.add(int(extra.array[1:]))
                self.give_operand(int(extra.array[1:]))
            elif op not in ("load", "const", "size") and (d := self.total(piece)) is not None:
                self.reverse(piece, op, operands, extra, d)
        for array, loads in list(graph.inputs.items()):
            if array == "projected" or array[0] in "sv":
                found.inputs[array] = self.packed(loads)
        found.results = [self.packed(graph.inputs.get(f"y{j}", ())) for j in range(len(graph.matmuls))]
        return found

    def arriving(self, number: int, place: Place) -> int:
        """The gradient of part of the new state's field."""
        graph = self.graph
        found = graph.add("copy", (self.load(f"c{number}", place),), place.length)
        carried = self.found.carried_by(graph, number)
        for array in ([] if number else ["dout"]) + [f"q{j}" for j in carried]:
            found = graph.point("add", found, self.load(array, place))
        return found

    def reverse(self, piece: int, op: str, operands: tuple[int, ...], extra: object, d: int) -> None:
        graph = self.graph
        if op == "sum":
            for each in operands:
                self.give(each, d)
        elif op == "max":
            ties = {each: graph.point("eq", each, piece) for each in operands}
            share = graph.point("div", d, graph.total(tuple(ties.values())))
            for each, tie in ties.items():
                self.give(each, graph.point("mul", share, tie))
        else:
            for each, given in zip(operands, OPS[op].gradients(graph, d, piece, operands, extra), strict=True):
                if given is not None:
                    self.give(each, given)

    def give(self, piece: int, d: int) -> None:
        """Add to the gradient of a piece; that of a repeated element is a sum over the features."""
        graph = self.graph
        if graph.pieces[piece].op in ("const", "size"):
            return
        if 1 == graph.pieces[piece].length < graph.pieces[d].length:
            d = graph.total((d,))
        self.sums.setdefault(piece, []).append(d)

    def give_operand(self, j: int) -> None:
        """Give the operand of a matmul its gradient, once."""
        if j not in self.found.carried:
            for piece, place in self.graph.matmuls[j].operand:
                load = self.load(f"r{j}", place)
                if load not in self.sums.get(piece, []):
                    self.give(piece, load)

    def total(self, piece: int) -> int | None:
        """The gradient of a piece."""
        given = self.sums.get(piece)
        if not given:
            return None
        found = given[0]
        for each in given[1:]:
            found = self.graph.point("add", found, each)
        self.sums[piece] = [found]
        return found

    def packed(self, loads: Iterable[int]) -> Packed:
        graph, zero = self.graph, self.graph.constant(0.0)
        pairs = []
        for load in loads:
            d = self.total(load)
            pairs.append((zero if d is None else d, graph.pieces[load].extra))
        return tuple(sorted(pairs, key=lambda pair: (pair[1].start, pair[1].stride)))

    def load(self, array: str, place: Place) -> int:
        return self.graph.add("load", (), place.length, place._replace(array=array))
