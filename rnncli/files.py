"""Files that are whole or not there at all, whatever happens while they are written."""

import contextlib
import os
import sys
from pathlib import Path

from rnncli.errors import RnnError


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` last, where the system can (POSIX; not every file system does)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def lock_folder(folder: Path, held: str) -> int | None:
    """Lock a folder through its own handle, which leaves no file behind, until that is closed.

    None where the system cannot; raises RnnError, saying `held`, where another process holds it.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise RnnError(held) from None
    except OSError:  # a file system without locks
        os.close(handle)
        return None
    return handle


def write_file(path: Path, data: bytes, *, previous: Path | None = None) -> None:
    """Put `data` at `path`, whole or not at all, whatever happens meanwhile.

    It goes by a temporary file in the same folder: written, flushed, synced, renamed, the folder synced. The file that
    stood there stays on as `previous`, beside it, where that is given. Raises RnnError when the disk is full or forbids
    it, or when a folder or a device stands there; what stood there then still stands.
    """
    if path.exists() and not path.is_file():
        raise RnnError(f"{path} is not a regular file: name another one")
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            _keep(path, previous)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RnnError(f"cannot save {path}: {error.strerror}; what was saved before is untouched") from None


def _keep(path: Path, previous: Path) -> None:
    """Give the file at `path` its second name, in one step and without moving it away."""
    second = previous.with_name(f"{previous.name}.tmp")
    second.unlink(missing_ok=True)
    try:
        second.hardlink_to(path)
    except OSError:  # a file system without links
        path.replace(previous)
        return
    second.replace(previous)
    second.unlink(missing_ok=True)  # it stays when `previous` already was a name of this very file
