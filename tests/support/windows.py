"""The operations on files that Windows refuses and Linux allows; on Windows itself nothing is emulated."""

import contextlib
import errno
import fcntl
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnncli import files


def emulate(monkeypatch: pytest.MonkeyPatch, below: Path) -> None:
    """Refuse, below a folder, to sync a handle that only reads, to open a folder, and to move an open file."""
    monkeypatch.setattr(files, "POSIX", False)
    monkeypatch.setattr(files, "_POLL", 0.0)
    monkeypatch.setattr("rnncli.__main__.POSIX", False)
    monkeypatch.setattr(shutil, "_use_fd_functions", False)  # they open folders
    monkeypatch.delattr(signal, "SIGHUP")
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGTTIN, raising=False)
    sync, open_file = os.fsync, os.open

    def fsync(handle: int) -> None:
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        sync(handle)

    def open_no_folder(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if Path(path).is_dir() and Path(path).is_relative_to(below):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return open_file(path, flags, *rest, **options)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "open", open_no_folder)
    for name in ("rename", "replace", "unlink", "remove", "rmdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name), below))


def refusing(action: Callable[..., None], below: Path) -> Callable[..., None]:
    """The action, refused for paths below a folder that are open, or contain an open file."""

    def guarded(*paths: Any, **options: Any) -> None:
        for path in paths:
            place = Path(os.fsdecode(path)).absolute()
            if place.is_relative_to(below) and is_open(place):
                raise PermissionError(errno.EACCES, "Access is denied", path)
        action(*paths, **options)

    return guarded


def is_open(path: Path) -> bool:
    """Whether this process has a file open or mapped into memory, or one below a folder."""
    opened = []
    for handle in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the handle of this listing
            opened.append(str(handle.readlink()))
    mapped = (line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines())
    opened.extend(fields[5] for fields in mapped if len(fields) == 6)
    return any(Path(each).is_relative_to(path) for each in opened if each.startswith("/"))
