"""The home: the folder of corpora and checkpoints, `$RNN_HOME` or the nearest folder that rnn has written to."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

MARKER = ".rnn"
"""The file that marks `data/` or `checkpoints/` as written by rnn."""

_CHECKPOINTS = ("last.safetensors", "best.safetensors", "previous.safetensors")
_MAX_ENTRIES = 1000  # of a folder to look through: a foreign `checkpoints/` may be huge


class Homes:
    """The homes of working folders; `announce` hears once of a home that is not the working folder itself."""

    def __init__(self, announce: Callable[[Path], None] | None = None) -> None:
        self.announce, self._found = announce, dict[Path, Path]()

    def of(self, here: Path) -> Path:
        """The home of a working folder; `.` for the folder itself."""
        if here not in self._found:
            nearest = _nearest(here)
            self._found[here] = nearest or Path()
            if nearest and self.announce:
                self.announce(nearest)
        return self._found[here]


class _Current:
    homes = Homes()


def begin(announce: Callable[[Path], None]) -> None:
    """Look for the home again at its next use, and announce it if it is not the working folder."""
    _Current.homes = Homes(announce)


def home() -> Path:
    """The folder that holds `data/` and `checkpoints/`.

    It is `$RNN_HOME`, or else the nearest folder that rnn has written to, the working folder first, then its parents;
    without any, it is the working folder.
    """
    if "RNN_HOME" in os.environ:
        return Path(os.environ["RNN_HOME"])
    try:
        return _Current.homes.of(Path.cwd())
    except OSError:  # the working folder was deleted
        return Path()


def data_dir() -> Path:
    """The folder of downloaded and prepared corpora."""
    return home() / "data"


def checkpoints_dir() -> Path:
    """The folder of trained runs."""
    return home() / "checkpoints"


def mark(folder: Path) -> None:
    """Mark `data/` or `checkpoints/` as ours, for the folders below; one that cannot be written stays unmarked."""
    with contextlib.suppress(OSError), (folder / MARKER).open("x", encoding="utf-8") as file:
        file.write("rnn keeps its runs or corpora here, and finds them from every folder below this one's parent.\n")


def _nearest(here: Path) -> Path | None:
    """The nearest parent that is a home, if `here` is none; the search ends where another file system begins."""
    if _is_home(here):
        return None
    device = here.stat().st_dev
    for folder in here.parents:
        if folder.stat().st_dev != device:  # looking into a folder of mount points can wait for a network
            return None
        if _is_home(folder):
            return folder
    return None


def _is_home(folder: Path) -> bool:
    """Whether rnn has written to a folder: it is marked, or an earlier version left runs in it."""
    if any((folder / name / MARKER).is_file() for name in ("checkpoints", "data")):
        return True
    return folder not in (Path(folder.anchor), _user()) and _holds_runs(folder / "checkpoints")


def _user() -> Path | None:
    """The user's home directory, which like `/` is a home only if it is marked."""
    with contextlib.suppress(RuntimeError):
        return Path.home()
    return None


def _holds_runs(folder: Path) -> bool:
    """Whether a folder holds `<task>/<run>/` with a checkpoint of rnn's names."""
    return any((run / name).is_file() for task in _folders(folder) for run in _folders(task) for name in _CHECKPOINTS)


def _folders(folder: Path) -> list[Path]:
    """The first folders in a folder; none where it cannot be read."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        first = (entry for entry, _ in zip(entries, range(_MAX_ENTRIES), strict=False))
        return [folder / entry.name for entry in first if entry.is_dir()]
    return []
