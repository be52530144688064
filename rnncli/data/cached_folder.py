"""Folders below `data/` that are built once, atomically, and reused from then on."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rnncli.errors import RnnError
from rnncli.files import locked, reason, replace, sync_folder
from rnncli.launch import LAUNCHED

Found = TypeVar("Found")


def cached_folder(folder: Path, open_it: Callable[[Path], Found | None], make: Callable[[Path], None]) -> Found:
    """Return what `open_it` finds in a folder; where it finds None, `make` fills the folder first.

    The folder is filled as NAME.part next to its place and then renamed; a failure leaves nothing behind. One of
    several processes fills it while the others wait. Raises RnnError where the disk is full or not writable, and any
    error of `make`.
    """
    # Processes that torchrun started together wait silently.
    busy = "" if LAUNCHED in os.environ else f"waiting for another process, which is preparing {folder}"
    while (found := open_it(folder)) is None:
        with locked(folder, busy, wait=True):
            if open_it(folder) is None:
                _fill(folder, make)
    return found


def _fill(folder: Path, make: Callable[[Path], None]) -> None:
    part = folder.with_name(f"{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
        part.mkdir(parents=True)
        make(part)
        shutil.rmtree(folder, ignore_errors=True)  # one that is damaged
        replace(part, folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise _write_error(part, error) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_error(part: Path, error: OSError) -> RnnError:
    return RnnError(f"cannot write {part}: {reason(error)}; make room, or set RNN_HOME to a folder that has it")
