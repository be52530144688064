"""Run the server of a page in a thread of this process, and send requests to it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from threading import Thread
from typing import Any, NamedTuple

from rnncli.analysis import connections, live
from rnncli.task import Trained


@contextmanager
def served(trained: Trained, html: str = "the page", warn: Callable[[str], None] = print) -> Iterator[int]:
    """Serve a model inside this context; yields the port."""
    door = live.bound(0)
    port: int = door.getsockname()[1]
    server = connections.Server(live.application(trained, html), warn)
    thread = Thread(target=server.run, args=([door],))
    thread.start()
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


class Answer(NamedTuple):
    """The answer of a server."""

    status: int
    kind: str
    text: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON of each line."""
        return [json.loads(line) for line in self.text.splitlines()]


JSON = {"Content-Type": "application/json"}


def ask(port: int, body: Any, method: str = "POST", path: str = "/write", headers: dict[str, str] = JSON) -> Answer:
    """Send a request; a body that is not bytes is sent as JSON."""
    connection = HTTPConnection("127.0.0.1", port)
    try:
        connection.request(method, path, body if isinstance(body, bytes) else json.dumps(body), headers)
        response = connection.getresponse()
        return Answer(response.status, response.getheader("Content-Type", ""), response.read().decode())
    finally:
        connection.close()
