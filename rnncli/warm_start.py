"""The model that a training starts from (`--init-from`): found, read once, and compared with the settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rnncli.cells.outside import cell_again, loaded, outside_cell
from rnncli.data.text import visible
from rnncli.errors import UsageError
from rnncli.restoring import Keeps, check_header
from rnncli.settings import flag_of, option

if TYPE_CHECKING:
    from rnncli.data.codec import Codec
    from rnncli.training.checkpoint import Checkpoint

MAX_SHOWN = 5
"""Maximum number of new tokens in a note."""

Declared = Callable[[Mapping[str, Any], Path], tuple[type, Keeps]]
"""The settings and the required parts of the payload of a model, by its header and its file."""


def init_from_option(help: str) -> Any:
    """The setting that names the model to start from."""
    return option(None, help, suggest=_run_names)


def _run_names() -> list[str]:
    from rnncli.training.runs import run_names

    return run_names()


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


def shape_settings(config: Any) -> dict[str, Any]:
    """Return the settings of a model that determine the shapes of its weights."""
    return {each.name: getattr(config, each.name) for each in fields(config) if each.metadata.get("shape")}


def check_same(config: Any, start: Start, inherited: Mapping[str, Any]) -> None:
    """Raise UsageError if a setting differs from the one that the model to start from determines."""
    for name, theirs in inherited.items():
        value = getattr(config, name)
        if name == "cell" and (code := outside_cell(value)):
            loaded(code)  # the user has named it, and not only the model to start from
            cell_again(theirs, start.found.header, value, start.file)
        elif value != theirs:
            flag = flag_of(name)
            raise UsageError(
                f"{flag} is {_shown(theirs)} in {start.file}, not {_shown(value)}: leave {flag} out, or --init-from"
            )


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def some_of(tokens: Sequence[str]) -> str:
    """Return the first few of some tokens, for a note."""
    return ", ".join(repr(visible(token)) for token in tokens[:MAX_SHOWN]) + (", …" if len(tokens) > MAX_SHOWN else "")


_last_read = dict[tuple[str, int, int], Start]()
"""The model read last, so that resolving settings, completing them and building a model read its file once."""


def open_start(source: str, declared: Declared, task: str | None = None) -> Start:
    """Read the model to start from; raises as `read_model` and `check_header`."""
    from rnncli.training.runs import read_model

    file = Path(source)
    known = _last_read.get(_key(file)) if file.is_absolute() and file.is_file() else None
    if known and task in (None, known.found.header["task"]):
        return known
    found, file = read_model(source, task)
    start = Start(found, file.absolute(), check_header(*declared(found.header, file), found.header, file))
    _last_read.clear()
    return _last_read.setdefault(_key(start.file), start)


def take_start(source: str, declared: Declared) -> Start:
    """Read it, and drop it from the cache; raises as `open_start`."""
    start = open_start(source, declared)
    _last_read.clear()
    return start


def _key(file: Path) -> tuple[str, int, int]:
    status = file.stat()
    return str(file), status.st_mtime_ns, status.st_size
