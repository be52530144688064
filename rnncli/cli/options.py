"""Command-line options made from dataclasses: every field of a task's settings becomes a flag with its help."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_type_hints

import typer

Flags = dict[str, Any]
"""The flags that were given, by field name."""


def command_of(Settings: type, action: Callable[..., None], **common: Any) -> Callable[..., None]:
    """A function for Typer whose flags are the fields of `Settings` and the annotated parameters in `common`.

    It calls `action(flags, **common values)`, where flags holds only what the user gave.
    """
    names = [field.name for field in dataclasses.fields(Settings)]

    def command(**given: Any) -> None:
        flags = {name: given.pop(name) for name in names}
        action({name: _value(value) for name, value in flags.items() if value not in (None, [])}, **given)

    parameters = list(_parameters(Settings)) + [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in common.items()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    command.__doc__ = action.__doc__
    return command


def _parameters(Settings: type) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(Settings)
    for field in dataclasses.fields(Settings):
        flag = "--" + field.name.replace("_", "-")
        kind: Any = hints[field.name]
        choices = field.metadata.get("choices")
        option = typer.Option(
            f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
            help=field.metadata["help"] + (f" [{'|'.join(choices)}]" if choices else ""),
            show_default=_shown(field.default),
            autocompletion=_completion(choices) if choices else None,
        )
        kind = list[str] if kind == tuple[str, ...] else kind
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[kind | None, option],
        )


def _shown(default: Any) -> str | bool:
    if default in (None, (), ""):
        return False
    return {True: "yes", False: "no"}[default] if isinstance(default, bool) else str(default)


def _completion(choices: tuple[str, ...]) -> Callable[[str], list[str]]:
    return lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)]


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
