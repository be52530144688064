"""`rnn serve` as a new user runs it: its one line, its page, and its end."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from support.processes import PATIENCE, heed_interrupts
from support.serving import ask, served

import rnncli.analysis
from rnncli.analysis.live import live_page


@contextmanager
def serving(home: Path, words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `rnn serve`; yields the process and its first line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rnncli", "serve", "--port", "0", *words.split()],
        env={**os.environ, "RNN_HOME": str(home), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.no_backend
@pytest.mark.posix("signals to other processes")
def test_it_prints_its_address_and_an_interrupt_ends_it_during_a_text(rnn, home: Path) -> None:
    assert rnn("train char-lm --hidden 8 --embedding 4 --epochs 1 --corpus hillside --name mine").code == 0
    with serving(home, "mine") as (process, line):
        assert line.startswith("http://127.0.0.1:")
        port = int(line.strip("/\n").rpartition(":")[2])
        page = ask(port, b"", "GET", "/").text
        assert '"kind": "write"' in page
        assert "connect-src 'self'" in page
        *tokens, end = ask(port, {"prime": "the", "length": 5, "seed": 1}).events
        assert "the" + "".join(each["token"] for each in tokens) == end["text"]
        with socket.create_connection(("127.0.0.1", port)) as client:
            body = json.dumps({"length": 5_000}).encode()
            headers = ["Host: localhost", "Content-Type: application/json", f"Content-Length: {len(body)}"]
            client.sendall("\r\n".join(["POST /write HTTP/1.1", *headers, "", ""]).encode() + body)
            assert client.recv(100).startswith(b"HTTP/1.1 200")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "rnn: stopped"
    assert "Traceback" not in err


def test_a_model_that_cannot_write_has_only_its_page(rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    served_at = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda _, sockets: served_at.append(sockets[0].getsockname()))
    assert rnn("train parity --epochs 1 --validate-every 0 --name mine").code == 0
    printed = json.loads(rnn("serve mine --port 0 --json").out)
    assert printed["writes"] is False
    assert printed["checkpoint"].endswith("mine/best.safetensors")
    assert served_at == [("127.0.0.1", int(printed["url"].strip("/").rpartition(":")[2]))]
    monkeypatch.undo()
    trained = rnncli.load(printed["checkpoint"])
    page = live_page(trained)
    assert '"kind": "units"' in page
    assert '"kind": "write"' not in page
    with served(trained, page) as port:
        assert ask(port, b"", "GET", "/").text == page
        assert ask(port, {}).events == [{"error": "there is nothing at /write"}]


def test_a_busy_port_is_one_line(rnn) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ran = rnn(f"serve --port {port}")
    message = f"port {port}: Address already in use: take another --port, or 0 for any free one"
    assert ran == (1, "", f"rnn: error: {message}\n")


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        ("--port 0", 2, "there is no model for `rnn serve` in "),
        ("nothing --port 0", 2, "there is no run 'nothing'"),
        ("mine --from mine --port 0", 2, "RUN and --from both name the model"),
        ("--port 65536", 2, "Invalid value for '--port'"),
        ("--host 0.0.0.0", 2, "No such option: --host"),
    ],
)
def test_errors_are_one_line(words: str, code: int, complaint: str, rnn) -> None:
    ran = rnn(f"serve {words}")
    assert (ran.code, ran.out, ran.err.count("\n")) == (code, "", 1)
    assert complaint in ran.err


def test_without_its_libraries_the_message_names_the_extra(rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    message = "rnn serve needs uvicorn, which is not installed: pip install 'rnncli[serve]'"
    assert rnn("serve").err == f"rnn: error: {message}\n"
