"""The table of torch's own layers: their equations, and where their weights lie in a cell with the same equations.

Shapes: D input, M hidden, G gates, P projected features, N columns of a matmul.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnncli.kernels.engine.canonical import Equations, Polynomial, Term, constant
from rnncli.kernels.engine.check import Checked
from rnncli.kernels.engine.derive import field_of
from rnncli.kernels.engine.graph import Place, Untraceable
from rnncli.kernels.engine.inputs import computed
from rnncli.kernels.engine.recipes import Call, Recipe, has_constants

Parts = list[tuple[Place, float]]
"""A sum of parts of the cell's tensors, each times a factor."""

NUMBER = Place("1", 0, 1)
"""The part that a number is a multiple of."""


class TorchLayer(NamedTuple):
    """A layer of torch with the equations of a step, and its weights: one of the cell's tensors, or gate by gate."""

    function: Callable[..., Any]  # torch.rnn_tanh, torch.rnn_relu, torch.gru or torch.lstm
    M: int
    sources: dict[str, list[Recipe]]  # the cell's tensors, by the array that they make: (P, D), (N, M) or (N,)
    weights: tuple[str | list[Parts], ...]  # weight_ih, weight_hh, bias_ih, bias_hh

    def weights_of(self, cell: Any) -> list[Tensor]:
        """The layer's weights: (G*M, D), (G*M, M), (G*M,), (G*M,)."""
        tensors = {}
        for array, recipes in self.sources.items():
            found = [computed(each, cell) for each in recipes]
            whole = found[0] if len(found) == 1 else torch.cat(found)
            tensors[array] = whole.flatten() if array[0] == "v" else whole
        made = [tensors[each] if isinstance(each, str) else self.stacked(each, tensors) for each in self.weights]
        return [each.contiguous() for each in made]

    def stacked(self, gates: list[Parts], tensors: Mapping[str, Tensor]) -> Tensor:
        """A weight, gate by gate."""
        like = tensors["projected"]
        if not any(gates):
            return like.new_zeros(len(gates) * self.M)
        arrays = {place.array for parts in gates for place, _ in parts if place != NUMBER}
        blocks = {array: tensors[array].split(self.M) for array in arrays}

        def part(place: Place) -> Any:
            if place == NUMBER:
                return like.new_ones(self.M)
            if place[2:] == (self.M, 1) and place.start % self.M == 0:
                return blocks[place.array][place.start // self.M]  # whose gradients are put together at once
            found = tensors[place.array][place.slice]
            return found.expand(self.M, *found.shape[1:])

        sums = [[_times(part(place), factor) for place, factor in parts] for parts in gates]
        return torch.cat([sum(each[1:], each[0]) if each else like.new_zeros(self.M) for each in sums])


def _times(value: Tensor, factor: float) -> Tensor:
    return value if factor == 1 else -value if factor == -1 else value * factor


class Gate(NamedTuple):
    """A gate's sums: by torch's weight_ih and bias_ih, and by weight_hh and bias_hh."""

    of_x: Polynomial
    of_h: Polynomial


def _gate(step: Equations, sums: Polynomial) -> Gate:
    """A gate that adds everything; its vectors are part of bias_ih."""

    def is_of_h(term: Term) -> bool:
        place = step.place(term)
        return place is not None and place.array[0] == "y"

    of_h, of_x = sums.parted(is_of_h)
    return Gate(of_x, of_h)


def _simple(op: str, step: Equations) -> Iterator[list[Gate]]:
    """Match h = op(a)."""
    (h,) = step.new
    for function in step.functions(op, h):
        if h == function:
            yield [_gate(step, step.argument(function))]


def _gru(step: Equations) -> Iterator[list[Gate]]:
    """Match h = (1 - z) n + z h', or the same with 1 - z in place of z, where n = tanh(a + r b)."""
    (new,), (h,), one = step.new, step.old, constant(1.0)
    for z, n in product(step.functions("sigmoid", new), step.functions("tanh", new)):
        if new == (one - z) * n + z * h:
            update = step.argument(z)
        elif new == (one - z) * h + z * n:
            update = -step.argument(z)  # sigmoid(-a) = 1 - sigmoid(a)
        else:
            continue
        for r in step.functions("sigmoid", step.argument(n)):
            b, a = step.argument(n).divided(r)
            yield [_gate(step, step.argument(r)), _gate(step, update), Gate(a, b)]


def _lstm(step: Equations) -> Iterator[list[Gate]]:
    """Match c = f c' + i g and h = o tanh(c)."""
    (h, c), (_, old) = step.new, step.old
    of_c = step.functions("sigmoid", c)
    for o, last in product(step.functions("sigmoid", h), step.functions("tanh", h)):
        if step.argument(last) == c and h == o * last:
            for i, f, g in product(of_c, of_c, step.functions("tanh", c)):
                if c == f * old + i * g:
                    yield [_gate(step, step.argument(each)) for each in (i, f, g, o)]


class Entry(NamedTuple):
    """A layer of torch."""

    function: Callable[..., Any]
    fields: int  # of its state
    match: Callable[[Equations], Iterator[list[Gate]]]  # the ways to see a step as the layer's, gate by gate


TABLE = (
    Entry(torch.rnn_tanh, 1, partial(_simple, "tanh")),
    Entry(torch.rnn_relu, 1, partial(_simple, "relu")),
    Entry(torch.gru, 1, _gru),
    Entry(torch.lstm, 2, _lstm),
)


def layer_of(found: Checked) -> TorchLayer:
    """The layer of torch with the equations of a traced step; raises Untraceable if there is none."""
    step, fields = Equations(found.graph, found.derivative.begin), len(found.graph.fields)
    if found.linear is not None and len(step.old) == len(step.new) == fields:
        sources = _sources(found, found.linear.weight)
        for entry in TABLE:
            for gates in entry.match(step) if entry.fields == fields else ():
                if weights := _weights(step, gates, found.graph.sizes, sources):
                    return TorchLayer(entry.function, step.M, sources, weights)
    raise Untraceable("torch has no layer with its equations")


def _sources(found: Checked, projection: Recipe) -> dict[str, list[Recipe]]:
    """The tensors that a layer's weights can be parts of."""
    graph, prepared = found.graph, found.trace.prepared
    sources = {"projected": [_transposed(projection)]}
    for j, m in enumerate(graph.matmuls):
        if field_of(graph, j) == 0:
            sources[f"y{j}"] = [_transposed(prepared[k]) for k in m.weights]
    sources |= {array: [prepared[int(array[1:])]] for array in graph.sizes if array[0] == "v"}
    return {array: recipes for array, recipes in sources.items() if not any(map(has_constants, recipes))}


def _transposed(recipe: Recipe) -> Recipe:
    """The transpose of a matrix that most often is one itself."""
    t, cat = torch.ops.aten.t.default, torch.ops.aten.cat.default
    if isinstance(recipe, Call) and recipe.function is t:
        found: Recipe = recipe.args[0]
        return found
    if isinstance(recipe, Call) and recipe.function is cat and recipe.args[1:] == (1,):
        return Call(cat, ([_transposed(each) for each in recipe.args[0]], 0))
    return Call(t, (recipe,))


def _weights(
    step: Equations, gates: Sequence[Gate], sizes: Mapping[str, int], sources: Mapping[str, list[Recipe]]
) -> tuple[str | list[Parts], ...] | None:
    """The weights of gates; None where these are other sums than torch's."""
    matrices, biases = [], []
    for letter, sums in zip("py", zip(*gates, strict=True), strict=True):
        parts = [_parts(step, each) for each in sums]
        known = {array for array in sources if array[0] in (letter, "v")} | {NUMBER.array}
        if not {place.array for each in parts for place, _ in each} <= known:
            return None
        matrices.append([[part for part in each if part[0].array[0] == letter] for each in parts])
        biases.append([[part for part in each if part[0].array[0] != letter] for each in parts])
    if not all(map(all, matrices)):  # a gate without x or h
        return None
    return tuple(_one_tensor(each, step.M, sizes) or each for each in (*matrices, *biases))


def _parts(step: Equations, sums: Polynomial) -> Parts:
    """The terms of a sum; a product of several pieces lies nowhere."""
    nowhere = Place("", 0, 0)
    return [(step.place(term) or nowhere if term else NUMBER, factor) for term, factor in sums.terms.items()]


def _one_tensor(gates: list[Parts], M: int, sizes: Mapping[str, int]) -> str:
    """The array that a weight is; empty where it is none."""
    array = gates[0][0][0].array if gates[0] else ""
    whole = [[(Place(array, M * gate, M), 1.0)] for gate in range(len(gates))]
    return array if gates == whole and sizes[array] == M * len(gates) else ""
