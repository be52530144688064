"""Connections to the live page by real sockets: limits on number and time, each refusal in one line."""

import asyncio
import contextlib
import errno
import json
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from rnncli.analysis import connections, live
from rnncli.errors import RnnError

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"
LARGE = "x" * 20_000_000


async def short(_: Request) -> Response:
    return PlainTextResponse("here")


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def large(_: Request) -> Response:
    return PlainTextResponse(LARGE)


async def slow(_: Request) -> Response:
    await asyncio.sleep(0.6)
    return PlainTextResponse("late")


@contextmanager
def serving(message: list[str] | None = None) -> Iterator[tuple[int, connections.Server]]:
    """Serve a small application in this context; yields its port."""
    routes = [Route("/", short), Route("/echo", echo, methods=["POST"]), Route("/large", large), Route("/slow", slow)]
    server = connections.Server(Starlette(routes=routes), (message if message is not None else []).append)
    with live.bound(0) as door:
        thread = threading.Thread(target=server.run, args=([door],))
        thread.start()
        try:
            yield door.getsockname()[1], server
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short time limits."""
    for name, seconds in (("IDLE", 0.2), ("REQUEST", 0.4), ("READ", 0.3), ("LINGER", 0.2)):
        monkeypatch.setattr(connections, f"{name}_SECONDS", seconds)


def client(port: int, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(sent)
    return connection


def answer(connection: socket.socket) -> bytes:
    """All data until the server closes."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def got_here(connection: socket.socket) -> bool:
    """Whether the short answer arrives."""
    came = b""
    while not came.endswith(b"here"):
        part = connection.recv(65_536)
        if not part:
            return False
        came += part
    return came.startswith(b"HTTP/1.1 200")


def refusal(text: bytes) -> tuple[int, str]:
    head, _, body = text.partition(b"\r\n\r\n")
    assert body.count(b"\n") == 1
    return int(head.split()[1]), json.loads(body)["error"]


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("sent", "answered"),
    [(b"", None), (b"GET / HTTP/1.1\r\nHos", 408), (POST, 408), (POST + b"ab", 408), (b"no http\r\n\r\n", 400)],
)
def test_incomplete_request_is_closed(sent: bytes, answered: int | None) -> None:
    with serving() as (port, server), client(port, sent) as connection:
        came = answer(connection)
        wait_for(lambda: not server.server_state.connections)
    message = {408: "the request did not arrive completely within 0.4 seconds", 400: "this is not an HTTP request"}
    assert (refusal(came) if came else (None, None)) == (answered, message.get(answered or 0))


@pytest.mark.usefixtures("hasty")
def test_slow_request_is_closed_in_time() -> None:
    """Each byte arrives in time, but the whole request does not."""
    with serving() as (port, server), client(port) as connection:
        began = time.monotonic()
        while not server.server_state.connections:
            time.sleep(0.01)
        while server.server_state.connections and time.monotonic() < began + 5:
            with contextlib.suppress(OSError):
                connection.sendall(b"G")
            time.sleep(0.02)
    assert 0.3 < time.monotonic() - began < 3


@pytest.mark.usefixtures("hasty")
def test_an_idle_connection_is_closed_and_a_used_one_is_not() -> None:
    with serving() as (port, _), client(port) as connection:
        for _ in range(6):  # longer in total than a request may take
            connection.sendall(GET)
            assert got_here(connection)
            time.sleep(0.1)
        assert answer(connection) == b""


@pytest.mark.usefixtures("hasty")
def test_an_answer_may_take_longer_than_a_request() -> None:
    with serving() as (port, _), client(port, GET.replace(b"/ ", b"/slow ")) as connection:
        assert answer(connection).endswith(b"late")


@pytest.mark.usefixtures("hasty")
def test_client_that_reads_nothing_is_dropped() -> None:
    with serving() as (port, server), client(port, GET.replace(b"/ ", b"/large ")):
        wait_for(lambda: server.server_state.connections)
        wait_for(lambda: not server.server_state.connections)


def test_slow_reader_gets_the_whole_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.2)
    with serving() as (port, _), client(port, GET.replace(b"/ ", b"/large ")) as connection:
        time.sleep(0.2)
        assert answer(connection).endswith(LARGE.encode()[-100_000:])


def test_connection_beyond_the_limit_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 10)
    with serving() as (port, server), ExitStack() as opened:
        held = [opened.enter_context(client(port)) for _ in range(10)]
        wait_for(lambda: len(server.server_state.connections) == 10)
        for _ in range(30):
            with client(port, GET) as connection:
                message = "10 connections are open already: close some, or try again in a while"
                assert refusal(answer(connection)) == (503, message)
        held[0].close()
        wait_for(lambda: len(server.server_state.connections) == 9)
        held[1].sendall(GET)
        assert got_here(held[1])
        with client(port, GET) as connection:
            assert got_here(connection)


def test_crowd_is_refused_and_later_clients_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 10)
    monkeypatch.setattr(connections, "LINGER_SECONDS", 0.2)
    with serving() as (port, server):
        with ExitStack() as opened:
            for _ in range(100):
                opened.enter_context(client(port))

            def served() -> int:
                open_ones = set(server.server_state.connections)
                return sum(not (each.refused or each.transport.is_closing()) for each in open_ones)

            wait_for(lambda: served() <= connections.MAX_CONNECTIONS)  # the newest may not be refused yet

        def is_served() -> bool:
            with contextlib.suppress(ConnectionError), client(port, GET) as connection:
                return got_here(connection)
            return False

        wait_for(is_served)  # the system may still hand over clients of the crowd


@contextmanager
def files_left(count: int) -> Iterator[None]:
    """Limit the number of further files that this process can open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as restored, ExitStack() as opened:
        restored.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        files = []
        with contextlib.suppress(OSError):
            while True:
                files.append(os.open(os.devnull, os.O_RDONLY))
        for file in files[:count]:
            os.close(file)
        for file in files[count:]:
            opened.callback(os.close, file)
        yield


def test_fewer_files_allow_fewer_connections() -> None:
    with files_left(connections.SPARE + 20):
        assert connections.affordable() == 10
    assert connections.affordable() == connections.MAX_CONNECTIONS
    with files_left(20), pytest.raises(RnnError, match=r"only 20 more files can be open at once, .* needs 48: raise"):
        connections.affordable()


def test_exhausted_files_are_warned_about_once() -> None:
    message: list[str] = []
    with serving(message) as (port, server), ExitStack() as opened:
        with client(port, GET) as connection:
            assert got_here(connection)
        wait_for(lambda: not server.server_state.connections)
        waiting = [socket.socket() for _ in range(5)]
        with files_left(0):
            for each in waiting:
                opened.enter_context(each).connect(("127.0.0.1", port))
            wait_for(lambda: message)
            before = time.process_time()
            time.sleep(1.2)
            assert time.process_time() - before < 0.4
        waiting[0].settimeout(10)
        waiting[0].sendall(GET)
        assert got_here(waiting[0])
    assert message == [f"no more connections can be opened ({os.strerror(errno.EMFILE)}): new ones wait"]
