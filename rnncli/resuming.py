"""What may change when a run is resumed: some settings, and the places of its texts, but not what they say."""

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any

from rnncli.data.corpora import CORPORA, is_absolute, unlabelled
from rnncli.errors import UsageError
from rnncli.settings import flag_of
from rnncli.training.settings import RecurrentSettings


def allowed_changes(before: RecurrentSettings, changes: Mapping[str, Any], run: str) -> dict[str, Any]:
    """The changes of a run's settings, with absolute paths of texts.

    A text may lie at another place; whether it says the same is for the caller to check. Raises UsageError for a
    setting that cannot change within a run, and for a text that is no longer at its place.
    """
    limits, texts = {each.name: each.metadata for each in fields(before)}, before.texts
    moved = {name: _absolute(before, changes[name]) for name in texts.keys() & changes.keys()}
    after = replace(before, **moved)
    for name in moved:
        if not _may_be_same(texts[name], after.texts[name]):
            raise UsageError(
                f"{flag_of(name)} is not that of run {run}: give the same, in the same order, or start a new run"
            )
    for name, value in changes.items():
        was, flag = getattr(before, name), flag_of(name)
        if name not in texts and value != was and not limits[name].get("resumable"):
            raise UsageError(
                f"{flag} cannot change when a run is resumed: it was {was}, not {value}; "
                f"leave {flag} out, or start a new run"
            )
    for name, path in after.lost_texts.items():
        raise UsageError(f"a text of run {run} is no longer at {path}: give {flag_of(name)} with its new place")
    return {**changes, **moved}


def _absolute(config: RecurrentSettings, value: Any) -> Any:
    return config.absolute(value) if isinstance(value, str) else tuple(map(config.absolute, value or ()))


def _may_be_same(before: Collection[str], after: Collection[str]) -> bool:
    """Whether texts can be the same: they are named alike, or come from files and folders."""
    pairs = zip(before, after, strict=False)
    return len(before) == len(after) and all(
        was == now or (is_absolute(was) and unlabelled(now) not in CORPORA) for was, now in pairs
    )
