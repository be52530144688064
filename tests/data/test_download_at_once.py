"""Several processes download one corpus at once, from a server that sends half and then pauses."""

import hashlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.processes import PATIENCE, heed_interrupts

from rnncli.home import MARKER

pytestmark = pytest.mark.posix("signals to other processes")

TEXT = b"A line of a corpus that many want.\n" * 2_000
HALF = 1 << 15  # a multiple of the download's reads, so that all sent data is on disk
PROGRAM = """
import sys
from rnncli.data.sources import Remote
url, size, sha256 = sys.argv[1], int(sys.argv[2]), sys.argv[3]
print(Remote("mini", "made up", "mini.txt", url, size, sha256).fetch())
"""


class Slow(ThreadingHTTPServer):
    """Sends only half of the text; sends the rest to requests for it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.go = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Slow

    def do_GET(self) -> None:
        range_header = self.headers["Range"]
        self.server.ranges.append(range_header)
        self.send_response(206 if range_header else 200)
        self.send_header("Content-Length", str(len(TEXT) - (HALF if range_header else 0)))
        self.send_header("Content-Range", f"bytes {HALF}-{len(TEXT) - 1}/{len(TEXT)}")
        self.end_headers()
        self.wfile.write(TEXT[HALF:] if range_header else TEXT[:HALF])
        if not range_header:
            self.wfile.flush()
            self.server.go.wait(60)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    monkeypatch.setenv("no_proxy", "*")
    with Slow() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.go.set()
        server.shutdown()


Start = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def start(server: Slow, home: Path) -> Iterator[Start]:
    """Starts the work of `rnn data get mini` in a process that ends with the test."""
    url = f"http://127.0.0.1:{server.server_port}/mini.txt"
    command = [sys.executable, "-c", PROGRAM, url, str(len(TEXT)), hashlib.sha256(TEXT).hexdigest()]
    with ExitStack() as started:

        def start() -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
            )
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield start


def test_one_downloads_while_the_others_wait(server: Slow, start: Start, home: Path) -> None:
    """One is stopped by Ctrl-C; when the first is killed, another one downloads the rest for all."""
    first, part, deadline = start(), home / "data/mini.txt.part", time.monotonic() + PATIENCE
    while not (part.exists() and part.stat().st_size == HALF):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    waiting = [start() for _ in range(3)]
    for each in waiting:
        assert each.stderr is not None
        assert each.stderr.readline() == "waiting for another process, which is downloading mini\n"
    stopped, *others = waiting
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=PATIENCE)
    assert (stopped.returncode, out, err.splitlines()[-1]) == (-signal.SIGINT, "", "KeyboardInterrupt")
    assert server.ranges == [None]
    first.kill()
    assert sorted(each.communicate(timeout=PATIENCE)[0] for each in others) == ["already there\n", "downloaded\n"]
    assert [each.returncode for each in others] == [0, 0]
    assert server.ranges == [None, f"bytes={HALF}-"]
    kept = {each.name: each.read_bytes() for each in (home / "data").iterdir() if each.name != MARKER}
    assert kept == {"mini.txt": TEXT}
