"""Kinds of values: whether a value has the type that a field or an argument declares, and that type in words."""

import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from rnncli.errors import UsageError
from rnncli.terminal import escaped

P = ParamSpec("P")
R = TypeVar("R")

_WORDS: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "truth values"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    Path: ("a path", "paths"),
    NoneType: ("None", "None"),
    Callable: ("a function", "functions"),
    type: ("a class", "classes"),
}
"""Kinds in words: one, and several."""


def has_kind(value: object, kind: Any) -> bool:
    """Whether a value has a type; numbers of numpy are numbers, arrays are sequences, and a text is no list of texts.

    Items of an iterator are not looked at, since that would use them up. A type that is unknown here fits everything.
    """
    if type(value) is kind:
        return True
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return any(has_kind(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is Callable:
        return callable(value)
    if origin in (int, float):
        number = isinstance(value, Integral if origin is int else Real) and not isinstance(value, bool)
        return number and not (origin is float and isinstance(value, int) and abs(value) > sys.float_info.max)
    if origin in (tuple, Iterable, Sequence):
        return _is_list(value, origin) and (
            not isinstance(value, Collection) or all(has_kind(each, parts[0]) for each in value)
        )
    return isinstance(value, origin) if isinstance(origin, type) and origin is not Any else True


def _is_list(value: object, kind: Any) -> bool:
    if isinstance(value, str | bytes | bytearray | Mapping) or getattr(value, "ndim", 1) == 0:
        return False
    return isinstance(value, kind) or (kind is Sequence and hasattr(value, "__getitem__") and hasattr(value, "__len__"))


def in_words(kind: Any, number: int = 1) -> str:
    """A type as an error names it: `a whole number, text or None`."""
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        *others, last = (in_words(part, number) for part in parts)
        return f"{', '.join(others)} or {last}"
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin in (tuple, Iterable, Sequence):
        return f"{'a list' if number == 1 else 'lists'} of {in_words(parts[0], 2)}"
    name = getattr(origin, "__name__", str(origin))
    return _WORDS.get(origin, (f"a {name}", f"{name}s"))[number > 1]


def check_kind(value: object, kind: Any, where: str) -> None:
    """Raise UsageError, which names the place (`where`) and what it takes, for a value of another type."""
    if not has_kind(value, kind):
        shown = escaped(repr(value), one_line=True)
        raise UsageError(f"{where} must be {in_words(kind)}, not {shown if len(shown) <= 80 else f'{shown[:79]}…'}")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """A function that raises UsageError for an argument of another type than its signature declares."""
    signature = inspect.signature(function)

    def declared(arguments: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
        for name, value in arguments.items():
            parameter = signature.parameters[name]
            if parameter.annotation is parameter.empty or parameter.kind is parameter.VAR_KEYWORD:
                continue
            for each in value if parameter.kind is parameter.VAR_POSITIONAL else [value]:
                yield name, each, parameter.annotation

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return function(*args, **kwargs)  # Python names what is missing or too much
        for name, value, kind in declared(given):
            check_kind(value, kind, f"{function.__name__}: {name}")
        return function(*args, **kwargs)

    return call


def plain_value(value: Any) -> Any:
    """A value from Python as TOML has it: numbers of numpy and torch become plain ones, paths text, iterables lists."""
    if getattr(value, "ndim", None) == 0:
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str | type):
        return value
    return list(map(plain_value, value)) if _is_list(value, Iterable) else value


def as_kind(value: Any, kind: Any, where: str) -> Any:
    """A plain value as a field's type; a float accepts a whole number, a list a single text, a path text.

    Raises UsageError, which names the place (`where`), for a value of another type.
    """
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if value is None and NoneType in kinds:
        return None
    kind = Union[tuple(each for each in kinds if each is not NoneType)]  # noqa: UP007  # of a list known only here
    if kind == tuple[str, ...] and has_kind(value, str | Sequence[str]):
        value = (value,) if isinstance(value, str) else tuple(value)
    if kind is Path and isinstance(value, str):
        value = Path(value)
    check_kind(value, kind, where)
    return float(value) if kind is float else value
