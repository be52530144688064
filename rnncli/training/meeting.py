"""How the processes of one launch of torchrun meet: they agree through its store on which attempt they are of.

Each machine's agent of torchrun counts only its own restarts, and a change of machines counts as none. Processes that
belong together may therefore have different counts, and the store holds what those of earlier attempts left there.
"""

import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import torch.distributed as dist

from rnncli.errors import RnnError
from rnncli.files import write_file

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others once they have met: one may read a corpus, or write a checkpoint."""

MEETING = timedelta(minutes=5)
"""How long a process waits until all have met: as long as one may need to import torch from a slow file system."""

NOTED = 30.0
"""Seconds after which it says that it waits."""

POLL = 0.05
"""Seconds between two looks at the store."""

Note = Callable[[str], None]

_stores: Any = dist
"""torch.distributed, which names its stores to people only, not to mypy."""

_attempt = ""  # that these processes have agreed on


def meet(note: Note) -> str:
    """Agree with the others on the number of this attempt, once a process.

    The first process draws it. Each other one leaves a token that no process had before, and takes the number that the
    first one answers that token with; so neither is taken in by what dead processes left. `note` is given a line when
    this takes long. Raises RnnError where a process does not come.
    """
    global _attempt
    if not _attempt:
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        _attempt = _answer_all(world, note) if rank == 0 else _ask(rank, note)
        store().set_timeout(PATIENCE)
    return _attempt


def _answer_all(world: int, note: Note) -> str:
    shared, attempt = store(), str(store().add("rnn/attempts", 1))
    missing, answered = set(range(1, world)), dict[int, bytes]()
    waiting = _Waiting(note)
    while missing:
        for rank in sorted(missing):
            if shared.check([f"rnn/{attempt}/met/{rank}"]):
                missing.remove(rank)
            elif shared.check([f"rnn/token/{rank}"]):
                token = shared.get(f"rnn/token/{rank}")
                if token != answered.get(rank):  # the last one may be that of a process which has ended since
                    shared.set(f"rnn/answer/{token.decode()}", attempt)
                    answered[rank] = token
        if missing:
            names = ", ".join(map(str, sorted(missing)[:8])) + (", …" if len(missing) > 8 else "")
            waiting.look(f"process {names} of 0 to {world - 1}")
    return attempt


def _ask(rank: int, note: Note) -> str:
    shared, token, waiting = store(), uuid.uuid4().hex, _Waiting(note if rank == 1 else lambda _: None)
    shared.set(f"rnn/token/{rank}", token)
    while not shared.check([f"rnn/answer/{token}"]):
        waiting.look("process 0")
    attempt: str = shared.get(f"rnn/answer/{token}").decode()
    shared.set(f"rnn/{attempt}/met/{rank}", "")
    return attempt


class _Waiting:
    """Waits a moment at a time, says so after a while, and ends in RnnError."""

    def __init__(self, note: Note) -> None:
        self.began, self.note, self.noted = time.monotonic(), note, False

    def look(self, whom: str) -> None:
        """Wait until it is time to look again whether someone has come."""
        waited = time.monotonic() - self.began
        if waited > MEETING.total_seconds():
            raise RnnError(
                f"{whom} has not come within {waited:.0f} s: see what torchrun says on its machine, and that all "
                "machines name the same --rdzv-endpoint"
            )
        if waited > NOTED and not self.noted:
            self.noted = True
            self.note(f"waiting for {whom}")
        time.sleep(POLL)


@cache
def store() -> Any:
    """The store of this launch: torchrun's own, which outlives the processes; without one, the first process has it."""
    is_torchruns = os.environ.get("TORCHELASTIC_USE_AGENT_STORE", "True") == "True"
    return _connect(MEETING, hosts=os.environ["RANK"] == "0" and not is_torchruns)


def store_part(name: str) -> Any:
    """A part of the store that has its own keys."""
    return _stores.PrefixStore(f"rnn/{name}", store())


def _connect(timeout: timedelta, *, hosts: bool = False) -> Any:
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return _stores.TCPStore(*address, is_master=hosts, timeout=timeout, wait_for_workers=False)


def speaks() -> bool:
    """Whether nobody of this attempt has said yet why it ends: the first to ask says it."""
    attempt = _attempt or f"start{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    with suppress(RuntimeError, KeyError, ValueError):  # torchrun, or the machine that it runs on, is gone
        return int(_connect(timedelta(seconds=5)).add(f"rnn/{attempt}/said", 1)) == 1
    return True


def remember_run(number: int, run: str) -> None:
    """Leave word of a run for later attempts: in the store, and with this machine's agent, whichever lives on."""
    store().set(_key(number), run)
    if (file := _agent_file(number)) is not None:
        with suppress(RnnError):  # the store has it as well
            write_file(file, run.encode())


def known_run(number: int) -> str | None:
    """The run that earlier processes of this launch have begun, as the store or this machine's agent knows it."""
    shared = store()
    if shared.check([_key(number)]):
        return str(shared.get(_key(number)).decode())
    file = _agent_file(number)
    with suppress(OSError, UnicodeDecodeError):
        return None if file is None else file.read_text(encoding="utf-8")
    return None


def _key(number: int) -> str:
    return f"rnn/run{number}"


def _agent_file(number: int) -> Path | None:
    """Where the agent keeps what its processes leave: FOLDER, of FOLDER/attempt_0/0/error.json, is its own."""
    error_file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    folders = Path(error_file).parents if error_file else ()
    return folders[2] / f"rnn-run{number}" if len(folders) > 3 and folders[1].name.startswith("attempt_") else None
