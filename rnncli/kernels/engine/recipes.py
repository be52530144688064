"""Recipes: how a tensor is computed that does not depend on the input or the state, once per sequence."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Leaf:
    """A tensor that the cell holds: a parameter, a buffer, or an attribute, by its module's path and its name."""

    module: str
    name: str


@dataclass(frozen=True)
class Fixed:
    """A constant tensor that the step makes, or finds outside the cell."""

    shape: tuple[int, ...]
    data: bytes
    dtype: torch.dtype

    def tensor(self) -> Tensor:
        return torch.frombuffer(bytearray(self.data), dtype=self.dtype).view(self.shape)


@dataclass(frozen=True)
class Call:
    """An operation on leaves and constants only; recipes take the places of its tensors."""

    function: Any
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...] = ()
    part: int | None = None  # of a list of results


Recipe = Leaf | Fixed | Call
"""How a tensor is computed that does not depend on the input or the state."""


def run_recipe(
    recipe: Recipe, leaf: Callable[[Leaf], Tensor], fixed: Callable[[Fixed], Tensor] = Fixed.tensor
) -> Tensor:
    """Compute a prepared tensor from the cell's own."""
    if isinstance(recipe, Leaf):
        return leaf(recipe)
    if isinstance(recipe, Fixed):
        return fixed(recipe)

    def compute(each: Any) -> Any:
        return run_recipe(each, leaf, fixed) if isinstance(each, Leaf | Fixed | Call) else each

    kwargs = {key: mapped((value,), compute)[0] for key, value in recipe.kwargs}
    result: Any = recipe.function(*mapped(recipe.args, compute), **kwargs)
    found: Tensor = result if recipe.part is None else result[recipe.part]
    return found


def has_constants(recipe: Any) -> bool:
    """Whether a recipe, or an argument of one, has constant tensors, which are on the CPU."""
    if isinstance(recipe, Call):
        return has_constants([*recipe.args, *(value for _, value in recipe.kwargs)])
    return any(map(has_constants, recipe)) if isinstance(recipe, list | tuple) else isinstance(recipe, Fixed)


def mapped(values: Any, change: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Arguments of an operation, changed one by one, also within lists."""
    return tuple(
        type(each)(mapped(each, change)) if isinstance(each, list | tuple) else change(each) for each in values
    )
