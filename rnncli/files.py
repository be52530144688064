"""Files that are whole or not there at all, whatever happens while they are written; locks on files and folders."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from rnncli.errors import RnnError
from rnncli.terminal import write_message

_POLL = 0.1  # seconds between two looks at whether a lock is free


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


def make_folder(folder: Path, *, exist_ok: bool = True) -> Path:
    """Make a folder and those above it; what is saved in them later survives a power loss.

    Each new one is synced into the one above. Raises FileExistsError where it is there already, unless `exist_ok`, and
    another OSError where it cannot be made.
    """
    for each in reversed([each for each in folder.parents if not each.exists()]):
        with contextlib.suppress(FileExistsError):  # another process was faster
            each.mkdir()
        sync_folder(each.parent)
    if not (exist_ok and folder.is_dir()):
        folder.mkdir(exist_ok=exist_ok)
        sync_folder(folder.parent)
    return folder


@contextlib.contextmanager
def locked(path: Path, busy: str, *, wait: bool = False) -> Iterator[None]:
    """Hold what is at `path`, or will be: no other process or thread can hold it until this one is done.

    While another one holds it, `busy` is raised as an RnnError. With `wait` it is printed to standard error instead,
    once and unless it is empty, and this one waits for its turn. The lock is a hidden file next to `path`, so `path`
    can be renamed or deleted meanwhile. It ends with the process, however that ends. Where a file system or its
    permissions allow no lock, nothing is held.
    """
    file = _lock_file(path)
    handle = _lock(file, busy, wait)
    try:
        yield
    finally:
        if handle is not None:
            _unlock(file, handle)


def is_locked(path: Path) -> bool:
    """Whether `path` is held right now; looking leaves nothing behind."""
    from filelock import lock_descriptor

    try:
        handle = _open(_lock_file(path))
    except OSError:
        return False
    try:
        return not lock_descriptor(handle, blocking=False)
    except OSError:
        return False
    finally:
        os.close(handle)


def _lock_file(path: Path) -> Path:
    path = path.resolve()  # a folder has one lock under all its names
    return path.with_name(f".{path.name}.lock")


def _open(file: Path, create: int = 0) -> int:
    try:
        return os.open(file, os.O_RDWR | create, 0o666)
    except PermissionError:  # the lock of another user
        return os.open(file, os.O_RDONLY)


def _lock(file: Path, busy: str, wait: bool) -> int | None:
    """A handle on the locked file; None where it cannot be locked."""
    from filelock import lock_descriptor

    while True:
        with contextlib.ExitStack() as opened:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                handle = _open(file, os.O_CREAT)
                opened.callback(os.close, handle)
                is_ours = lock_descriptor(handle, blocking=False)
            except OSError:
                return None
            if is_ours and _is_at(file, handle):  # its last owner removes it: another one may be there by now
                opened.pop_all()
                return handle
        if not is_ours:
            if not wait:
                raise RnnError(busy)
            if busy:
                write_message(busy)
            busy = ""
            time.sleep(_POLL)


def _unlock(file: Path, handle: int) -> None:
    with contextlib.suppress(OSError):  # Windows removes no open file, and POSIX must not remove that of the next owner
        if os.name == "posix" and _is_at(file, handle):
            file.unlink()
    os.close(handle)
    if os.name != "posix":
        with contextlib.suppress(OSError):
            file.unlink()


def _is_at(file: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


def write_file(path: Path, data: bytes, *, previous: Path | None = None) -> None:
    """Put `data` at `path`, whole or not at all, whatever happens meanwhile.

    It goes by a temporary file in the same folder: written, flushed, synced, renamed, the folder synced. Its name is
    its own, so of several processes that write at once the last one wins. The file that stood there stays on as
    `previous`, beside it, where that is given. Raises RnnError when the disk is full or forbids it, or when a folder or
    a device stands there; what stood there then still stands.
    """
    if path.exists() and not path.is_file():
        raise RnnError(f"{path} is not a regular file: name another one")
    temporary = _temporary(path)
    try:
        make_folder(path.parent)
        with temporary.open("xb") as file:
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


def _temporary(path: Path) -> Path:
    """A new name in the folder of `path`."""
    return path.with_name(f"{path.name[:40]}.{os.urandom(4).hex()}.tmp")


def _keep(path: Path, previous: Path) -> None:
    """Give the file at `path` its second name, in one step and without moving it away."""
    second = _temporary(previous)
    try:
        second.hardlink_to(path)
    except OSError:  # a file system without links
        path.replace(previous)
        return
    second.replace(previous)
    second.unlink(missing_ok=True)  # it stays when `previous` already was a name of this very file
