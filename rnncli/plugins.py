"""Registries of objects by name: those of rnn, and those of other installed packages (entry points)."""

import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from rnncli.launch import LAUNCHED
from rnncli.terminal import write_message

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

PREFIX = "rnncli."
"""The prefix of every entry-point group that rnn reads."""


class Registry(MutableMapping[str, T]):
    """Objects by name: those of rnn, then those of the entry points in a group such as `rnncli.tasks`.

    Looking up one of rnn's own names imports no other package. Looking up another name, or listing all names, loads
    the entry points. An entry point that fails, is not of the registry's `kind`, or uses a name that is taken is left
    out with one warning on standard error. `registry["mine"] = value` adds an object in this process only.
    """

    _objects: dict[str, T | str]

    def __init__(self, group: str, kind: type, own: Mapping[str, T | str]) -> None:
        """`own` holds rnn's own objects; a string `module:attribute` is imported when it is looked up."""
        self._group, self._kind, self._objects, self._complete = group, kind, dict(own), False

    def __getitem__(self, name: str) -> T:
        if name not in self._objects:
            self._complete_once()
        value = self._objects[name]
        if isinstance(value, str):
            module, _, attribute = value.partition(":")
            value = self._objects[name] = cast("T", getattr(import_module(module), attribute))
        return value

    def __contains__(self, name: object) -> bool:
        """Whether there is an object of that name; imports none of rnn's own."""
        if name not in self._objects:
            self._complete_once()
        return name in self._objects

    def __setitem__(self, name: str, value: T) -> None:
        self._objects[name] = value

    def __delitem__(self, name: str) -> None:
        del self._objects[name]

    def is_pending(self, name: str) -> bool:
        """Whether one of rnn's own objects is not imported yet."""
        return isinstance(self._objects.get(name), str)

    def __iter__(self) -> Iterator[str]:
        self._complete_once()
        return iter(list(self._objects))

    def __len__(self) -> int:
        self._complete_once()
        return len(self._objects)

    def _complete_once(self) -> None:
        """Load the entry points, at the first call only; a package may look up names while it loads."""
        if self._complete:
            return
        self._complete = True
        for entry in entries(self._group):
            try:
                value = entry.load()
                self._check(entry.name, value)
            except (Exception, SystemExit) as error:
                package = f" of package {entry.dist.name}" if entry.dist else ""
                warn_left_out(f"{self._group} {entry.name!r}{package}", error)
            else:
                self._objects[entry.name] = value

    def _check(self, name: str, value: object) -> None:
        """Raise TypeError or ValueError for an object that cannot be registered by that name."""
        if not isinstance(value, self._kind):
            raise TypeError(f"it is a {type(value).__name__}, not a {self._kind.__name__}")
        if name in self._objects:
            raise ValueError("this name is taken")
        if getattr(value, "name", name) != name:
            raise ValueError(f"its own name is {getattr(value, 'name', name)!r}")


def entries(group: str) -> "Sequence[EntryPoint]":
    """The entry points of all installed packages in a group.

    Importing `importlib.metadata` takes 25 ms, so it happens only if a package has a group of rnn.
    """
    if not _any_declared():
        return ()
    from importlib.metadata import entry_points

    return tuple(entry_points(group=group))


@cache
def _any_declared() -> bool:
    """Whether any installed package may have an entry point for rnn."""
    return any(map(_has_groups, dict.fromkeys(sys.path)))


def _has_groups(place: str) -> bool:
    """Whether a package in a folder of `sys.path` may have an entry point for rnn; always true for an archive."""
    try:
        with os.scandir(place or ".") as found:
            packages = [Path(each.path) for each in found if each.name.endswith((".dist-info", ".egg-info"))]
    except NotADirectoryError:
        return True
    except OSError:
        return False
    return any(map(_names_group, packages))


def _names_group(package: Path) -> bool:
    try:
        return f"[{PREFIX}".encode() in (package / "entry_points.txt").read_bytes()
    except OSError:
        return False


def warn_left_out(what: str, error: BaseException) -> None:
    """Warn in one line about something that an error leaves out; only one of several processes warns."""
    if LAUNCHED not in os.environ or os.environ.get("RANK") == "0":
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        write_message(f"rnn: warning: {what} is left out: {reason}")
