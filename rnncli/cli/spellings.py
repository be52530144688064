"""Old spellings of flags: each still works, and one line prints the flag that replaced it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from typer.core import TyperCommand
from typer.models import OptionInfo

from rnncli.settings import flag_of, warn_renamed


@dataclass(frozen=True)
class Formerly:
    """The earlier flags of an option, in its annotation next to `typer.Option`.

    A field of a dataclass declares them by `option(..., formerly=("picture",))`.
    """

    flags: tuple[str, ...]


def with_old_spellings(Class: type[TyperCommand], run: Callable[..., None]) -> type[TyperCommand]:
    """The class of a command that also takes the earlier flags of its options."""
    renamed = _renamed(run)
    if not renamed:
        return Class

    class Command(Class):  # type: ignore[valid-type, misc]  # mypy takes no class from an argument
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            words: list[str] = super().parse_args(ctx, _respelled(args, renamed))
            return words

    return Command


def _renamed(run: Callable[..., None]) -> dict[str, str]:
    """The current flag of every earlier one, from the annotations of a verb's function."""
    renamed: dict[str, str] = {}
    for parameter in inspect.signature(run).parameters.values():
        parts = getattr(parameter.annotation, "__metadata__", ())
        declared = next((part.param_decls for part in parts if isinstance(part, OptionInfo)), None)
        flag = (declared or (flag_of(parameter.name),))[0]
        renamed |= {old: flag for part in parts if isinstance(part, Formerly) for old in part.flags}
    return renamed


def _respelled(words: Sequence[str], renamed: Mapping[str, str]) -> list[str]:
    """A command line with current flags, up to `--`; each earlier flag gives an RnnWarning."""
    end = words.index("--") if "--" in words else len(words)
    current = []
    for word in words[:end]:
        flag, equals, value = word.partition("=")
        if flag in renamed:
            warn_renamed(flag, renamed[flag])
            word = f"{renamed[flag]}{equals}{value}"
        current.append(word)
    return [*current, *words[end:]]
