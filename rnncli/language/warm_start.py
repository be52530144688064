"""`--init-from`: a language model starts from another model's weights, with its shape, vocabulary and voices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from rnncli.cells.outside import cell_again, loaded, outside
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

    init_from: str | None = option(
        None,
        "Start from a run, folder or file of the task: its weights and shape; its vocabulary grows.",
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
        if name == "cell" and (code := outside(value)):
            loaded(code)  # the user has named it, and not only the model to start from
            cell_again(theirs[name], start.found.header, value, file)
        elif value != theirs[name]:
            flag = flag_of(name)
            raise UsageError(f"{flag} is {theirs[name]} in {file}, not {value}: leave {flag} out, or --init-from")
    return replace(config, init_from=str(file))


class Start(NamedTuple):
    """The model to start from."""

    found: "Checkpoint"
    file: Path  # absolute
    config: Any

    @property
    def payload(self) -> Mapping[str, Any]:
        """What its checkpoint keeps next to the weights."""
        payload: Mapping[str, Any] = self.found.header["payload"]
        return payload

    @property
    def codec(self) -> "Codec":
        """How it numbers tokens."""
        from rnncli.data.codec import Codec

        return Codec.of(self.payload, is_running=getattr(self.config, "running", False))

    def check_voices(self, labels: tuple[str, ...]) -> None:
        """Raise UsageError where it knows other voices than these."""
        known = self.codec.labels
        if set(known) != set(labels):
            wanted = f"the corpora {', '.join(known)}" if known else "--no-voices"
            raise UsageError(f"{self.file} knows other voices: go on with {wanted}")

    def give_weights(self, model: Any, tokens: Sequence[str]) -> str:
        """Give its weights to a model over its own tokens and new ones; say what it knows. Raises as `copy_weights`."""
        from rnncli.models.warm_start import copy_weights
        from rnncli.training.loop import below

        copy_weights(model, below("model", self.found.tensors))
        known = len(self.payload["vocabulary"])
        said = f"starts from {self.file}: {known:,} tokens known"
        if not self.config.grows:
            return f"{said}; no others can be added, new ones are UNKNOWN"
        new = tokens[known:]
        names = ", ".join(map(repr, new[:MAX_SHOWN])) + (", …" if len(new) > MAX_SHOWN else "")
        return f"{said}, {len(new):,} new, at first as their mean: {names}" if new else f"{said}, none is new"


def start_of(config: StartedSettings) -> Start | None:
    """Return the model that the settings start from, or None; only the caller keeps it. Raises as `read_model`."""
    if config.init_from is None:
        return None
    start = _open(config.init_from, type(config))
    _last_read.clear()
    return start


_last_read = dict[tuple[type, str, int, int], Start]()
"""The model that was read last: to resolve settings, to settle them and to build reads its file once."""


def _open(source: str, Config: type, task: str | None = None) -> Start:
    """Read the model to start from; raises as `read_model` and `check_header`."""
    from rnncli.restoring import check_header
    from rnncli.training.runs import read_model

    file = Path(source)
    if file.is_absolute() and file.is_file() and (known := _last_read.get(_key(Config, file))):
        return known
    found, file = read_model(source, task)
    start = Start(found, file.absolute(), check_header(Config, KEEPS, found.header, file))
    _last_read.clear()
    return _last_read.setdefault(_key(Config, start.file), start)


def _key(Config: type, file: Path) -> tuple[type, str, int, int]:
    status = file.stat()
    return Config, str(file), status.st_mtime_ns, status.st_size
