"""Settings: how a dataclass declares what a user can set, its limits, and the way to a checkpoint and back."""

import dataclasses
import math
import sys
from collections.abc import Mapping
from types import NoneType
from typing import Any, get_args, get_type_hints

from rnncli.errors import UsageError


def option(default: Any, help: str, **limits: Any) -> Any:
    """Declare a dataclass field that a user can set.

    Limits: `choices`, `above` and `below` (exclusive), `least` and `most` (inclusive), and `resumable` for what may
    change when a run is taken up again; `shape` for what a model's weights hang on; `suggest` names values for the
    shell's completion, and `argument` is a field that is given without a flag; `switch` holds the choices that false
    and true stand for (`--no-x` and `--x` without a value, in TOML, in checkpoints from before there were choices);
    `unsaid` is what a checkpoint means that was written before the field was there, where that is not the default;
    `renamed` maps former names of choices to those of today.
    """
    return dataclasses.field(default=default, metadata={"help": help, **limits})


def retuned(Settings: Any, name: str, default: Any) -> Any:
    """Declare an inherited field anew with another default; its help and limits stay."""
    inherited = next(field for field in dataclasses.fields(Settings) if field.name == name)
    return dataclasses.field(default=default, metadata=inherited.metadata)


def flag_of(name: str) -> str:
    """The flag of a setting."""
    return "--" + name.replace("_", "-")


def check_limits(settings: Any) -> None:
    """Hold every field of a settings dataclass against its declared limits; raises UsageError at the first breach."""
    if getattr(settings, "schedule", None) == "plateau" and not settings.patience:
        raise UsageError("--schedule plateau needs --patience: validations without gain before the learning rate drops")
    if getattr(settings, "epochs", None) == 0 and not settings.max_time:
        raise UsageError("--epochs 0 trains until --max-time is over: give it")
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
    """Values by the names of today: a `switch` given as true or false, and a `renamed` choice, become the choice."""
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
    """Settings back from a checkpoint's header, without those that this version does not know.

    Raises UsageError for a value of the wrong type.
    """
    fields = dataclasses.fields(Config)
    unsaid = {each.name: each.metadata["unsaid"] for each in fields if "unsaid" in each.metadata}
    kinds, names = get_type_hints(Config), {each.name for each in fields}
    known = canonical(Config, {name: value for name, value in values.items() if name in names})
    stored = {name: as_kind(value, kinds[name], f"setting {name}") for name, value in known.items()}
    return Config(**{**unsaid, **Config.upgrade(stored)})


def as_kind(value: Any, kind: Any, where: str) -> Any:
    """A value of TOML or JSON as a field's type: a whole number serves as a float, one string as a list of one.

    Raises UsageError, which says where it stands, for a value of another type.
    """
    if NoneType in get_args(kind):
        if value is None:
            return None
        kind = next(each for each in get_args(kind) if each is not NoneType)
    if kind is float and type(value) is int and abs(value) <= sys.float_info.max:
        return float(value)
    if kind == tuple[str, ...]:
        listed = value if isinstance(value, list) else [value]
        if all(isinstance(item, str) for item in listed):
            return tuple(listed)
    elif type(value) is kind:
        return value
    wanted = {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "text")
    raise UsageError(f"{where} must be {wanted}, not {value!r}")
