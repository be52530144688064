"""Folders below `data/` that are made once, whole or not at all, and found again from then on."""

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
    """What `open_it` finds in a folder; where that is nothing, `make` fills it first.

    It is filled beside its place, as NAME.part, and renamed when that is done; nothing stays of one that failed. Of
    several processes one makes it, and the others wait. Raises RnnError where the disk is full or forbids it, and
    whatever `make` raises.
    """
    # Those that torchrun started together wait for each other silently.
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
        raise _no_room(part, error) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _no_room(part: Path, error: OSError) -> RnnError:
    return RnnError(f"cannot write {part}: {reason(error)}; make room, or set RNN_HOME to a folder that has it")
