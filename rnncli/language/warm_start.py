"""What all language models share that start from another model's weights: its shape, and its vocabulary."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from rnncli.data.vocabulary import Vocabulary
from rnncli.errors import UsageError
from rnncli.language.settings import LanguageSettings
from rnncli.settings import option
from rnncli.training.settings import RecurrentSettings

if TYPE_CHECKING:
    from pathlib import Path

    from rnncli.training.checkpoint import Checkpoint

SHOWN = 5
"""New tokens that are named."""


@dataclass(frozen=True, kw_only=True)
class StartedSettings(LanguageSettings):
    """Settings of a model that may start from another one."""

    panel: ClassVar[str] = "Start"

    init_from: str | None = option(
        None,
        "Start from another model of the task, by file, folder or run: its weights, its shape, and its vocabulary, "
        "which grows by what is new.",
    )

    @property
    def grows(self) -> bool:
        """Whether a vocabulary can be added to."""
        return True


Settings = TypeVar("Settings", bound=StartedSettings)


KEEPS = dict.fromkeys(("fingerprint", "tokenizer", "vocabulary"))
"""What every language model keeps in its checkpoint's payload."""


def shape_of(task: str, Config: type, source: str) -> dict[str, Any]:
    """The settings of a model that say what its weights are; raises as `load_model`."""
    return _shape(_find(source, Config, task).config)


def _shape(config: RecurrentSettings) -> dict[str, Any]:
    return {each.name: getattr(config, each.name) for each in fields(config) if each.metadata.get("shape")}


def settle_start(config: Settings, task: str) -> Settings:
    """The model to start from by a path that lasts; raises UsageError where it is of another shape, or task."""
    if config.init_from is None:
        return config
    if getattr(config, "embeddings", None):
        raise UsageError("--init-from and --embeddings both say where word vectors come from: leave one of them out")
    start = _find(config.init_from, type(config), task)
    theirs, file = _shape(start.config), start.file
    for name, value in _shape(config).items():
        if value != theirs[name]:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} is {theirs[name]} in {file}, not {value}: leave {flag} out, or --init-from")
    return replace(config, init_from=str(file.absolute()))


def known_payload(config: StartedSettings) -> Mapping[str, Any] | None:
    """What the model to start from keeps beside its weights, or None where there is none."""
    if config.init_from is None:
        return None
    payload: Mapping[str, Any] = _find(config.init_from, type(config)).found.header["payload"]
    return payload


def grown(config: StartedSettings, seen: Vocabulary) -> Vocabulary:
    """The vocabulary of the model to start from, and behind it the tokens that are new; without one, those seen."""
    known = known_payload(config)
    if known is None:
        return seen
    vocabulary = Vocabulary(tuple(known["vocabulary"]))
    new = (token for token in seen.words if token not in vocabulary.numbers)
    return Vocabulary((*vocabulary.tokens, *new)) if config.grows else vocabulary


def as_known(config: StartedSettings, labels: list[str]) -> list[str]:
    """The labels of voices in the order of the model to start from; raises UsageError where it knows other ones."""
    payload = known_payload(config)
    if payload is None:
        return labels
    known: list[str] = payload.get("labels", [])
    if set(known) != set(labels):
        wanted = f"the corpora {', '.join(known)}" if known else "--no-voices"
        raise UsageError(f"{config.init_from} knows other voices: go on with {wanted}")
    return known


def start_from_model(config: StartedSettings, model: Any, payload: Mapping[str, Any]) -> str:
    """Give a model the weights that it is to start from, and say what it knows by them; raises as `take_over`."""
    if config.init_from is None:
        return ""
    from rnncli.models.taking_over import take_over
    from rnncli.training.loop import below

    found, file, _ = _find(config.init_from, type(config))
    take_over(model, below("model", found.tensors))
    known = len(found.header["payload"]["vocabulary"])
    said = f"starts from {file}: {known:,} tokens known"
    new = payload["vocabulary"][known:]
    if not config.grows:
        return f"{said}; no others can be added, new ones are UNKNOWN"
    names = ", ".join(repr(token) for token in new[:SHOWN]) + (", …" if len(new) > SHOWN else "")
    return f"{said}, {len(new):,} new, at first as their mean: {names}" if new else f"{said}, none is new"


class _Start(NamedTuple):
    """The model to start from."""

    found: "Checkpoint"
    file: "Path"
    config: Any


def _find(source: str, Config: type, task: str | None = None) -> _Start:
    from rnncli.restoring import check_header
    from rnncli.training.runs import load_model

    found, file, _ = load_model(source, task)
    return _Start(found, file, check_header(Config, KEEPS, found.header, file))
