"""`--init-from`: a language model starts from another model's weights, with its shape, vocabulary and voices."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from rnncli.errors import UsageError
from rnncli.language.settings import LanguageSettings
from rnncli.settings import flag_of, option
from rnncli.training.settings import RecurrentSettings

if TYPE_CHECKING:
    from rnncli.data.codec import Codec
    from rnncli.training.checkpoint import Checkpoint

MAX_SHOWN = 5
"""New tokens that are named."""

KEEPS = dict.fromkeys(("fingerprint", "tokenizer", "vocabulary"))
"""What every language model keeps in its checkpoint's payload."""


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


def shape_of(task: str, Config: type, source: str) -> dict[str, Any]:
    """Return the settings of a model that shape its weights, and its absolute path; raises as `read_model`."""
    start = _open(source, Config, task)
    return {**_shape(start.config), "init_from": str(start.file)}


def _shape(config: RecurrentSettings) -> dict[str, Any]:
    return {each.name: getattr(config, each.name) for each in fields(config) if each.metadata.get("shape")}


def settle_start(config: Settings, task: str) -> Settings:
    """Make the path of the model to start from absolute; raises UsageError where it has another shape or task."""
    if config.init_from is None:
        return config
    if getattr(config, "embeddings", None):
        raise UsageError("--init-from and --embeddings both say where word vectors come from: leave one of them out")
    start = _open(config.init_from, type(config), task)
    theirs, file = _shape(start.config), start.file
    for name, value in _shape(config).items():
        if value != theirs[name]:
            flag = flag_of(name)
            raise UsageError(f"{flag} is {theirs[name]} in {file}, not {value}: leave {flag} out, or --init-from")
    return replace(config, init_from=str(file))


def known_codec(config: StartedSettings) -> "Codec | None":
    """Return the codec of the model to start from, or None where there is none."""
    from rnncli.data.codec import Codec

    if config.init_from is None:
        return None
    payload = _open(config.init_from, type(config)).found.header["payload"]
    return Codec.of(payload, is_running=getattr(config, "running", False))


def check_voices(config: StartedSettings, known: "Codec", labels: tuple[str, ...]) -> None:
    """Raise UsageError where the model to start from knows other voices than the text has."""
    if set(known.labels) != set(labels):
        wanted = f"the corpora {', '.join(known.labels)}" if known.labels else "--no-voices"
        raise UsageError(f"{config.init_from} knows other voices: go on with {wanted}")


def start_from_model(config: StartedSettings, model: Any, payload: Mapping[str, Any]) -> str:
    """Give a model the weights that it is to start from, and say what it knows by them; raises as `copy_weights`."""
    if config.init_from is None:
        return ""
    from rnncli.models.warm_start import copy_weights
    from rnncli.training.loop import below

    found, file, _ = _open(config.init_from, type(config))
    _last_read.clear()  # the weights are needed for the last time
    copy_weights(model, below("model", found.tensors))
    known = len(found.header["payload"]["vocabulary"])
    said = f"starts from {file}: {known:,} tokens known"
    new = payload["vocabulary"][known:]
    if not config.grows:
        return f"{said}; no others can be added, new ones are UNKNOWN"
    names = ", ".join(repr(token) for token in new[:MAX_SHOWN]) + (", …" if len(new) > MAX_SHOWN else "")
    return f"{said}, {len(new):,} new, at first as their mean: {names}" if new else f"{said}, none is new"


class _Start(NamedTuple):
    """The model to start from."""

    found: "Checkpoint"
    file: Path  # absolute
    config: Any


_last_read = dict[tuple[str, int, int], _Start]()
"""The model that was read last, by its file: resolving settings, building and starting read it once."""


def _open(source: str, Config: type, task: str | None = None) -> _Start:
    """Read the model to start from; raises as `read_model` and `check_header`."""
    from rnncli.restoring import check_header
    from rnncli.training.runs import read_model

    file = Path(source)
    if file.is_absolute() and file.is_file() and _stamp(file) in _last_read:
        return _last_read[_stamp(file)]
    found, file = read_model(source, task)
    start = _Start(found, file.absolute(), check_header(Config, KEEPS, found.header, file))
    _last_read.clear()
    return _last_read.setdefault(_stamp(start.file), start)


def _stamp(file: Path) -> tuple[str, int, int]:
    status = file.stat()
    return str(file), status.st_mtime_ns, status.st_size
