"""A server on this machine to download corpora from."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rnncli.data.sources import Remote


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve the files of a folder inside this context; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def registered(corpus: str, file: str, url: str, text: bytes) -> Remote:
    """The entry of a corpus, or of one of its files, with this text at an address."""
    return Remote(corpus, "made up", file, url, len(text), hashlib.sha256(text).hexdigest())
