"""The graph of one step of a cell: elements as they are traced, and pieces, the runs of elements that share their work.

Tracing numbers every feature of every value, so that slices, views and concatenations only move numbers. `cut` then
finds the coarsest pieces that all operations treat alike: a piece is computed from whole pieces, position by position,
or from pieces of one element. Shapes: B batch, N features of a value.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

MAX_PIECES = 400
"""A graph of more pieces than this treats its features one by one, and is not worth compiled loops."""


class Untraceable(Exception):
    """Says in one line why the engine cannot take a cell."""


class Node(NamedTuple):
    """A value of N features, before it is cut: operands name elements as `offset of their node + feature`."""

    op: str
    operands: tuple[Any, ...]  # integer arrays, (N,) each; (K,) of a reduction or a matmul
    length: int
    extra: Any = None


class Piece(NamedTuple):
    """Part of a value, (B, N), computed from whole pieces; those of one element are repeated."""

    op: str
    operands: tuple[int, ...]
    length: int
    extra: Any = None  # of a load: the array's name and the place in it; of a constant: its value


class Place(NamedTuple):
    """Where a piece lies in an array's features."""

    array: str
    start: int
    length: int
    stride: int = 1

    @property
    def slice(self) -> slice:
        """The same as a slice."""
        return slice(self.start, self.start + self.stride * self.length, self.stride)


class Matmul(NamedTuple):
    """A product of a packed operand (B, K) and a weight (K, N)."""

    weights: tuple[int, ...]  # prepared matrices, (K, n) each, next to each other
    operand: tuple[tuple[int, Place], ...]  # pieces and their places in the operand
    K: int
    N: int


@dataclass
class Graph:
    """One step: its pieces in an order of computation, the matmuls, and the pieces of the new state."""

    pieces: list[Piece] = field(default_factory=list)
    matmuls: list[Matmul] = field(default_factory=list)
    fields: list[tuple[tuple[int, Place], ...]] = field(default_factory=list)
    inputs: dict[str, list[int]] = field(default_factory=dict)  # loads by array
    sizes: dict[str, int] = field(default_factory=dict)  # features of each array that is loaded
    _known: dict[Piece, int] = field(default_factory=dict)

    def add(self, op: str, operands: Sequence[int] = (), length: int = 1, extra: Any = None) -> int:
        """Return the number of a piece; equal pieces have one number."""
        piece = Piece(op, tuple(operands), length, extra)
        if piece not in self._known:
            self._known[piece] = len(self.pieces)
            self.pieces.append(piece)
            if op == "load":
                self.inputs.setdefault(extra.array, []).append(self._known[piece])
        return self._known[piece]

    def point(self, op: str, *operands: int, extra: Any = None) -> int:
        """Return a pointwise operation of pieces, simplified."""
        if (simple := self._simplified(op, operands)) is not None:
            return simple
        return self.add(op, operands, max((self.pieces[each].length for each in operands), default=1), extra)

    def constant(self, value: float) -> int:
        """Return a piece of one element with this value."""
        return self.add("const", extra=float(value))

    def total(self, operands: Sequence[int]) -> int:
        """Return the sum over the features of pieces, one element."""
        return self.add("sum", operands)

    def _is(self, piece: int, value: float) -> bool:
        return self.pieces[piece].op == "const" and self.pieces[piece].extra == value

    def _simplified(self, op: str, operands: tuple[int, ...]) -> int | None:
        if op == "mul" and any(self._is(each, 1.0) for each in operands):
            return operands[1] if self._is(operands[0], 1.0) else operands[0]
        if op == "div" and self._is(operands[1], 1.0):
            return operands[0]
        if op == "neg" and self.pieces[operands[0]].op == "neg":
            return self.pieces[operands[0]].operands[0]
        return None


