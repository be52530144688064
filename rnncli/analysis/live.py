"""The page of a run live, for this machine alone: it writes token by token, and says how likely each token was.

`GET /` is the page; `POST /write` takes options of `rnn generate` as one JSON object, and answers with a line of JSON a
token. All that is refused is refused in one line of JSON, too.
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
from rnncli.data.text import visible
from rnncli.errors import RnnError, UsageError
from rnncli.language.generate import DrawnToken, WritingOptions, Written
from rnncli.models.sampling import DECODING
from rnncli.panels import Panel
from rnncli.records import json_line
from rnncli.settings import as_kind, check_limits
from rnncli.task import Action, Trained
from rnncli.tasks import TASKS

OFFERED = ("prime", "label", "lines", "length", "seed", *DECODING)
"""Options of `rnn generate` that a request may set, in the order of the page."""

MAX_BYTES = 1 << 16
"""Of a request."""

MAX_TOKENS = 5_000
"""Of an answer: whoever comes next waits for no more."""

MAX_LETTERS = 300
"""Of what is said about an error, which may quote the request."""

HERE = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)
"""The names by which this machine is asked; a page elsewhere that makes its own name lead here is refused."""

Event = dict[str, Any]


class Disconnected(Exception):
    """Nobody waits for the text any more."""


def writes(trained: Trained) -> bool:
    """Whether there is anything that a model writes."""
    return "generate" in TASKS[trained.task].uses


def write_panel(trained: Trained) -> Panel:
    """The panel of a prime, its options, and the text that comes."""
    offered = [_as_input(trained, each) for each in _offered(trained)]
    return {
        "kind": "write",
        "title": "Write",
        "about": "token by token, the warmer, the less likely; by the same seed it is the text of rnn generate",
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
    """The options that a request asks for; raises UsageError for what is strange, of another type, or too much.

    A prime is always the text itself, never a file.
    """
    if not isinstance(request, dict):
        raise UsageError('a request is a JSON object, such as {"prime": "the", "length": 20}')
    Options, names = _generate(trained).Options, [each.name for each in _offered(trained)]
    kinds = get_type_hints(Options)
    unknown = [name for name in request if name not in names]
    if unknown:
        raise UsageError(f"there is no option {unknown[0]!r}: there are {', '.join(names)}")
    given = {name: as_kind(value, kinds[name], name) for name, value in request.items() if value is not None}
    if given.get("prime", "").startswith("@"):
        given["prime"] = f"@{given['prime']}"
    options: WritingOptions = Options(**given)
    check_limits(options)
    tokens = options.length * getattr(options, "lines", 1)
    if tokens > MAX_TOKENS:
        raise UsageError(f"{tokens:,} tokens are too many at once: {MAX_TOKENS:,} are the most")
    return options


class Writer:
    """Writes with a model in a thread of its own, one text at a time, in the order in which they were asked for.

    What torch's products go by belongs to the whole process: texts that were drawn in turns would not be those of `rnn
    generate` to the last bit. `MAX_TOKENS` bounds how long one waits for another.
    """

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self.thread = ThreadPoolExecutor(1, "writer")

    async def write(self, options: WritingOptions) -> AsyncGenerator[list[Event], None]:
        """A text: the tokens that were drawn meanwhile, time after time, and at the end all of it, or an error.

        To close it ends the drawing.
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
            goes_on = True
            while goes_on:
                batch = [await events.get()]
                while not events.empty():
                    batch.append(events.get_nowait())
                goes_on = "token" in batch[-1]
                yield batch
        finally:
            left.set()
            future.cancel()

    def _written(self, options: WritingOptions) -> Event:
        written: Written = _generate(self.trained).run(self.trained, options)
        return {"text": written.texts[0], "seed": written.seed, "unknown": written.unknown}


def _token_event(token: DrawnToken) -> Event:
    likeliest = [[visible(name), round(share, 6)] for name, share in token.likeliest]
    return {"line": token.line, "token": token.text, "probability": round(token.probability, 6), "likeliest": likeliest}


def _failure(error: Exception) -> Event:
    if isinstance(error, RnnError):
        return {"error": _one_line(str(error)), "status": 400 if isinstance(error, UsageError) else 500}
    return {"error": _one_line(f"{type(error).__name__}: {error} (a fault of rnn itself)"), "status": 500}


def _one_line(text: str) -> str:
    """What is said about an error: options go without the dashes that they have on a command line."""
    text = " ".join(text.split()).removeprefix("--")
    return text if len(text) <= MAX_LETTERS else f"{text[: MAX_LETTERS - 1]}…"


def _line(value: Mapping[str, Any]) -> bytes:
    return f"{json_line(value)}\n".encode()


def refusal(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """What is wrong with a request, in one line of JSON."""
    return Response(_line({"error": _one_line(text)}), status, headers, "application/json")


class EventStream(StreamingResponse):
    """Events as lines of JSON, as they come; whoever is gone before their end ends them."""

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
    """The JSON of a request; raises HTTPException for one that is too long, or is none.

    No other kind of content is read: a page elsewhere could send it without asking first whether it may.
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
    """Refuses requests that call this machine by another name."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if not HERE.fullmatch(Headers(scope=scope).get("host", "")):
            app = refusal(403, "this server answers to 127.0.0.1 and localhost alone")
        await app(scope, receive, send)


def live_page(trained: Trained) -> str:
    """The page of `rnn report`, with a panel to write, where the model writes."""
    first = [write_panel(trained)] if writes(trained) else []
    return page(trained, "rnn serve", first, reach="'self'")[0]


def application(trained: Trained, html: str) -> Starlette:
    """The page of a trained model at `/`; and `/write`, where it writes."""
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
    """A socket that this machine alone can reach, ready for clients; raises RnnError where the port cannot be had."""
    try:
        return socket.create_server(("127.0.0.1", port), backlog=128)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise RnnError(f"port {port}: {reason}: take another --port, or 0 for any that is free") from None
