"""Combine a task's settings: its defaults, a preset, a TOML file, and the user's flags."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from rnncli.cells import cell_class, use_cell
from rnncli.errors import UsageError
from rnncli.kinds import as_kind
from rnncli.settings import canonical, check_limits, did_you_mean, overlay, respelled
from rnncli.sizes import Sized, sized
from rnncli.task import Task
from rnncli.training.settings import RecurrentSettings, check_used, untuned, unused, with_own_defaults


def resolve(
    task: Task, flags: Mapping[str, Any], preset: str | None = None, file: Path | None = None
) -> RecurrentSettings:
    """Combine a task's settings: its defaults, then the preset, then the TOML file, then the flags.

    Without a preset, a small text has its own defaults. If the settings name a model to start from, its shape replaces
    the defaults. Defaults tuned for one optimizer or schedule do not apply to another, which has its own.

    Raises UsageError for an unknown preset, key or value, and for a setting that would have no effect.
    """
    listed = {} if file is None else _read_toml(file, task.Config)
    if flags.get("cell"):  # only here is a cell's code from outside run: no file of settings names it
        flags = {**flags, "cell": use_cell(flags["cell"])}
    chosen = overlay(task.Config, listed, respelled(task.Config, canonical(task.Config, flags)))
    preset = preset or task.implied_preset(chosen)
    if preset is not None and preset not in task.presets:
        known = ", ".join(task.presets) or "none"
        raise UsageError(f"{task.name} has no preset {preset!r}: it has {known}")
    values: dict[str, Any] = {each.name: each.default for each in dataclasses.fields(task.Config)}
    starts = bool(chosen.get("init_from"))
    if starts and task.inherited:
        if chosen.get("init", "default") != "default":
            raise UsageError("--init-from and --init both set the initial weights: leave one of them out")
        inherited = task.inherited(chosen["init_from"])
        values, chosen = {**values, **inherited}, chosen | {"init_from": inherited["init_from"]}
    size = size_of(task, {**values, **chosen}, preset)
    for layer in (size.defaults if size else {}, task.presets[preset] if preset else {}, chosen):
        values = overlay(task.Config, with_own_defaults(values, layer), layer)
    if values.get("weight_drop") and "weight_drop" not in chosen and not cell_class(values["cell"]).recurrent:
        values["weight_drop"] = 0.0  # a default or a preset adapts to a cell without recurrent matrices
    settings = task.Config(**values | ({"init": "default"} if starts else {}))
    check_limits(settings)
    check_used(settings, chosen)
    if settings.bptt and not task.Config.truncates:
        raise UsageError(f"{task.name} reads whole sequences: leave --bptt out")
    return settings


def size_of(task: Task, settings: Mapping[str, Any], preset: str | None) -> Sized | None:
    """Return the size of a small text, if its defaults apply: without a preset, and without a model to start from."""
    if preset or settings.get("init_from") or not task.by_size:
        return None
    return sized(task.by_size, settings["corpus"] or task.default_corpus)


def remarks_on(task: Task, settings: RecurrentSettings, preset: str | None) -> list[str]:
    """Remarks on settings: what to expect from an unchanged preset, and which settings do not suit the defaults."""
    preset = preset or task.implied_preset(dataclasses.asdict(settings))
    stated = task.presets[preset] if preset else {}
    own = preset and all(getattr(settings, name) == value for name, value in stated.items())
    tuned = {each.name: each.default for each in dataclasses.fields(task.Config)} | dict(stated)
    remarks = [task.notes.get(preset, "") if own and preset else "", untuned(settings, tuned)]
    return [remark for remark in remarks if remark]


def to_toml(task: Task, settings: RecurrentSettings) -> str:
    """Write settings as a file for `--config`, which gives the same settings again.

    It leaves out a device, backend and precision that this machine chose, and what the optimizer and schedule ignore.
    """
    ignored = unused(settings)
    lines = [f"# rnn train {task.name} --config FILE"]
    for each in dataclasses.fields(settings):
        value = getattr(settings, each.name)
        chosen_here = each.name in ("device", "backend", "precision") and value == "auto"
        if value is not None and not chosen_here and each.name not in ignored:
            lines.append(f"{each.name.replace('_', '-')} = {_toml_value(value)}")
    return "\n".join(lines) + "\n"


def _toml_value(value: str | float | bool | tuple[str, ...]) -> str:
    """A value in TOML, whose strings and numbers are those of JSON, except that DEL is escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _instead(name: str, known: Iterable[str]) -> str:
    """What to do instead of naming a setting that does not exist."""
    near = did_you_mean(name.replace("_", "-"), [each.replace("_", "-") for each in known])
    return near or "`rnn train TASK --help-all` lists them"


def _read_toml(file: Path, Config: type[RecurrentSettings]) -> dict[str, Any]:
    """Settings from a TOML file of `name = value` lines, with dashes or underscores; raises UsageError."""
    import tomllib

    try:
        table = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"cannot read --config {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {file} is not TOML: {error}") from None
    kinds = get_type_hints(Config)
    values = {}
    keys = {key.replace("-", "_"): key for key in table}
    for name, value in respelled(Config, {name: table[key] for name, key in keys.items()}).items():
        key = keys.get(name, name)
        if name not in {each.name for each in dataclasses.fields(Config)}:
            raise UsageError(f"--config {file}: there is no setting {key!r}: {_instead(name, kinds)}")
        value = canonical(Config, {name: value})[name]
        size = kinds[name] is str and type(value) is int
        values[name] = as_kind(str(value) if size else value, kinds[name], f"--config {file}: {key}")
    return values
