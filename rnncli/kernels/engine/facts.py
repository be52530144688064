"""What a trace depends on: a cell's classes, its attributes by value, shapes of tensors, and values outside of it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_BASES = ("builtins", "abc", "typing", "torch", "rnncli.cells.base")
"""Modules, or packages, of the classes that every cell has."""

TABLES = ("_parameters", "_buffers", "_modules")
"""The attributes of a module that hold its tensors and its modules."""

_CONSTANT: tuple[type, ...] = (
    *(bool, int, float, complex, str, bytes, type(None), type),
    *(FunctionType, BuiltinFunctionType, ModuleType, torch.dtype, torch.device, torch.Size),
)
"""Types of values that never change."""


class Same:
    """An object that equals only itself; it lives as long as this, so that no other object takes its place."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


@cache
def own_classes(cell_class: Any) -> tuple[type, ...]:
    """A class and its bases, without those that every cell has."""
    return tuple(each for each in cell_class.__mro__ if is_own(each.__module__))


def is_own(module: str | None) -> bool:
    """Whether a module is none of those of every cell."""
    return not f"{module}.".startswith(tuple(f"{base}." for base in _BASES))


def held(cell: Any) -> list[Any]:
    """What a cell and its classes hold: objects that are others as soon as an attribute gets another value."""
    found: list[Any] = []
    for module in cell.modules():
        own = vars(module)
        found += own.values()
        found += own["_parameters"].values()
        found += own["_buffers"].values()
        kind: Any = type(module)
        for each in own_classes(kind):
            found += vars(each).values()
    return found


def changing(cell: Any) -> list[Any]:
    """The attributes that may change in place."""
    return [
        value
        for module in cell.modules()
        for name, value in vars(module).items()
        if not isinstance(value, (*_CONSTANT, Tensor)) and name not in TABLES
    ]


def fingerprint(cell: Any, outside: Sequence[Any]) -> Any:
    """A value that is equal for cells with equal traces, with these values outside.

    The cell's tensors count by shape, and by which of them are the same.
    """
    places: dict[int, int] = {}

    def fact(value: Any) -> Any:
        if isinstance(value, Tensor):
            return tuple(value.shape), value.is_floating_point(), places.setdefault(id(value), len(places))
        return None if isinstance(value, nn.Module) else content(value)

    def facts(module: nn.Module) -> Iterator[Any]:
        kind: Any = type(module)
        yield kind
        for name, value in vars(module).items():
            yield name
            yield tuple((key, fact(each)) for key, each in value.items()) if name in TABLES else fact(value)
        for each in own_classes(kind):
            yield tuple(map(Same, vars(each).values()))

    return tuple(tuple(facts(module)) for module in cell.modules()), tuple(map(outside_fact, outside))


def outside_fact(value: Any) -> Any:
    """A value that is equal for equal values outside of a cell; objects count by identity, whatever they contain."""
    return content(value) if isinstance(value, (*_CONSTANT, Tensor, tuple)) else Same(value)


def content(value: Any, seen: tuple[int, ...] = ()) -> Any:
    """A value that is equal for equal contents; that of a tensor changes with each operation in place."""
    if isinstance(value, dict) and not value:  # as most tables of a module are
        return dict
    if isinstance(value, _CONSTANT):
        return type(value), value
    if id(value) in seen or isinstance(value, nn.Module):
        return Same(value)
    if isinstance(value, Tensor):
        return Same(value), 0 if value.is_inference() else value._version  # those of inference mode have none
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    seen += (id(value),)
    if isinstance(value, Mapping):
        return type(value), tuple((content(key, seen), content(each, seen)) for key, each in value.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(content(each, seen) for each in value)
    if isinstance(value, set | frozenset):
        return type(value), frozenset(content(each, seen) for each in value)
    own = getattr(value, "__dict__", None)
    return Same(value) if callable(value) or own is None else (type(value), content(dict(own), seen))
