"""Processes started together by torchrun meet, whatever each agent has counted, and know earlier runs."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed as dist
from support.processes import PATIENCE, heed_interrupts

from rnncli.errors import RnnError
from rnncli.launch import LAUNCHED
from rnncli.training import meeting

pytestmark = pytest.mark.posix("signals to other processes")

PROGRAM = """
import json
from rnncli.training import distributed, meeting
with distributed.together():
    begun = distributed.begun()
    distributed.remember("mine")
    print(json.dumps([distributed.totals(distributed.rank() + 1), begun, meeting._attempt]))
"""


def met(store: Any, counts: Sequence[int], agents: Sequence[Path]) -> list[Any]:
    """Return what each process found, started by agents with these restart counts."""
    processes = []
    for rank, (count, agent) in enumerate(zip(counts, agents, strict=True)):
        variables = {
            LAUNCHED: "1",
            "RANK": str(rank),
            "WORLD_SIZE": str(len(counts)),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_RESTART_COUNT": str(count),
            "TORCHELASTIC_ERROR_FILE": str(agent / f"attempt_{count}/0/error.json"),
        }
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM],
                env={**os.environ, **variables},
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=heed_interrupts,
            )
        )
    try:
        return [json.loads(process.communicate(timeout=PATIENCE)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()


def new_store() -> Any:
    stores: Any = dist
    return stores.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


@pytest.mark.slow
def test_processes_of_agents_with_other_counts_meet_and_continue(tmp_path: Path) -> None:
    """Once, a restart of one agent left two processes waiting for each other, and a change of machines began a new run.

    The second time another machine comes first, with a store of its own: only the second agent knows of the run.
    """
    agents = [tmp_path / name for name in ("first", "second", "third")]
    store = new_store()
    store.set("rnn/token/1", "of a process that was killed")
    assert met(store, (0, 1), agents[:2]) == [[[3.0], None, "1"]] * 2
    assert met(new_store(), (0, 0), [agents[2], agents[1]]) == [[[3.0], "mine", "1"]] * 2


@pytest.mark.parametrize(("rank", "whom"), [(0, "process 1, 2 of 0 to 2"), (1, "process 0")])
def test_missing_process_is_named(rank: int, whom: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(0, 1000, 20))
    monkeypatch.setattr(meeting, "time", SimpleNamespace(monotonic=lambda: next(seconds), sleep=lambda _: None))
    monkeypatch.setattr(meeting, "_attempt", "")
    stores: Any = dist
    store = stores.HashStore()
    monkeypatch.setattr(meeting, "store", lambda: store)
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", "3")
    notes: list[str] = []
    with pytest.raises(RnnError, match=f"^{whom} did not start within 320 s: check torchrun's output on its machine"):
        meeting.meet(notes.append)
    assert notes == [f"waiting for {whom}"]
