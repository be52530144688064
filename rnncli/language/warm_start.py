"""`--init-from`: a language model starts from another model's weights, with its shape, vocabulary and voices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from rnncli.cells.outside import cell_again, loaded, outside_cell
from rnncli.data.text import visible
from rnncli.errors import UsageError
from rnncli.language.settings import LanguageSettings
from rnncli.settings import flag_of, option
from rnncli.training.settings import RecurrentSettings

if TYPE_CHECKING:
    from rnncli.data.codec import Codec
    from rnncli.training.checkpoint import Checkpoint

MAX_SHOWN = 5
"""Maximum number of new tokens in the note."""

KEEPS = dict.fromkeys(("fingerprint", "tokenizer", "vocabulary"))
"""Parts that every language model has in its checkpoint's payload."""


def _run_names() -> list[str]:
    from rnncli.training.runs import run_names

    return run_names()


@dataclass(frozen=True, kw_only=True)
class WarmStartSettings(LanguageSettings):
    """Settings of a model that may start from another one."""

    init_from: str | None = option(
        None,
        "Start from a run, folder or file of the same task: its weights, its shape, and its vocabulary, which grows.",
        suggest=_run_names,
    )

    @property
    def grows(self) -> bool:
        """Whether tokens can be added to the vocabulary."""
        return True


Settings = TypeVar("Settings", bound=WarmStartSettings)


def shape_of(task: str, Config: type, source: str) -> dict[str, Any]:
    """Return a model's settings that determine the shapes of its weights, and its path; raises as `read_model`."""
    start = _open(source, Config, task)
    return {**_shape(start.config), "init_from": str(start.file)}


def _shape(config: RecurrentSettings) -> dict[str, Any]:
    return {each.name: getattr(config, each.name) for each in fields(config) if each.metadata.get("shape")}


def resolve_start(config: Settings, task: str) -> Settings:
    """Make the path of the model to start from absolute; raises UsageError if its shape or task differs."""
    if config.init_from is None:
        return config
    if getattr(config, "embeddings", None):
        raise UsageError("--init-from and --embeddings both set the initial word vectors: leave one of them out")
    start = _open(config.init_from, type(config), task)
    theirs, file = _shape(start.config), start.file
    for name, value in _shape(config).items():
        if name == "cell" and (code := outside_cell(value)):
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
        """The data that its task stored in the header."""
        payload: Mapping[str, Any] = self.found.header["payload"]
        return payload

    @property
    def codec(self) -> "Codec":
        """Its codec."""
        from rnncli.data.codec import Codec

        return Codec.of(self.payload, is_running=getattr(self.config, "running", False))

    def check_voices(self, labels: tuple[str, ...]) -> None:
        """Raise UsageError if its voices are not those of the labels."""
        known = self.codec.labels
        if set(known) != set(labels):
            wanted = f"with the corpora {', '.join(known)}" if known else "with --no-voices"
            raise UsageError(f"{self.file} has other voices: train {wanted}")

    def copy_weights(self, model: Any, tokens: Sequence[str]) -> str:
        """Copy its weights to a model whose tokens start with its own; returns a note about the tokens.

        Raises as `rnncli.models.warm_start.copy_weights`.
        """
        from rnncli.models.warm_start import copy_weights
        from rnncli.training.loop import below

        copy_weights(model, below("model", self.found.tensors))
        known = len(self.payload["vocabulary"])
        note = f"starts from {self.file}: {known:,} known tokens"
        if not self.config.grows:
            return f"{note}; its vocabulary cannot grow, so new tokens are UNKNOWN"
        new = tokens[known:]
        names = ", ".join(repr(visible(token)) for token in new[:MAX_SHOWN]) + (", …" if len(new) > MAX_SHOWN else "")
        return f"{note}, {len(new):,} new (initialized to their mean): {names}" if new else f"{note}, no new ones"


def start_model(config: WarmStartSettings) -> Start | None:
    """Return the model that the settings start from, or None, and drop it from the cache; raises as `read_model`."""
    if config.init_from is None:
        return None
    start = _open(config.init_from, type(config))
    _last_read.clear()
    return start


_last_read = dict[tuple[type, str, int, int], Start]()
"""The model read last, so that resolving settings, completing them and building a model read its file once."""


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
