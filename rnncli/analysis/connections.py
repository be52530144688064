"""Connections to the live page: how many at once, how long each may keep others waiting, and the warnings."""

import asyncio
import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from rnncli.errors import RnnError
from rnncli.records import json_line

MAX_CONNECTIONS = 64
"""Connections open at once; a browser opens six."""

MIN_CONNECTIONS = 8
"""The server does not start where fewer are possible."""

BACKLOG = 128
"""Connections that the system queues; asyncio tries to accept that many at a time, even where every try fails."""

SPARE = 32
"""Files kept free for everything else that the process opens."""

IDLE_SECONDS = 5
"""How long a connection stays open after an answer while no byte of another request arrives."""

REQUEST_SECONDS = 10.0
"""How long a request may take to arrive completely, after its connection opened or the previous answer ended."""

READ_SECONDS = 30.0
"""How long a client may read nothing while data waits for it."""

LINGER_SECONDS = 2.0
"""How long a refused or overdue connection stays half open, so that the client reads the answer."""

WARN_SECONDS = 60.0
"""The least time between two warnings that no connection can be opened."""

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def affordable() -> int:
    """How many connections can be open at once: `MAX_CONNECTIONS`, or what the limit on open files allows.

    Half of that limit is for connections that are being refused. Raises RnnError where fewer than `MIN_CONNECTIONS`
    are left.
    """
    free = _openable(2 * MAX_CONNECTIONS + SPARE)
    count = min(MAX_CONNECTIONS, (free - SPARE) // 2)
    if count < MIN_CONNECTIONS:
        raise RnnError(
            f"only {free} more files can be open at once, and a server needs {2 * MIN_CONNECTIONS + SPARE}: "
            "raise the limit, such as by `ulimit -n 1024`"
        )
    return count


def _openable(wanted: int) -> int:
    """How many of the wanted files can be opened at once."""
    with ExitStack() as opened:
        for count in range(wanted):
            try:
                opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))
            except OSError:
                return count
    return wanted


class Connection(H11Protocol):
    """One client's connection: refused beyond the limit on their number, closed when the client is too slow.

    The limit is that of uvicorn's configuration, `limit_concurrency`.
    """

    def __init__(self, config: uvicorn.Config, **more: Any) -> None:
        super().__init__(config, **more)
        self.max_open, self.limit_concurrency = config.limit_concurrency or MAX_CONNECTIONS, None
        self.refused = False
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        open_ones = sum(not each.refused for each in self.connections if isinstance(each, Connection))
        if len(self.connections) > 2 * self.max_open:
            transport.abort()
        elif open_ones > self.max_open:
            self._refuse(503, f"{self.max_open} connections are open already: close some, or try again in a while")
        else:
            self._after("request", REQUEST_SECONDS, self._overdue)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in self._timers.values():
            timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self.refused:
            super().data_received(data)

    def on_response_complete(self) -> None:
        self._after("request", REQUEST_SECONDS, self._overdue)
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._after("reading", READ_SECONDS, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._timers["reading"].cancel()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        del msg
        self._refuse(400, "this is not an HTTP request")

    def timeout_keep_alive_handler(self) -> None:
        self._end()

    def _after(self, what: str, seconds: float, act: Callable[[], None]) -> None:
        if what in self._timers:
            self._timers[what].cancel()
        self._timers[what] = self.loop.call_later(seconds, act)

    def _overdue(self) -> None:
        """Close the connection, unless a whole request has come and is being answered."""
        begun = self.cycle is not None and not self.cycle.response_complete
        if begun and not self.cycle.more_body:
            return
        if begun and self.cycle.response_started:
            self._end()
        elif begun or self.conn.trailing_data[0]:
            self._refuse(408, f"the request did not arrive completely within {REQUEST_SECONDS:g} seconds")
        else:
            self._end()

    def _refuse(self, status: int, text: str) -> None:
        """Send the error, read no more, and close the connection: when the client closes it, or soon after."""
        self.refused = True
        body = f"{json_line({'error': text})}\n".encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        if not self.transport.is_closing():
            self.transport.write(head.encode() + body)
            with contextlib.suppress(OSError):  # the client has gone
                self.transport.write_eof()
            self._after("closing", LINGER_SECONDS, self.transport.abort)

    def _end(self) -> None:
        """Close the connection; what the client has not read after a while is dropped."""
        if not self.transport.is_closing():
            self.transport.close()
            self._after("closing", LINGER_SECONDS, self.transport.abort)


class Server(uvicorn.Server):
    """Serves an application to as many connections as `affordable` gives, and stops without waiting for clients.

    `warn` gets a line, at most one per minute, when the system opens no more connections. Raises RnnError as
    `affordable`.
    """

    def __init__(self, app: Any, warn: Callable[[str], None]) -> None:
        self.warn, self.warned = warn, -WARN_SECONDS
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                limit_concurrency=affordable(),
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=0,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._on_trouble)
        await super().startup(sockets)

    def _on_trouble(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in _EXHAUSTED:
            loop.default_exception_handler(context)
        elif time.monotonic() - self.warned >= WARN_SECONDS:
            self.warned = time.monotonic()
            self.warn(f"no more connections can be opened ({error.strerror}): new ones wait")
