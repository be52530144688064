"""What may change when a run is resumed: some settings, and the places of its texts, but not what they say."""

from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from rnncli.data.corpora import CORPORA, exists, unlabelled
from rnncli.errors import UsageError
from rnncli.settings import flag_of


def allowed_changes(before: Any, changes: Mapping[str, Any], run: str) -> dict[str, Any]:
    """The changes of a run's settings, with absolute paths of texts.

    A text may lie at another place; whether it says the same is for the caller to check. Raises UsageError for a
    setting that cannot change within a run, and for a text that is no longer at its place.
    """
    limits, texts = {each.name: each.metadata for each in fields(before)}, text_options(before)
    allowed = dict(changes)
    for name, value in changes.items():
        was, flag = getattr(before, name), flag_of(name)
        if name in texts:
            allowed[name] = now = _absolute(before, value)
            if not _may_be_same(_specs(was), _specs(now)):
                raise UsageError(
                    f"{flag} is not that of run {run}: give the same, in the same order, or start a new run"
                )
        elif value != was and not limits[name].get("resumable"):
            raise UsageError(
                f"{flag} cannot change when a run is resumed: it was {was}, not {value}; "
                f"leave {flag} out, or start a new run"
            )
    for name in texts - changes.keys():
        for path in map(unlabelled, _specs(getattr(before, name))):
            if _is_path(path) and not exists(path):
                raise UsageError(f"a text of run {run} is no longer at {path}: give {flag_of(name)} with its new place")
    return allowed


def text_options(config: Any) -> set[str]:
    """The names of the settings that name texts."""
    return {each.name for each in fields(config) if each.metadata.get("text")}


def _specs(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _absolute(config: Any, value: Any) -> Any:
    return config.absolute(value) if isinstance(value, str) else tuple(map(config.absolute, value or ()))


def _may_be_same(before: Collection[str], after: Collection[str]) -> bool:
    """Whether texts can be the same: they are named alike, or come from files and folders."""
    pairs = zip(before, after, strict=False)
    return len(before) == len(after) and all(
        was == now or (_is_path(was) and unlabelled(now) not in CORPORA) for was, now in pairs
    )


def _is_path(spec: str) -> bool:
    return Path(unlabelled(spec)).is_absolute()
