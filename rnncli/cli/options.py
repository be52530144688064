"""Command-line options made from dataclasses: every field of a task's settings becomes a flag with its help."""

import dataclasses
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, get_type_hints

import typer

from rnncli.cli.completing import completion
from rnncli.cli.helped import HelpedCommand
from rnncli.cli.spellings import Formerly
from rnncli.settings import flag_of
from rnncli.training.settings import default_owner

Flags = dict[str, Any]
"""The flags that the user gave, by field name."""


def command_of(
    Settings: type, action: Callable[..., None], *, without: Collection[str] = (), **common: Any
) -> Callable[..., None]:
    """A function for Typer whose flags are the fields of `Settings` and the annotated parameters in `common`.

    Fields in `without` have no flag; for a name in `common`, `common` takes precedence over a field. The function
    calls `action(flags, **common values)`, where flags holds only what the user gave.
    """
    names = [field.name for field in _settable(Settings) if field.name not in {*without, *common}]

    def command(**given: Any) -> None:
        flags = {name: given.pop(name) for name in names}
        action({name: _value(value) for name, value in flags.items() if value not in (None, [])}, **given)

    parameters = [each for each in _parameters(Settings) if each.name in names] + [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in common.items()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # Typer reads it
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    command.__doc__ = action.__doc__
    command.expert = frozenset(  # type: ignore[attr-defined]  # `Verb.build` reads it
        each.name for each in _settable(Settings) if each.name in names and each.metadata.get("expert")
    )
    return command


def union_of(kinds: Iterable[type]) -> type:
    """A dataclass with the options of all these classes; the first class decides on an option of several.

    If the defaults of an option differ, its help says so. Its text is that of the most general class with the option.
    """
    several = list(dict.fromkeys(kinds))
    if len(several) == 1:
        return several[0]
    found: dict[str, list[tuple[type, Any]]] = {}
    for kind in several:
        for each in _settable(kind):
            found.setdefault(each.name, []).append((kind, each.default))
    return dataclasses.make_dataclass(
        "Options", [(name, *_declared(name, owners)) for name, owners in found.items()], kw_only=True
    )


def _declared(name: str, owners: Sequence[tuple[type, Any]]) -> tuple[Any, Any]:
    """The type and the field of an option of several classes."""
    first, default = owners[0]
    general = next(each for each in dataclasses.fields(_first_named_in(first, name)) if each.name == name)
    metadata = dict(general.metadata)
    if any(other != default for _, other in owners):
        default, metadata["help"] = None, f"{metadata['help']} (default: the task's)"
    return get_type_hints(first)[name], dataclasses.field(default=default, metadata=metadata)


def command_class(Settings: type) -> type[HelpedCommand]:
    """The class of a command whose flags are the fields of `Settings`.

    A flag that is both a switch and a choice needs no value, and has a form `--no-…`: its words are completed before
    Typer, which has no such flags, reads them.
    """
    switches = {
        flag_of(each.name): each.metadata["switch"] for each in _settable(Settings) if "switch" in each.metadata
    }

    class Command(HelpedCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            return super().parse_args(ctx, _with_values(args, switches))

    return Command


def _with_values(words: Sequence[str], switches: Mapping[str, tuple[str, str]]) -> list[str]:
    """The command line with a value for every switch."""
    negative = {f"--no-{flag[2:]}": f"{flag}={off}" for flag, (off, _) in switches.items()}
    valued = []
    for word, following in zip(words, (*words[1:], "--"), strict=False):
        if word in switches and following.startswith("-"):
            word = f"{word}={switches[word][1]}"
        valued.append(negative.get(word, word))
    return valued


def each_of(values: Iterable[str]) -> tuple[str, ...]:
    """The parts of a repeated flag's values, each of which may also be a comma-separated list."""
    return tuple(part.strip() for value in values for part in value.split(","))


def cells_of(values: Iterable[str]) -> tuple[str, ...]:
    """The cells that a repeated flag names; commas separate them, except in the path of a file."""
    return tuple(cell for value in values for cell in ([value] if ".py:" in value else each_of([value])))


def words_of(flags: Mapping[str, Any]) -> list[str]:
    """Flags by name as the words of a command line."""
    words = []
    for name, value in flags.items():
        flag = flag_of(name)
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        else:
            words += [word for each in (value if isinstance(value, tuple) else (value,)) for word in (flag, str(each))]
    return words


def with_stdin(flags: Flags) -> Flags:
    """The flags of texts; `-` as the only text means the lines of standard input."""
    return {**flags, "file": "-", "texts": ()} if flags.get("texts") == ("-",) and "file" not in flags else flags


def _parameters(Settings: type) -> Iterator[inspect.Parameter]:
    """The flags of a settings class, its own before those that it shares with others."""
    hints = get_type_hints(Settings)
    fields = _settable(Settings)
    origin = {field.name: _first_named_in(Settings, field.name) for field in fields}
    for field in sorted(fields, key=lambda field: Settings.__mro__.index(origin[field.name])):
        flag = flag_of(field.name)
        kind: Any = hints[field.name]
        choices = field.metadata.get("choices")
        if field.metadata.get("argument"):
            kind = list[str] if kind == tuple[str, ...] else kind
            words = Annotated[kind | None, typer.Argument(metavar=field.name.upper(), help=field.metadata["help"])]
            yield inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=words)
            continue
        option = typer.Option(
            f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
            help=_help(field, choices, default_owner(Settings, field.name)),
            autocompletion=completion(choices or field.metadata.get("suggest", ())),
            rich_help_panel=getattr(origin[field.name], "panel", None),
        )
        kind = list[str] if kind == tuple[str, ...] else kind
        formerly = Formerly(tuple(map(flag_of, field.metadata.get("formerly", ()))))
        annotation = Annotated[kind | None, option, formerly]
        yield inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _settable(Settings: type) -> "list[dataclasses.Field[Any]]":
    """The fields that a user can set: those declared with a help."""
    return [field for field in dataclasses.fields(Settings) if "help" in field.metadata]


def _first_named_in(Settings: type, name: str) -> type:
    """The most general class that has the field."""
    return next(each for each in reversed(Settings.__mro__) if name in getattr(each, "__annotations__", {}))


def _help(field: "dataclasses.Field[Any]", choices: Collection[str] | None, owner: str) -> str:
    text = field.metadata["help"]
    if choices:
        text = f"{text.rstrip('.')}: {', '.join(choices)}."
    if field.default in (None, (), ""):
        return str(text)
    if owner:
        return f"{text} (default: that of the {owner})"
    default = field.default
    if isinstance(default, bool):
        default = "yes" if default else "no"
    elif isinstance(default, tuple):
        default = ", ".join(default)
    elif isinstance(default, float):
        default = f"{default:g}"
    return f"{text} (default: {default})"


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
