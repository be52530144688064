"""`--init-from`: a language model starts from another model's weights, with its shape, vocabulary and voices."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from rnncli.errors import UsageError
from rnncli.language.settings import LanguageSettings
from rnncli.warm_start import (
    Declared,
    Start,
    check_same,
    init_from_option,
    open_start,
    shape_settings,
    some_of,
    take_start,
)

KEEPS = dict.fromkeys(("fingerprint", "tokenizer", "vocabulary"))
"""Parts that every language model has in its checkpoint's payload."""


@dataclass(frozen=True, kw_only=True)
class WarmStartSettings(LanguageSettings):
    """Settings of a model that may start from another one."""

    init_from: str | None = init_from_option(
        "Start from a run, folder or file of the same task: its weights, its shape, and its vocabulary, which grows."
    )

    @property
    def grows(self) -> bool:
        """Whether tokens can be added to the vocabulary."""
        return True


Settings = TypeVar("Settings", bound=WarmStartSettings)


def _declared(Config: type) -> Declared:
    return lambda *_: (Config, KEEPS)


def shape_of(task: str, Config: type, source: str) -> dict[str, Any]:
    """Return a model's settings that determine the shapes of its weights, and its path; raises as `open_start`."""
    start = open_start(source, _declared(Config), task)
    return {**shape_settings(start.config), "init_from": str(start.file)}


def resolve_start(config: Settings, task: str) -> Settings:
    """Make the path of the model to start from absolute; raises UsageError if its shape or task differs."""
    if config.init_from is None:
        return config
    start = open_start(config.init_from, _declared(type(config)), task)
    check_same(config, start, shape_settings(start.config))
    return replace(config, init_from=str(start.file))


def start_model(config: WarmStartSettings) -> Start | None:
    """Return the model that the settings start from, or None; raises as `open_start`."""
    return None if config.init_from is None else take_start(config.init_from, _declared(type(config)))


def check_voices(start: Start, labels: tuple[str, ...]) -> None:
    """Raise UsageError if the model's voices are not those of the labels."""
    known = start.codec.labels
    if set(known) != set(labels):
        wanted = f"with the corpora {', '.join(known)}" if known else "with --no-voices"
        raise UsageError(f"{start.file} has other voices: train {wanted}")


def copy_start(start: Start, model: Any, tokens: Sequence[str]) -> str:
    """Copy the weights to a model whose tokens start with those of `start`; returns a note about the tokens.

    Raises as `rnncli.models.warm_start.copy_weights`.
    """
    from rnncli.models.warm_start import copy_weights
    from rnncli.training.loop import below

    copy_weights(model, below("model", start.found.tensors))
    known = len(start.payload["vocabulary"])
    note = f"starts from {start.file}: {known:,} known tokens"
    if not start.config.grows:
        return f"{note}; its vocabulary cannot grow, so new tokens are UNKNOWN"
    new = tokens[known:]
    return f"{note}, {len(new):,} new (initialized to their mean): {some_of(new)}" if new else f"{note}, no new ones"
