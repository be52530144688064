"""Downloads from a local server that fails in every way a real one may."""

import hashlib
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from rnncli.data.download import download
from rnncli.errors import RnnError

BODY = b"".join(b"line %06d of a corpus\n" % number for number in range(8_000))
HALF = len(BODY) // 2
SHA256 = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers each request by the next entry of the server's script."""

    server: "Server"

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers["Range"])
        try:
            self.server.script.pop(0)(self)
        except (BrokenPipeError, ConnectionResetError):
            self.server.dropped = True

    def log_message(self, *_: object) -> None: ...

    def start(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


class Server(HTTPServer):
    """A server with a script of answers; it records the Range of each request, and clients that hang up."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Answer] = []
        self.ranges: list[str | None] = []
        self.dropped = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/corpus.txt"


Answer = Callable[[Handler], None]


def whole(handler: Handler, body: bytes = BODY) -> None:
    handler.start(200, Content_Length=len(body))
    handler.wfile.write(body)


def cut(handler: Handler) -> None:
    handler.start(200, Content_Length=len(BODY))
    handler.wfile.write(BODY[:HALF])


def cut_without_a_length(handler: Handler) -> None:
    handler.start(200)
    handler.wfile.write(BODY[:HALF])


def stall(handler: Handler) -> None:
    cut(handler)
    handler.wfile.flush()
    time.sleep(0.3)


def rest(handler: Handler) -> None:
    first = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    span = f"bytes {first}-{len(BODY) - 1}/{len(BODY)}"
    handler.start(206, Content_Length=len(BODY) - first, Content_Range=span)
    handler.wfile.write(BODY[first:])


def another_range(handler: Handler) -> None:
    handler.start(206, Content_Length=3, Content_Range=f"bytes 0-2/{len(BODY)}")
    handler.wfile.write(BODY[:3])


def endless(handler: Handler) -> None:
    handler.start(200)
    for _ in range(1_000):  # 64 MB if nobody stops it
        handler.wfile.write(b"x" * 65_536)


def wrong(handler: Handler) -> None:
    whole(handler, BODY.swapcase())


def shorter(handler: Handler) -> None:
    whole(handler, BODY[:-1])


def status(code: int) -> Answer:
    return lambda handler: handler.start(code, Content_Length=0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("rnncli.data.download._PAUSES", (0, 0, 0))
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "corpus.txt"


def part_of(target: Path, data: bytes = b"") -> Path:
    """The part file of `target`, filled with `data` if there is any."""
    part = target.with_name("corpus.txt.part")
    if data:
        part.parent.mkdir(exist_ok=True)
        part.write_bytes(data)
    return part


def get(server: Server, target: Path, *script: Answer) -> None:
    server.script = list(script)
    download(server.url, target, size=len(BODY), sha256=SHA256, progress=False)


def refusal(server: Server, target: Path, *script: Answer) -> str:
    """The one-line error of a failed download, which leaves no target file."""
    with pytest.raises(RnnError) as caught:
        get(server, target, *script)
    assert not target.exists()
    assert not server.script, "an answer was not requested"
    line = str(caught.value)
    assert "\n" not in line
    return line


def assert_done(server: Server, target: Path) -> None:
    assert target.read_bytes() == BODY
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert not server.script, "an answer was not requested"


def test_a_whole_text(server: Server, target: Path) -> None:
    get(server, target, whole)
    assert_done(server, target)
    assert server.ranges == [None]


def test_an_older_file_is_replaced(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    get(server, target, whole)
    assert_done(server, target)


@pytest.mark.parametrize("first", [cut, cut_without_a_length])
def test_broken_connection_resumes_where_it_stopped(server: Server, target: Path, first: Answer) -> None:
    get(server, target, first, rest)
    assert_done(server, target)
    assert server.ranges == [None, f"bytes={HALF}-"]


def test_silent_connection_counts_as_broken(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncli.data.download._TIMEOUT", 0.1)
    get(server, target, stall, status(503), rest)
    assert_done(server, target)


@pytest.mark.parametrize(
    "answers",
    [[whole], [status(416), whole], [another_range, whole]],
    ids=["ignores", "416", "another range"],
)
def test_server_without_ranges_starts_from_the_beginning(server: Server, target: Path, answers: list[Answer]) -> None:
    part_of(target, BODY[:1000])
    get(server, target, *answers)
    assert_done(server, target)
    assert server.ranges == ["bytes=1000-", None][: len(answers)]


def test_temporary_server_errors_are_retried(server: Server, target: Path) -> None:
    get(server, target, status(500), status(503), status(429), whole)
    assert_done(server, target)


def test_repeated_server_errors_are_reported(server: Server, target: Path) -> None:
    line = refusal(server, target, *[status(503)] * 4)
    assert "the server answers 503 Service Unavailable; check the network and run the same command" in line
    assert not part_of(target).exists()


def test_connections_that_keep_breaking_leave_the_part_to_the_next_call(server: Server, target: Path) -> None:
    line = refusal(server, target, *[cut] * 4)
    assert f"broke off after {HALF:,} of {len(BODY):,} bytes" in line
    assert f"{HALF:,} bytes are kept in {part_of(target)}" in line
    get(server, target, rest)
    assert_done(server, target)


def test_complete_part_is_renamed_without_a_request(server: Server, target: Path) -> None:
    part_of(target, BODY)
    get(server, target)
    assert_done(server, target)


def test_part_longer_than_the_text_is_discarded(server: Server, target: Path) -> None:
    part_of(target, BODY + b"more")
    get(server, target, whole)
    assert_done(server, target)
    assert server.ranges == [None]


def test_a_corrupt_part_is_removed_and_the_next_call_succeeds(server: Server, target: Path) -> None:
    part_of(target, BODY[:1000].swapcase())
    assert "SHA-256" in refusal(server, target, rest)
    assert not part_of(target).exists()
    get(server, target, whole)
    assert_done(server, target)


def test_a_wrong_hash_names_both(server: Server, target: Path) -> None:
    line = refusal(server, target, wrong)
    assert f"expected SHA-256 {SHA256}, found {hashlib.sha256(BODY.swapcase()).hexdigest()}" in line
    assert not part_of(target).exists()


def test_a_wrong_size_names_both(server: Server, target: Path) -> None:
    line = refusal(server, target, shorter)
    assert f"expected {len(BODY):,} bytes, found {len(BODY) - 1:,}" in line
    assert not part_of(target).exists()


def test_an_endless_text_is_cut_off(server: Server, target: Path) -> None:
    assert f"expected {len(BODY):,} bytes, found more" in refusal(server, target, endless)
    assert not part_of(target).exists()
    server.shutdown()  # returns when the current answer has ended
    assert server.dropped


def test_missing_text_is_requested_only_once(server: Server, target: Path) -> None:
    assert "the server answers 404 Not Found; check the address" in refusal(server, target, status(404))
    assert list(target.parent.iterdir()) == []


@pytest.mark.usefixtures("server")
def test_a_refused_connection(target: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # reserved, but not listening
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        with pytest.raises(RnnError, match="Connection refused; check the network and run the same command again"):
            download(url, target, size=1, sha256=SHA256)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/corpus.txt", "file:///etc/hostname", "corpus.txt", ""])
def test_only_http_addresses(target: Path, url: str) -> None:
    with pytest.raises(RnnError, match="only http:// and https:// addresses"):
        download(url, target, size=1, sha256=SHA256)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("url", ["http://", "http://[", "http://a..b/", "http://127.0.0.1/a b"])
def test_invalid_addresses_are_refused(target: Path, url: str) -> None:
    with pytest.raises(RnnError, match=re.escape(f"cannot download {url}: ")):
        download(url, target, size=1, sha256=SHA256)


def test_a_ctrl_c_keeps_the_part_and_says_so(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rnncli.data.download.time", SimpleNamespace(sleep=interrupt))
    with pytest.raises(KeyboardInterrupt):
        get(server, target, cut)
    assert f"{HALF:,} bytes are kept in {part_of(target)}: run the same command" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "*")
    get(server, target, rest)
    assert_done(server, target)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk(server: Server, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).symlink_to("/dev/full")
    line = refusal(server, target, whole)
    assert f"No space left on device; make room for {len(BODY):,} bytes" in line


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"a file")
    assert "make the folder one that you can write to" in refusal(server, tmp_path / "data" / "corpus.txt")


def test_progress_bar_goes_only_to_standard_error(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = [cut, whole]
    download(server.url, target, size=len(BODY), sha256=SHA256)
    out, err = capsys.readouterr()
    assert out == ""
    assert "corpus.txt" in err
    assert "100%" in err
    assert err.count("\r") < 10, "piped, the bar is sparse"


@pytest.fixture
def secure(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TLS server with a certificate of an unknown authority; returns the file of the authority's certificate."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    monkeypatch.setattr(server, "handle_error", lambda *_: None)  # of a client that hangs up
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    return tmp_path / "authority.pem"


def fetch_securely(server: Server, target: Path) -> None:
    url = server.url.replace("http:", "https:")
    download(url, target, size=len(BODY), sha256=SHA256, progress=False)


def test_a_certificate_that_is_not_trusted_is_one_line(secure: Path, server: Server, tmp_path: Path) -> None:
    """Another attempt would not help: there is none, and no file remains."""
    with pytest.raises(RnnError, match=r"does not trust the server's certificate \(.+\); check the clock, or name"):
        fetch_securely(server, tmp_path / "corpus.txt")
    assert server.ranges == []
    assert [each.name for each in tmp_path.iterdir()] == ["authority.pem"]


def test_certificates_named_by_the_variable_are_trusted(
    secure: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(secure))
    server.script = [whole]
    fetch_securely(server, tmp_path / "corpus.txt")
    assert (tmp_path / "corpus.txt").read_bytes() == BODY


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="a test must not add to the certificates of the system")
def test_system_certificates_are_used_where_python_finds_none(
    secure: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with python.org's Python on macOS: OpenSSL's folder does not exist, but the system has certificates."""
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: None)
    monkeypatch.setattr(ssl.SSLContext, "set_default_verify_paths", lambda *_: None)
    found = ssl.get_default_verify_paths()._replace(cafile=None, capath=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: found)
    monkeypatch.setattr("truststore._openssl._CA_FILE_CANDIDATES", [str(secure)])
    context = ssl.create_default_context()
    with socket.create_connection(server.server_address) as plain, pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(plain, server_hostname="127.0.0.1")
    server.script = [whole]
    fetch_securely(server, tmp_path / "corpus.txt")
    assert (tmp_path / "corpus.txt").read_bytes() == BODY
