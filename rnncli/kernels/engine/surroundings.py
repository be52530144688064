"""The values outside of a cell that its code names: globals of its modules, and variables of functions around it."""

import dis
from collections.abc import Iterator
from functools import cache
from types import CellType, CodeType, FunctionType
from typing import Any, NamedTuple

from rnncli.kernels.engine.facts import is_own, own_classes

_ENTRIES = ("step", "project", "forward")
"""The methods of a cell and of its modules that a trace calls."""


class Names(NamedTuple):
    """Names in a function's code and in functions that it defines."""

    read: frozenset[str]
    written: frozenset[str]  # variables outside of the function


class Surroundings(NamedTuple):
    """Where values outside of a cell lie."""

    names: list[tuple[dict[str, Any], str]]  # globals by module
    cells: list[CellType]  # of closures

    def values(self) -> list[Any]:
        """What lies there now."""
        return [scope.get(name) for scope, name in self.names] + list(map(_contents, self.cells))


def surroundings(cell: Any) -> Surroundings:
    """The values that a cell's step and the functions in the same file that it calls name, unless these set them."""
    found = Surroundings([], [])
    modules: list[Any] = list(cell.modules())
    classes = [each for module in modules for each in own_classes(module.__class__)]
    tables: list[Any] = [*map(vars, modules), *map(vars, classes)]
    waiting = [each for kind in classes for name in _ENTRIES for each in _functions(vars(kind).get(name))]
    known: set[FunctionType] = set()
    while waiting:
        function = waiting.pop()
        if function in known or not is_own(function.__module__):
            continue
        known.add(function)
        scope, (read, written) = function.__globals__, _names(function.__code__)
        for name in sorted((read - written) & scope.keys()):
            found.names.append((scope, name))
            waiting += [each for each in _functions(scope[name]) if each.__globals__ is scope]
        for table in tables:
            waiting += [each for name in sorted(read & table.keys()) for each in _functions(table[name])]
        for name, variable in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name not in written:
                found.cells.append(variable)
                waiting += _functions(_contents(variable))
    return found


def _functions(value: Any) -> Iterator[FunctionType]:
    """The function that an attribute is or has; none of other values."""
    if isinstance(value, property | staticmethod | classmethod):
        value = value.fget if isinstance(value, property) else value.__func__
    if isinstance(value, FunctionType):
        yield value


@cache
def _names(code: CodeType) -> Names:
    read, written = set(code.co_names), {i.argval for i in dis.get_instructions(code) if i.opname in _STORES}
    for each in code.co_consts:
        if isinstance(each, CodeType):
            inner = _names(each)
            read, written = read | inner.read, written | inner.written
    return Names(frozenset(read), frozenset(written))


_STORES = ("STORE_GLOBAL", "STORE_DEREF")


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable without a value
        return None
