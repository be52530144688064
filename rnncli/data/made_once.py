"""Folders below `data/` that are made once, whole or not at all, and found again from then on."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rnncli.errors import RnnError
from rnncli.files import lock_folder, sync_folder

WAIT = 0.5
"""Seconds between two looks at whether another process has made it."""

Found = TypeVar("Found")


def made_once(folder: Path, open_it: Callable[[Path], Found | None], make: Callable[[Path], None]) -> Found:
    """What `open_it` finds in a folder; where that is nothing, `make` fills it first.

    It is filled beside its place, as NAME.part, and renamed when that is done; nothing stays of one that failed. Of
    several processes one makes it, and the others wait. Raises RnnError where the disk is full or forbids it, and
    whatever `make` raises.
    """
    part = folder.with_name(f"{folder.name}.part")
    while (found := open_it(folder)) is None:
        try:
            part.mkdir(parents=True, exist_ok=True)
            handle = lock_folder(part, "held")
        except OSError as error:
            raise _no_room(part, error) from None
        except RnnError:
            time.sleep(WAIT)
            continue
        try:
            if _is_still(part, handle):  # else the one who had it has renamed it meanwhile, and is done
                _fill(part, folder, open_it, make)
        finally:
            if handle is not None:
                os.close(handle)
    return found


def _is_still(part: Path, handle: int | None) -> bool:
    """Whether the folder that is locked by a handle is the one that has the name; true where there are no locks."""
    try:
        return handle is None or os.path.samestat(os.fstat(handle), part.stat())
    except FileNotFoundError:
        return False


def _fill(part: Path, folder: Path, open_it: Callable[[Path], Found | None], make: Callable[[Path], None]) -> None:
    """Make what is to be in a folder, unless another process had made it just before this one could lock its place."""
    try:
        if open_it(folder) is not None:
            return
        make(part)
        shutil.rmtree(folder, ignore_errors=True)  # one that is damaged
        part.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise _no_room(part, error) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _no_room(part: Path, error: OSError) -> RnnError:
    return RnnError(f"cannot write {part}: {error.strerror}; make room, or set RNN_HOME to a folder that has it")
