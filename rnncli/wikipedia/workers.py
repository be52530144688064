"""Worker processes that run jobs, each with its own pipe; they end with the process that started them."""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, TypeVar

from rnncli.errors import RnnError, ending_signals

if TYPE_CHECKING:
    if sys.platform == "win32":
        from multiprocessing.connection import PipeConnection as Connection
    else:
        from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    Pipe = Connection[Any, Any]

Job = TypeVar("Job")
Result = TypeVar("Result")

_POLL = 0.2
"""Seconds between checks whether to stop."""

_MAX_WORKERS = 60
"""The most workers: Windows waits for at most 63 pipes."""


def default_workers() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(
    jobs: Iterator[Job], work: Callable[[Job], Result], workers: int, check: Callable[[], None]
) -> Iterator[tuple[Job, Result]]:
    """Run jobs in `workers` processes; yields each job with its result when it finishes; `check` may raise in between.

    Takes one job ahead of those that are running. With one worker, jobs run in this process. Raises errors of the work
    as RnnError, and RnnError when a worker dies.
    """
    if workers == 1:
        for job in jobs:
            check()
            yield job, work(job)
        return
    pool = _Pool(workers, work)
    try:
        yield from pool.run(jobs, check)
    finally:
        pool.close()


class _Pool:
    def __init__(self, workers: int, work: Callable[[Any], Any]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit locks of threads that it lacks
        self.idle: list[Pipe] = []
        self.busy: dict[Pipe, Any] = {}
        self.processes: dict[Pipe, SpawnProcess] = {}
        for _ in range(min(workers, _MAX_WORKERS)):
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, work), daemon=True)
            process.start()
            theirs.close()
            self.processes[mine] = process
            self.idle.append(mine)

    def run(self, jobs: Iterator[Any], check: Callable[[], None]) -> Iterator[tuple[Any, Any]]:
        waiting = list(_take(jobs))
        while waiting or self.busy:
            check()
            while self.idle and waiting:
                worker = self.idle.pop()
                self.busy[worker] = waiting[0]
                with contextlib.suppress(OSError):  # if the worker has died, reading from it reports that
                    worker.send(waiting[0])
                waiting = list(_take(jobs))
            ready: list[Any] = wait(list(self.busy), timeout=_POLL)
            # On Windows, the pipe of a worker that dies during its start stays open without data
            dead = [worker for worker in self.busy if not self.processes[worker].is_alive()] if not ready else []
            for worker in ready or dead:
                yield self._receive(worker)

    def _receive(self, worker: "Pipe") -> tuple[Any, Any]:
        try:
            if not worker.poll():
                raise EOFError
            result, error = worker.recv()
        except (EOFError, OSError):
            raise RnnError("a worker process was killed (memory?): run the same command again to continue") from None
        if error is not None:
            raise RnnError(error)
        self.idle.append(worker)
        return self.busy.pop(worker), result

    def close(self) -> None:
        for connection in (*self.idle, *self.busy):
            connection.close()
        for process in self.processes.values():
            process.kill()  # unfinished files do not count: only this process records results
        for process in self.processes.values():
            process.join()
            process.close()


def _take(jobs: Iterator[Any]) -> Iterator[Any]:
    for job in jobs:
        yield job
        return


def _serve(connection: "Pipe", work: Callable[[Any], Any]) -> None:
    for number in ending_signals():  # all processes get them; the parent decides
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer: tuple[Any, str | None] = (work(job), None)
        except RnnError as error:
            answer = (None, str(error))
        except Exception as error:
            answer = (None, f"{type(error).__name__}: {error} (this is a bug in rnn)")
        with contextlib.suppress(OSError):
            connection.send(answer)