def cut(nodes: Sequence[Node]) -> tuple[Any, list[Any]]:
    """Cut all nodes into pieces: the label of each element, and the elements of each label, in order."""
    bounds = np.concatenate(([0], np.cumsum([node.length for node in nodes])))
    labels = _numbered(np.repeat(np.arange(len(nodes)), np.diff(bounds)).astype(np.uint64))
    uses = [
        (slice(bounds[place], bounds[place + 1]), operand, node.op in ("sum", "max"))
        for place, node in enumerate(nodes)
        if node.op != "matmul"
        for operand in node.operands
    ]
    for place, operand, is_reduction in uses:
        if not is_reduction:
            _separate_repeated(labels, place, operand)
    while True:
        labels = _refined(labels, uses)
        runs = _in_order(_runs(labels), uses)
        if runs.max() == labels.max():
            break
        labels = runs
    order = np.argsort(labels, kind="stable")
    return labels, np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _mixed(one: Any, other: Any) -> Any:
    """Hash pairs of labels; that two pairs meet is as unlikely as one in 2^40."""
    found = (one ^ (other * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xD6E8FEB86659FD93)
    return found ^ (found >> np.uint64(32))


def _numbered(labels: Any) -> Any:
    """Number labels in the order in which they first appear."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    ranks = np.empty(len(first), np.int64)
    ranks[np.argsort(first)] = np.arange(len(first))
    return ranks[inverse]


def _refined(labels: Any, uses: Sequence[tuple[slice, Any, bool]]) -> Any:
    """Separate elements until those of one label have operands of one label each, and uses by one label each."""
    count = labels.max()
    while True:
        hashes = _mixed(labels.astype(np.uint64) + np.uint64(1), np.uint64(1))
        for place, operand, is_reduction in uses:
            if not is_reduction:
                hashes[place] = _mixed(hashes[place], hashes[operand])
        for place, operand, is_reduction in reversed(uses):
            used = np.full(len(hashes), np.iinfo(np.uint64).max)
            np.minimum.at(used, operand, hashes[place.start] if is_reduction else hashes[place])
            hashes[operand] = _mixed(hashes, used)[operand]
        labels, before = _numbered(hashes), count
        count = labels.max()
        if count > MAX_PIECES:
            raise Untraceable("it treats its features one by one, not in blocks")
        if count == before:
            return labels


def _separate_repeated(labels: Any, place: slice, operand: Any) -> None:
    """Separate elements that an operation uses several times, if they are few, or else their uses; in place."""
    distinct, inverse, counts = np.unique(operand, return_inverse=True, return_counts=True)
    if counts.max() == 1:
        return
    if len(distinct) <= counts.max():
        labels[distinct] += (distinct + 1) * (len(labels) + 1) * (counts > 1)
    else:
        order = np.argsort(inverse, kind="stable")
        firsts = np.cumsum(counts) - counts
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order)) - firsts[inverse[order]]
        labels[place] += ranks * (len(labels) + 1)


def _runs(labels: Any) -> Any:
    """Separate elements of one label that do not lie at equal distances."""
    order = np.argsort(labels, kind="stable")
    begins = np.concatenate(([True], np.diff(labels[order]) != 0))
    runs, last, distance = np.empty_like(labels), -1, 0
    count = -1
    for place, is_first in zip(order.tolist(), begins.tolist(), strict=True):
        step = place - last
        if is_first or (distance and step != distance):
            count, distance = count + 1, 0
        else:
            distance = step
        runs[place], last = count, place
    return runs


def _in_order(labels: Any, uses: Sequence[tuple[slice, Any, bool]]) -> Any:
    """Separate elements whose operands lie in another order."""
    labels = labels.copy()
    for place, operand, is_reduction in uses:
        mine = labels[place]
        order = np.argsort(mine, kind="stable")
        steps, same = np.diff(operand[order]), np.diff(mine[order]) == 0
        if is_reduction or not ((steps < 0) & same).any():
            continue
        turns = np.concatenate(([0], np.cumsum((steps < 0) & same)))
        labels[place.start + order] += turns * (len(labels) + 1)
    return _numbered(labels)


def build(nodes: Sequence[Node], outputs: Sequence[int], sizes: dict[str, int]) -> Graph:
    """Cut nodes, whose last ones pack the new state and the operands of matmuls, and put the pieces in order."""
    labels, members = cut(nodes)
    offsets = np.concatenate(([0], np.cumsum([node.length for node in nodes])))
    return _Builder(nodes, offsets, labels, members, sizes).run(outputs)


class _Builder:
    """Turns cut nodes into a graph, operands first."""

    def __init__(self, nodes: Sequence[Node], offsets: Any, labels: Any, members: list[Any], sizes: Any) -> None:
        self.nodes, self.offsets, self.labels, self.members = nodes, offsets, labels, members
        self.graph = Graph(sizes=sizes)
        self.found: dict[int, int] = {}
        self.results: dict[int, tuple[str, int]] = {}  # of the nodes that are matmuls

    def run(self, outputs: Sequence[int]) -> Graph:
        for place, node in enumerate(self.nodes):
            if node.op == "matmul":
                self.results[place] = self.matmul(node)
            for label in dict.fromkeys(self.labels[self.offsets[place] : self.offsets[place + 1]].tolist()):
                self.found[label] = self.piece(place, node, label)
        self.graph.fields = [self.packed(place, f"next{number}") for number, place in enumerate(outputs)]
        return self.graph

    def matmul(self, node: Node) -> tuple[str, int]:
        """Where the result of a product lies; products of the same operand are one, with their weights side by side."""
        graph = self.graph
        source = int(np.searchsorted(self.offsets, node.operands[0][0], "right")) - 1
        packed = self.packed(source, "x")
        for number, known in enumerate(graph.matmuls):
            if known.operand == packed:
                graph.matmuls[number] = known._replace(weights=known.weights + node.extra, N=known.N + node.length)
                graph.sizes[f"y{number}"] += node.length
                return f"y{number}", known.N
        graph.matmuls.append(Matmul(node.extra, packed, len(node.operands[0]), node.length))
        graph.sizes[f"y{len(graph.matmuls) - 1}"] = node.length
        return f"y{len(graph.matmuls) - 1}", 0

    def piece(self, place: int, node: Node, label: int) -> int:
        here = self.members[label] - self.offsets[place]
        if node.op in ("load", "matmul"):
            array, start = (node.extra, 0) if node.op == "load" else self.results[place]
            return self.graph.add("load", (), len(here), _place(array, here + start))
        if node.op == "pack":
            return self.operand(node.operands[0][here])
        if node.op in ("sum", "max"):
            runs = list(dict.fromkeys(self.labels[node.operands[0]].tolist()))
            if sum(len(self.members[each]) for each in runs) != len(node.operands[0]):
                raise Untraceable("it reduces some features several times")
            return self.graph.add(node.op, [self.found[each] for each in runs])
        operands = [self.operand(each[here]) for each in node.operands]
        return (
            self.graph.add(node.op, operands, len(here), node.extra)
            if operands
            else self.graph.add(node.op, (), 1, node.extra)
        )

    def operand(self, elements: Any) -> int:
        """The piece that consists of these elements, or of the one that all of them are."""
        label = int(self.labels[elements[0]])
        members = self.members[label]
        if not np.array_equal(members, elements) and not (len(members) == 1 and (elements == members[0]).all()):
            raise Untraceable("it changes the order of its features")
        return self.found[label]

    def packed(self, place: int, array: str) -> tuple[tuple[int, Place], ...]:
        labels = dict.fromkeys(self.labels[self.offsets[place] : self.offsets[place + 1]].tolist())
        return tuple((self.found[label], _place(array, self.members[label] - self.offsets[place])) for label in labels)


def _place(array: str, here: Any) -> Place:
    return Place(array, int(here[0]), len(here), int(here[1] - here[0]) if len(here) > 1 else 1)
