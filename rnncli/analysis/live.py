"""The live page of a run, for this machine only: it writes token by token, with the probability of each token.

`GET /` is the page; `POST /write` takes options of `rnn generate` as one JSON object, and answers with one
line of JSON per token. A refusal is one line of JSON, too.
"""

import asyncio
import contextlib
import json
import os
import re
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import Field, fields, replace
from typing import Any, get_type_hints

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from rnncli.analysis.report import MAX_BITS, page
from rnncli.data.marks import shorten
from rnncli.data.text import visible
from rnncli.errors import RnnError, UsageError
from rnncli.kinds import as_kind
from rnncli.language.generate import DrawnToken, WritingOptions, Written
from rnncli.models.sampling import DECODING
from rnncli.panels import Panel
from rnncli.records import json_line
from rnncli.settings import check_limits
from rnncli.task import Action, Trained
from rnncli.tasks import TASKS

OFFERED = ("prime", "label", "lines", "length", "seed", *DECODING)
"""The options of `rnn generate` that a request may set, in the order of the page."""

MAX_BYTES = 1 << 16
"""Bytes of a request, at most."""

MAX_TOKENS = 5_000
"""Tokens of an answer, at most: this bounds the wait of the next client."""

MAX_LETTERS = 300
"""Characters of an error message, at most: it may quote the request."""

HERE = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)
"""The accepted names of this host; others are refused, so that no foreign domain can point here (DNS rebinding)."""

Event = dict[str, Any]


class Disconnected(Exception):
    """The client has disconnected."""


def writes(trained: Trained) -> bool:
    """Whether a model generates text."""
    return "generate" in TASKS[trained.task].uses


def write_panel(trained: Trained) -> Panel:
    """The panel with a prime, options, and the generated text."""
    offered = [_as_input(trained, each) for each in _offered(trained)]
    return {
        "kind": "write",
        "title": "Write",
        "about": "token by token, warmer colours are less likely; the same seed gives the text of rnn generate",
        "most": MAX_BITS if trained.codec.by_line else MAX_BITS / 2,
        "fields": [each for each in offered if each["kind"] != "choice" or each["choices"]],
    }


def _offered(trained: Trained) -> "list[Field[Any]]":
    Options = _generate(trained).Options
    known = {each.name: each for each in fields(Options)}
    return [known[name] for name in OFFERED if name in known]


def _generate(trained: Trained) -> Action:
    return TASKS[trained.task].uses["generate"]


def _as_input(trained: Trained, field: "Field[Any]") -> dict[str, Any]:
    limits = {name: field.metadata[name] for name in ("least", "most") if name in field.metadata}
    kind = {"prime": "text", "label": "choice"}.get(field.name, "number")
    whole = get_type_hints(_generate(trained).Options)[field.name] is not float
    return {
        "name": field.name,
        "kind": kind,
        "help": field.metadata["help"],
        "default": field.default,
        "whole": whole,
        "choices": list(trained.codec.labels) if kind == "choice" else [],
        **({"most": MAX_TOKENS} if field.name in ("length", "lines") else {}),
        **limits,
    }


def options_of(trained: Trained, request: Any) -> WritingOptions:
    """The options of a request; raises UsageError for unknown options, wrong types, and too many tokens.

    A prime is always a text, never a file.
    """
    if not isinstance(request, dict):
        raise UsageError('a request is a JSON object, such as {"prime": "the", "length": 20}')
    Options, names = _generate(trained).Options, [each.name for each in _offered(trained)]
    kinds = get_type_hints(Options)
    unknown = [name for name in request if name not in names]
    if unknown:
        raise UsageError(f"there is no option {unknown[0]!r}: the options are {', '.join(names)}")
    given = {name: as_kind(value, kinds[name], name) for name, value in request.items() if value is not None}
    if given.get("prime", "").startswith("@"):
        given["prime"] = f"@{given['prime']}"
    options: WritingOptions = Options(**given)
    check_limits(options)
    tokens = options.length * getattr(options, "lines", 1)
    if tokens > MAX_TOKENS:
        raise UsageError(f"{tokens:,} tokens are too many at once: ask for at most {MAX_TOKENS:,}")
    return options


