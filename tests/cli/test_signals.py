"""Signals to a real process: the first saves and prints how to continue, a second ends at once, nothing is lost."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.processes import PATIENCE, heed_interrupts

from rnncli.training import checkpoint
from rnncli.training.runs import Run

pytestmark = [pytest.mark.posix("signals to other processes"), pytest.mark.no_backend]

Start = Callable[..., subprocess.Popen[str]]

TRAIN = "train poetry-lm --corpus hillside --epochs 100000 --hidden 8 --embedding 8 --backend reference --name mine"


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Starts `rnn WORDS` and waits for its first steps; no process outlives its test."""
    metrics = home / "checkpoints/poetry-lm/mine/metrics.jsonl"
    processes = []

    def launch(words: str = TRAIN, **options: Any) -> subprocess.Popen[str]:
        before = metrics.stat().st_size if metrics.exists() else 0
        process = subprocess.Popen(
            [sys.executable, "-m", "rnncli", *words.split()],
            env={**os.environ, "RNN_HOME": str(home), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **{"preexec_fn": heed_interrupts, **options},
        )
        processes.append(process)
        deadline = time.monotonic() + PATIENCE
        while not (metrics.exists() and metrics.stat().st_size > before):
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return process

    yield launch
    for process in processes:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.mark.slow
def test_training_saves_after_its_terminal_closes(start: Start, home: Path) -> None:
    """Its output cannot be written any more when the hang-up comes: it saves as after any signal."""
    process = start()
    assert process.stderr is not None
    process.stderr.close()
    metrics = home / "checkpoints/poetry-lm/mine/metrics.jsonl"
    before, deadline = metrics.stat().st_size, time.monotonic() + PATIENCE
    while metrics.stat().st_size < before + 5000 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=PATIENCE) == 129
    assert metrics.stat().st_size >= before + 5000
    assert checkpoint.read(home / "checkpoints/poetry-lm/mine/last.safetensors").header["progress"]["step"] > 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_prints_how_to_continue(number: signal.Signals, code: int, start: Start, home: Path) -> None:
    process = start()
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    last_line = err.splitlines()[-1]
    stopped = re.fullmatch(
        r"rnn: stopped and saved at step (\d+): `rnn train poetry-lm --resume --name mine` continues from here",
        last_line,
    )
    assert stopped, err
    assert "Traceback" not in err
    found = checkpoint.read(home / "checkpoints/poetry-lm/mine/last.safetensors")
    assert found.header["progress"]["step"] == int(stopped[1])
    resumed = start("train poetry-lm --resume")
    resumed.send_signal(signal.SIGTERM)
    resumed.communicate(timeout=PATIENCE)
    found = checkpoint.read(home / "checkpoints/poetry-lm/mine/last.safetensors")
    assert found.header["progress"]["step"] > int(stopped[1])


def test_a_second_signal_ends_at_once(start: Start, home: Path) -> None:
    """Both are pending when the process continues: the handler obeys the second before the step ends."""
    process = start()
    for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
        process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode in (130, 143)
    assert "stopped and saved" not in err
    with Run(home / "checkpoints/poetry-lm/mine").locked():
        assert not list((home / "checkpoints/poetry-lm/mine").glob("*.tmp"))


@pytest.mark.slow
def test_an_ignored_signal_stays_ignored(start: Start, home: Path) -> None:
    """As under nohup."""
    process = start(TRAIN, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    metrics = home / "checkpoints/poetry-lm/mine/metrics.jsonl"
    before, deadline = metrics.stat().st_size, time.monotonic() + PATIENCE
    while metrics.stat().st_size < before + 2000 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert metrics.stat().st_size >= before + 2000


@pytest.mark.parametrize(
    "words",
    [
        "data list",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("data list --json", "train parity --seed 1", "generate --help")
        ),
    ],
)
def test_a_closed_pipe_ends_it_quietly(words: str, home: Path) -> None:
    """As under `| head`: no message, and the exit code of a program that SIGPIPE killed."""
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [sys.executable, "-m", "rnncli", *words.split()],
        env={**os.environ, "RNN_HOME": str(home), "OMP_NUM_THREADS": "1"},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
    )
    os.close(writer)
    assert ran.returncode == 141
    assert not re.search("Broken|Exception|Traceback|rnn: error", ran.stderr)


@pytest.mark.slow
def test_a_run_killed_in_its_first_second_can_continue(start: Start) -> None:
    process = start()
    process.kill()
    process.communicate(timeout=PATIENCE)
    resumed = start("train poetry-lm --resume")
    resumed.send_signal(signal.SIGTERM)
    resumed.communicate(timeout=PATIENCE)
    assert resumed.returncode == 143
