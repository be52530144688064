"""A step in canonical form: polynomials of loads and functions, whatever the order of sums, products and brackets."""

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

from rnncli.kernels.engine.graph import Graph, Place

MAX_TERMS = 32
"""Terms. A polynomial of more than these counts as an unknown function."""

Term = tuple[int, ...]
"""A product of pieces of a graph, by their numbers, in order."""


class Polynomial:
    """A sum of terms, with a factor for each."""

    def __init__(self, terms: Iterable[tuple[Term, float]] = ()) -> None:
        sums: dict[Term, float] = {}
        for term, factor in terms:
            sums[term] = sums.get(term, 0.0) + factor
        self.terms = {term: factor for term, factor in sums.items() if factor}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Polynomial) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def __add__(self, other: "Polynomial") -> "Polynomial":
        return Polynomial([*self.terms.items(), *other.terms.items()])

    def __neg__(self) -> "Polynomial":
        return Polynomial((term, -factor) for term, factor in self.terms.items())

    def __sub__(self, other: "Polynomial") -> "Polynomial":
        return self + -other

    def __mul__(self, other: "Polynomial") -> "Polynomial":
        pairs = product(self.terms.items(), other.terms.items())
        return Polynomial((tuple(sorted((*a, *b))), factor * other_factor) for (a, factor), (b, other_factor) in pairs)

    def parted(self, chosen: Callable[[Term], bool]) -> tuple["Polynomial", "Polynomial"]:
        """The chosen terms, and the others."""
        found = Polynomial((term, factor) for term, factor in self.terms.items() if chosen(term))
        return found, self - found

    def divided(self, by: "Polynomial") -> tuple["Polynomial", "Polynomial"]:
        """The quotient by a piece, and the rest, which does not have the piece."""
        multiples, rest = self.parted(lambda term: by.piece in term)
        return Polynomial((_without(term, by.piece), factor) for term, factor in multiples.terms.items()), rest

    @property
    def piece(self) -> int:
        """The only piece of the only term."""
        ((piece,),) = self.terms
        return piece


def _without(term: Term, piece: int) -> Term:
    place = term.index(piece)
    return term[:place] + term[place + 1 :]


def only(piece: int) -> Polynomial:
    """A piece as a polynomial."""
    return Polynomial([((piece,), 1.0)])


def constant(value: float) -> Polynomial:
    """A number as a polynomial."""
    return Polynomial([((), value)])


_RING: dict[str, Callable[..., Polynomial]] = {
    "add": Polynomial.__add__,
    "sub": Polynomial.__sub__,
    "mul": Polynomial.__mul__,
    "neg": Polynomial.__neg__,
}
"""The operations of which polynomials are made; all others are functions of polynomials."""


class Equations:
    """The fields of the old and the new state that have M features, as polynomials; a step has `count` pieces."""

    def __init__(self, graph: Graph, count: int) -> None:
        self.pieces, self.M = graph.pieces[:count], graph.sizes["s0"]
        self.polynomials: list[Polynomial] = []
        functions: dict[Any, Polynomial] = {}
        for piece, (op, operands, _, extra) in enumerate(self.pieces):
            given = [self.polynomials[each] for each in operands]
            found = constant(extra) if op == "const" else _RING[op](*given) if op in _RING else None
            if found is None or len(found.terms) > MAX_TERMS:
                found = functions.setdefault((op, *given, extra), only(piece))
            self.polynomials.append(found)
        loads = {piece.extra: number for number, piece in enumerate(self.pieces) if piece.op == "load"}
        wholes = [Place(f"s{number}", 0, self.M) for number in range(len(graph.fields))]
        self.old = [only(loads[place]) for place in wholes if place in loads]
        self.new = [self.polynomials[packed[0][0]] for packed in graph.fields if packed[0][1].length == self.M]

    def functions(self, op: str, polynomial: Polynomial) -> list[Polynomial]:
        """The functions of one kind in a polynomial."""
        pieces = sorted({piece for term in polynomial.terms for piece in term})
        return [only(piece) for piece in pieces if self.pieces[piece].op == op]

    def argument(self, function: Polynomial) -> Polynomial:
        """The value that a function takes."""
        return self.polynomials[self.pieces[function.piece].operands[0]]

    def place(self, term: Term) -> Place | None:
        """Where a term lies that is loaded from an array and nothing else."""
        if len(term) != 1 or self.pieces[term[0]].op != "load":
            return None
        found: Place = self.pieces[term[0]].extra
        return found