class Writer:
    """Generates in a thread of its own, one text at a time, in the order of the requests.

    Torch's settings for matmuls are global, so interleaved texts would differ from those of `rnn generate` in
    the last bit. `MAX_TOKENS` bounds the wait for another text.
    """

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self.thread = ThreadPoolExecutor(1, "writer")

    async def write(self, options: WritingOptions) -> AsyncGenerator[list[Event], None]:
        """Generate a text: yields batches of new tokens, and at the end the whole text, or an error.

        Closing the generator stops the generation.
        """
        loop, events, left = asyncio.get_running_loop(), asyncio.Queue[Event](), threading.Event()

        def send(event: Event) -> None:
            if left.is_set():
                raise Disconnected
            loop.call_soon_threadsafe(events.put_nowait, event)

        def work() -> None:
            with contextlib.suppress(Disconnected):
                try:
                    send(self._written(replace(options, listen=lambda token: send(_token_event(token)))))
                except Disconnected:
                    raise
                except Exception as error:
                    send(_failure(error))

        future = self.thread.submit(work)
        try:
            more = True
            while more:
                batch = [await events.get()]
                while not events.empty():
                    batch.append(events.get_nowait())
                more = "token" in batch[-1]
                yield batch
        finally:
            left.set()
            future.cancel()

    def _written(self, options: WritingOptions) -> Event:
        written: Written = _generate(self.trained).run(self.trained, options)
        return {"text": written.texts[0], "seed": written.seed, "unknown": written.unknown}


def _token_event(token: DrawnToken) -> Event:
    likeliest = [[visible(name), round(prob, 6)] for name, prob in token.likeliest]
    return {"line": token.line, "token": token.text, "probability": round(token.probability, 6), "likeliest": likeliest}


def _failure(error: Exception) -> Event:
    if isinstance(error, RnnError):
        return {"error": _one_line(str(error)), "status": 400 if isinstance(error, UsageError) else 500}
    return {"error": _one_line(f"{type(error).__name__}: {error} (this is a bug in rnn)"), "status": 500}


def _one_line(text: str) -> str:
    """Shorten an error message to one line, without the dashes of a command-line option."""
    return shorten(" ".join(text.split()).removeprefix("--"), MAX_LETTERS - 1)


def _line(value: Mapping[str, Any]) -> bytes:
    return f"{json_line(value)}\n".encode()


def refusal(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """The response to an invalid request: one line of JSON."""
    return Response(_line({"error": _one_line(text)}), status, headers, "application/json")


class EventStream(StreamingResponse):
    """Events as lines of JSON, sent as they arrive; generation stops when the client disconnects."""

    def __init__(self, first: list[Event], events: AsyncGenerator[list[Event], None]) -> None:
        self.events = events
        super().__init__(self._lines(first), media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})

    async def _lines(self, first: list[Event]) -> AsyncIterator[bytes]:
        yield b"".join(map(_line, first))
        async for batch in self.events:
            yield b"".join(map(_line, batch))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.events.aclose()


async def read_json(request: Request) -> Any:
    """Read the JSON of a request; raises HTTPException if it is too long or not JSON.

    Refuses other content types: a foreign page could send them without a CORS preflight.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "Content-Type must be application/json")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            raise HTTPException(413, f"a request has {MAX_BYTES:,} bytes at most")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the request is not JSON: {error}") from None


class OnlyHere:
    """Refuses requests with another host name."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if not HERE.fullmatch(Headers(scope=scope).get("host", "")):
            app = refusal(403, "this server answers only to 127.0.0.1 and localhost")
        await app(scope, receive, send)


def live_page(trained: Trained) -> str:
    """The page of `rnn report`, with a panel to generate text if the model can."""
    first = [write_panel(trained)] if writes(trained) else []
    return page(trained, "rnn serve", first, reach="'self'")[0]


def application(trained: Trained, html: str) -> Starlette:
    """An application with the page of a trained model at `/`, and with `/write` if the model generates text."""
    writer = Writer(trained)

    async def show(_: Request) -> Response:
        return HTMLResponse(html, headers={"Cache-Control": "no-store"})

    async def write(request: Request) -> Response:
        body = await read_json(request)
        try:
            options = options_of(trained, body)
        except UsageError as error:
            return refusal(400, str(error))
        events = writer.write(options)
        first = await anext(events)
        if "error" in first[0]:
            await events.aclose()
            return refusal(first[0]["status"], first[0]["error"])
        return EventStream(first, events)

    async def refuse(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            return refusal(500, _failure(error)["error"])
        texts = {404: f"there is nothing at {request.url.path}", 405: f"{request.url.path} takes no {request.method}"}
        return refusal(error.status_code, texts.get(error.status_code, error.detail), error.headers)

    return Starlette(
        routes=[Route("/", show), *([Route("/write", write, methods=["POST"])] if writes(trained) else [])],
        middleware=[Middleware(OnlyHere)],
        exception_handlers={HTTPException: refuse, Exception: refuse},
    )


def bound(port: int) -> socket.socket:
    """A listening socket that only this machine can reach; raises RnnError if the port is not available."""
    try:
        return socket.create_server(("127.0.0.1", port), backlog=128)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise RnnError(f"port {port}: {reason}: take another --port, or 0 for any free one") from None
