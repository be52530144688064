"""How the processes of one launch of torchrun meet: they agree through its store on the number of the attempt.

Each machine's torchrun agent counts only its own restarts, and a change of machines does not count. Processes that
belong together may therefore have different counts, and the store still holds what earlier attempts left.
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
"""How long a process waits for the others after the meeting: one may be reading a corpus or writing a checkpoint."""

MEETING = timedelta(minutes=5)
"""How long a process waits for the meeting: long enough to import torch from a slow file system."""

NOTED = 30.0
"""Seconds after which it reports that it waits."""

POLL = 0.05
"""Seconds between two looks at the store."""

Note = Callable[[str], None]

_stores: Any = dist
"""torch.distributed, whose stores are not declared to mypy."""

_attempt = ""  # agreed on by these processes


def meet(note: Note) -> str:
    """Agree with the others on the number of this attempt, once per process.

    The first process draws it. Each other process leaves a new unique token, and takes the number with which the first
    one answers that token; so nothing that dead processes left can mislead them. `note` receives a line when this takes
    long. Raises RnnError where a process does not come.
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
                if token != answered.get(rank):  # the last token may belong to a process that has ended
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
    """Waits a moment at a time, reports it after a while, and ends in RnnError."""

    def __init__(self, note: Note) -> None:
        self.began, self.note, self.noted = time.monotonic(), note, False

    def look(self, whom: str) -> None:
        """Wait until it is time to look again."""
        waited = time.monotonic() - self.began
        if waited > MEETING.total_seconds():
            raise RnnError(
                f"{whom} did not start within {waited:.0f} s: check torchrun's output on its machine, and that all "
                "machines name the same --rdzv-endpoint"
            )
        if waited > NOTED and not self.noted:
            self.noted = True
            self.note(f"waiting for {whom}")
        time.sleep(POLL)


@cache
def store() -> Any:
    """Return the store of this launch: torchrun's own, which outlives the processes, or else the first process's."""
    is_torchruns = os.environ.get("TORCHELASTIC_USE_AGENT_STORE", "True") == "True"
    return _connect(MEETING, hosts=os.environ["RANK"] == "0" and not is_torchruns)


def store_part(name: str) -> Any:
    """Return a part of the store with its own keys."""
    return _stores.PrefixStore(f"rnn/{name}", store())


def _connect(timeout: timedelta, *, hosts: bool = False) -> Any:
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return _stores.TCPStore(*address, is_master=hosts, timeout=timeout, wait_for_workers=False)


def speaks() -> bool:
    """Tell whether nobody of this attempt has reported its end yet: the first to ask reports it."""
    attempt = _attempt or f"start{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    with suppress(RuntimeError, KeyError, ValueError):  # torchrun, or its machine, is gone
        return int(_connect(timedelta(seconds=5)).add(f"rnn/{attempt}/said", 1)) == 1
    return True


def remember_run(number: int, run: str) -> None:
    """Record a run for later attempts, in the store and with this machine's agent, whichever survives."""
    store().set(_key(number), run)
    if (file := _agent_file(number)) is not None:
        with suppress(RnnError):  # the store has it too
            write_file(file, run.encode())


def known_run(number: int) -> str | None:
    """Return the run that earlier processes of this launch began, from the store or this machine's agent."""
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
    """Return where the agent keeps its processes' files: FOLDER, of FOLDER/attempt_0/0/error.json, belongs to it."""
    error_file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    folders = Path(error_file).parents if error_file else ()
    return folders[2] / f"rnn-run{number}" if len(folders) > 3 and folders[1].name.startswith("attempt_") else None
