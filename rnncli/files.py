"""Atomic writing of files, checks of file names, and locks."""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from rnncli.errors import RnnError, UsageError
from rnncli.terminal import write_message

POSIX = os.name == "posix"
"""Whether open files can be renamed and removed, and folders can be opened and synced."""

_POLL = 0.1  # seconds between two attempts to lock
_TRIES = 10  # on Windows, a scanner or a reader may hold a file for a moment
_SIGNS = frozenset('<>:"/\\|?*')
_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [device + digit for device in ("COM", "LPT") for digit in "123456789¹²³"]
)

Found = TypeVar("Found")


def check_name(name: str, flag: str = "--name") -> None:
    """Raise UsageError for a name that some system refuses for a folder or a file; Windows refuses most."""
    if not name.strip() or not name.isprintable() or len(name.encode()) > 200:
        fault = "it is blank, too long, or holds control characters"
    elif signs := sorted(_SIGNS.intersection(name)):
        fault = f"it holds {' '.join(signs)}"
    elif name.startswith(" ") or name.endswith((" ", ".")):
        fault = "it begins with a blank, or ends with a blank or a dot"
    elif (device := name.partition(".")[0].rstrip()).upper() in _DEVICES:
        fault = f"on Windows {device} is a device"
    else:
        return
    raise UsageError(f"{flag} {name!r} cannot be a folder's name: {fault}")


def reason(error: OSError) -> str:
    """Why the system refuses a file; Windows also refuses files that another program has open."""
    words = error.strerror or str(error)
    is_in_use = not POSIX and isinstance(error, PermissionError)
    return f"{words} (another program may have it open: close it there)" if is_in_use else words


def replace(source: Path, target: Path) -> None:
    """Rename a file or folder, and replace an existing file; raises OSError."""
    _patiently(lambda: source.replace(target))


def _patiently(action: Callable[[], Found]) -> Found:
    """Run `action`; while Windows denies access, try again for a second."""
    for _ in range(0 if POSIX else _TRIES):
        with contextlib.suppress(PermissionError):
            return action()
        time.sleep(_POLL)
    return action()


def sync_file(file: Path) -> None:
    """Sync a file to disk; raises OSError. It is opened for writing, since Windows syncs no other handle."""
    with file.open("r+b") as opened:
        os.fsync(opened.fileno())


def sync_folder(folder: Path) -> None:
    """Sync a rename in `folder` to disk, if the system can (POSIX; not every file system does)."""
    if not POSIX:
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path, *, exist_ok: bool = True) -> Path:
    """Make a folder and its parents so that files saved in them later survive a power loss.

    Each new folder is synced into its parent. Raises FileExistsError if the folder exists, unless `exist_ok`, and
    another OSError if it cannot be made, such as where a file has its name.
    """
    for each in reversed([each for each in folder.parents if not each.exists()]):
        with contextlib.suppress(FileExistsError):  # another process was faster
            each.mkdir()
        sync_folder(each.parent)
    if not (exist_ok and folder.is_dir()):
        try:
            folder.mkdir(exist_ok=exist_ok)
        except FileExistsError:
            if exist_ok:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None
            raise
        sync_folder(folder.parent)
    return folder


@contextlib.contextmanager
def locked(path: Path, busy: str, *, wait: bool = False) -> Iterator[None]:
    """Lock `path`, which need not exist: no other process or thread can lock it inside this context.

    While another one holds the lock, raises an RnnError with the text `busy`. With `wait`, prints `busy` to standard
    error instead, once and unless it is empty, and waits. The lock is a hidden file next to `path`, so `path` can be
    renamed or deleted meanwhile. It ends with the process, however that ends. Where a file system or its permissions
    allow no lock, nothing is locked.
    """
    file = _lock_file(path)
    handle = _lock(file, busy, wait)
    try:
        yield
    finally:
        if handle is not None:
            _unlock(file, handle)


def is_locked(path: Path) -> bool:
    """Whether `path` is locked now; the check leaves no file behind."""
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
    path = path.resolve()  # one lock for all names of a folder
    return path.with_name(f".{path.name}.lock")


def _open(file: Path, create: int = 0) -> int:
    def attempt() -> int:
        try:
            return os.open(file, os.O_RDWR | create, 0o666)
        except PermissionError as denied:  # the lock of another user
            try:
                return os.open(file, os.O_RDONLY)
            except FileNotFoundError:
                raise denied from None

    return _patiently(attempt)  # Windows denies a lock file that its last owner is removing


def _lock(file: Path, busy: str, wait: bool) -> int | None:
    """A handle of the locked file; None if it cannot be locked."""
    from filelock import lock_descriptor

    with contextlib.suppress(OSError):  # opening the file then fails, too
        file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with contextlib.ExitStack() as opened:
            try:
                handle = _open(file, os.O_CREAT)
                opened.callback(os.close, handle)
                is_ours = lock_descriptor(handle, blocking=False)
            except OSError:
                return None
            # The last owner removes the file, so another one may be there by now; Windows removes no open file.
            if is_ours and (not POSIX or _is_at(file, handle)):
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
        if POSIX and _is_at(file, handle):
            file.unlink()
    os.close(handle)
    if not POSIX:
        with contextlib.suppress(OSError):
            file.unlink()


def _is_at(file: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


def write_file(path: Path, data: bytes | Iterable[bytes], *, previous: Path | None = None) -> None:
    """Write `data`, or its parts one by one, to `path` atomically.

    The data goes to a temporary file in the same folder, which is flushed, synced and renamed; then the folder is
    synced. Each temporary name is unique, so the last of several concurrent writers wins. With `previous`, the old file
    is kept under that name next to it. Raises RnnError when the disk is full or not writable, or when `path` is a
    folder or a device; an existing file is then unchanged.
    """
    if path.exists() and not path.is_file():
        raise RnnError(f"{path} is not a regular file: name another one")
    temporary = _temporary(path)
    try:
        make_folder(path.parent)
        with temporary.open("xb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            _keep(path, previous)
        replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise RnnError(f"cannot save {path}: {reason(error)}; what was saved before is untouched") from None
    finally:
        with contextlib.suppress(OSError):  # still there after an error or an interrupt
            temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """A new name in the folder of `path`."""
    return path.with_name(f"{path.name[:40]}.{os.urandom(4).hex()}.tmp")


def _keep(path: Path, previous: Path) -> None:
    """Give the file at `path` its second name atomically, without removing the first."""
    second = _temporary(previous)
    try:
        second.hardlink_to(path)
    except OSError:  # a file system without links
        replace(path, previous)
        return
    replace(second, previous)
    second.unlink(missing_ok=True)  # still there if `previous` was already a name of this file
