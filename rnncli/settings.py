"""Settings: how a dataclass declares options and their limits, and how checkpoints store them."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_type_hints

from rnncli.errors import UsageError, warn
from rnncli.kinds import as_kind

DEVICES = ("auto", "cpu", "cuda", "mps")
"""The choices of `--device`."""


def option(default: Any, help: str, **limits: Any) -> Any:
    """Declare a dataclass field that a user can set.

    Limits:

    - `choices`; `above` and `below` (exclusive); `least` and `most` (inclusive)
    - `resumable`: may change when a run is resumed
    - `text`: names texts, which may lie at another place when a run is resumed
    - `shape`: determines the shapes of a model's weights
    - `suggest`: values for the shell's completion, or a function that returns them
    - `argument`: given without a flag
    - `expert`: listed only by `--help-all`
    - `switch`: the choices that false and true mean, for `--no-x`, a bare `--x`, TOML and older checkpoints
    - `legacy_default`: the value of checkpoints that are older than the field, if it is not the default
    - `formerly`: earlier names of the field, which still work (`respelled`)
    - `whole`: the field that a whole number is meant for (`respelled`)
    - `instead_of`: fields of which only one can be set (`overlay`)
    - `renamed`: current choices by their earlier names
    """
    return dataclasses.field(default=default, metadata={"help": help, **limits})


def retuned(Settings: Any, name: str, default: Any) -> Any:
    """Declare an inherited field with another default; it keeps its help and limits."""
    inherited = next(field for field in dataclasses.fields(Settings) if field.name == name)
    return dataclasses.field(default=default, metadata=inherited.metadata)


def flag_of(name: str) -> str:
    """The flag of a setting."""
    return "--" + name.replace("_", "-")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question for the known name that is most like another one; empty if none is."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def respelled(Settings: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A user's settings under their current names; an RnnWarning for each earlier spelling.

    Raises UsageError if a field is given under two names.
    """
    fields, current = dataclasses.fields(Settings), dict(values)
    for each in fields:
        for old in set(each.metadata.get("formerly", ())) & values.keys() - {field.name for field in fields}:
            if each.name in values:
                raise UsageError(f"{old} is now called {each.name}: give it once")
            warn_renamed(old, each.name)
            current[each.name] = current.pop(old)
    for name, meant, number in _whole_numbers(Settings, current):
        flag, replacing = flag_of(name), flag_of(meant)
        if values.get(meant) not in (None, 0, number):
            raise UsageError(f"{flag} {number} is now called {replacing} {number}: give one of them")
        warn_renamed(f"{flag} {number}", f"{replacing} {number}")
        current |= {name: 0.0, meant: number}
    return current


def _whole_numbers(Settings: type[Any], values: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Settings with a whole number above 0 that another setting takes now: name, the other's name, number."""
    for each in dataclasses.fields(Settings):
        value: Any = values.get(each.name)
        if "whole" in each.metadata and type(value) in (int, float) and value >= 1 and value % 1 == 0:
            yield each.name, each.metadata["whole"], int(value)


def overlay(Settings: type[Any], values: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """Override `values` by those of `layer`; a field that it sets makes the fields `instead_of` it 0.

    Raises UsageError if the layer sets two of such fields.
    """
    laid = dict(values)
    for each in dataclasses.fields(Settings):
        excluded = set(each.metadata.get("instead_of", ())) - {each.name}
        if each.name not in layer or not excluded:
            continue
        conflicting = [flag_of(name) for name in (each.name, *sorted(excluded)) if layer.get(name)]
        if len(conflicting) > 1:
            raise UsageError(f"{conflicting[0]} and {conflicting[1]} exclude each other: give one of them")
        laid |= dict.fromkeys(excluded, 0)
    return laid | dict(layer)


def warn_renamed(old: str, name: str) -> None:
    """Issue the RnnWarning of an old spelling."""
    warn(f"{old} is now called {name}")


def check_limits(settings: Any) -> None:
    """Check every field of a settings dataclass against its declared limits; raises UsageError for the first fault."""
    if getattr(settings, "schedule", None) == "plateau" and not settings.patience:
        raise UsageError("--schedule plateau needs --patience: validations without gain before the learning rate drops")
    if getattr(settings, "epochs", None) == 0 and not settings.max_time:
        raise UsageError("--epochs 0 trains until --max-time is over: add --max-time")
    for field in dataclasses.fields(settings):
        value, limits = getattr(settings, field.name), field.metadata
        flag = flag_of(field.name)
        if value is None:
            continue
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{flag} must be a finite number, not {value}")
        if "choices" in limits and value not in limits["choices"]:
            raise UsageError(f"{flag} must be one of {', '.join(limits['choices'])}, not {value!r}")
        if "above" in limits and not value > limits["above"]:
            raise UsageError(f"{flag} must be above {limits['above']}, not {value}")
        if "below" in limits and not value < limits["below"]:
            raise UsageError(f"{flag} must be below {limits['below']}, not {value}")
        if "least" in limits and value < limits["least"]:
            raise UsageError(f"{flag} must be at least {limits['least']}, not {value}")
        if "most" in limits and value > limits["most"]:
            raise UsageError(f"{flag} must be at most {limits['most']}, not {value}")


def plain(settings: Any) -> dict[str, Any]:
    """Settings as plain values, for a checkpoint's header."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(settings).items()
    }


def canonical(Config: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values with current choices: a `switch` given as true or false, or a `renamed` choice, becomes its choice."""
    limits = {each.name: each.metadata for each in dataclasses.fields(Config)}
    switches = {name: each["switch"] for name, each in limits.items() if "switch" in each}
    renamed = {name: each["renamed"] for name, each in limits.items() if "renamed" in each}
    found = {}
    for name, value in values.items():
        if name in switches and isinstance(value, bool):
            value = switches[name][value]
        elif name in renamed and isinstance(value, str):
            value = renamed[name].get(value, value)
        found[name] = value
    return found


def from_plain(Config: type[Any], values: Mapping[str, Any]) -> Any:
    """Settings from a checkpoint's header, without those that this version does not know.

    Raises UsageError for a value of the wrong type.
    """
    fields = dataclasses.fields(Config)
    legacy_default = {
        each.name: each.metadata["legacy_default"] for each in fields if "legacy_default" in each.metadata
    }
    kinds, names = get_type_hints(Config), {each.name for each in fields}
    known = canonical(Config, {name: value for name, value in values.items() if name in names})
    stored = {name: as_kind(value, kinds[name], f"setting {name}") for name, value in known.items()}
    for name, meant, number in list(_whole_numbers(Config, stored)):
        stored |= {name: 0.0, meant: number}
    return Config(**{**legacy_default, **Config.upgrade(stored)})
