"""The tensors that a step takes besides its input and state, and where the parameters that it uses lie in them."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnncli.kernels.engine.recipes import Call, Fixed, Leaf, Recipe, run_recipe

VIEWS = frozenset({"t", "transpose", "permute", "slice", "select", "view", "unsqueeze", "squeeze", "split", "alias"})
"""Operations of torch that only view a tensor."""


class View(NamedTuple):
    """Part of a contiguous input: its shape, its strides and its first element."""

    input: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    def of(self, tensor: Tensor) -> Tensor:
        """The part of that input, or of a tensor of its shape."""
        return tensor.as_strided(self.shape, self.strides, tensor.storage_offset() + self.offset)


class Inputs:
    """The inputs of a cell: tensors that it holds, and those that recipes compute, once per sequence under autograd."""

    def __init__(self, cell: Any, recipes: Sequence[Recipe], vectors: Collection[int]) -> None:
        self.sources: list[Recipe] = []  # of each input
        self.views: list[View] = []  # of each recipe
        self.shapes: list[tuple[int, ...]] = []
        for number, recipe in enumerate(recipes):
            leaf = viewed(recipe)
            if leaf is not None and number in vectors and not computed(recipe, cell).is_contiguous():
                leaf = None  # a vector is copied as it lies
            source = recipe if leaf is None else leaf
            if source not in self.sources:
                self.sources.append(source)
                self.shapes.append(tuple(computed(source, cell).shape))
            place = self.sources.index(source)
            whole = torch.empty(self.shapes[place])
            view = whole if leaf is None else run_recipe(recipe, partial(_always, whole))
            self.views.append(View(place, tuple(view.shape), view.stride(), int(view.storage_offset())))
        self.names = [source.name if isinstance(source, Leaf) and not source.module else "" for source in self.sources]

    def of(self, cell: Any, dtype: torch.dtype) -> list[Tensor]:
        """The inputs' values, contiguous."""
        found = []
        for name, source in zip(self.names, self.sources, strict=True):
            value: Tensor = getattr(cell, name) if name else computed(source, cell)
            value = value if value.dtype == dtype else value.to(dtype)
            found.append(value if value.is_contiguous() else value.contiguous())
        return found

    def prepared(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """What each recipe computes."""
        return [view.of(inputs[view.input]) for view in self.views]

    def gather(self, inputs: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The gradients of the inputs, from those of what the recipes compute."""
        found: list[Tensor | None] = []
        for place, value in enumerate(inputs):
            parts = [(v, d) for v, d in zip(self.views, gradients, strict=True) if v.input == place and d is not None]
            found.append(_sum(value, parts))
        return found


def computed(recipe: Recipe, cell: Any) -> Tensor:
    """What a recipe computes from the cell's tensors."""
    return run_recipe(recipe, partial(tensor_of, cell), partial(_next_to, cell))


def _next_to(cell: Any, constant: Fixed) -> Tensor:
    """A constant on the cell's device."""
    return constant.tensor().to(cell.get_parameter("h0").device)


def _always(whole: Tensor, _: Leaf) -> Tensor:
    return whole


def tensor_of(cell: Any, leaf: Leaf) -> Tensor:
    """The tensor of the cell that a leaf names."""
    owner = cell.get_submodule(leaf.module) if leaf.module else cell
    found: Tensor = getattr(owner, leaf.name)
    return found


def viewed(recipe: Recipe) -> Leaf | None:
    """The tensor that a recipe only views, if it does nothing else."""
    while isinstance(recipe, Call):
        name = str(recipe.function).split(".")
        if len(name) < 2 or name[1] not in VIEWS:
            return None
        recipe = recipe.args[0]
    return recipe if isinstance(recipe, Leaf) else None


def _sum(value: Tensor, parts: Sequence[tuple[View, Tensor]]) -> Tensor | None:
    """The gradient of an input, from those of its parts."""
    if not parts:
        return None
    if len(parts) == 1 and parts[0][1].numel() == value.numel():
        view, d = parts[0]
        if view.strides == value.stride():
            return d.reshape(value.shape)
        if d.dim() == 2 and view.strides == value.stride()[::-1]:
            return d.t()
    found = torch.zeros_like(value)
    for view, d in parts:
        part = view.of(found)
        part += d
    return found
