"""Downloading one file over http(s): resumed where it stopped, checked by size and SHA-256, put in place."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from rnncli.errors import RnnError
from rnncli.files import reason, replace, sync_folder
from rnncli.terminal import progress_bar, write_message

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from ssl import SSLCertVerificationError, SSLContext

_CHUNK = 1 << 14  # bytes a read; a stop loses less than this
_TIMEOUT = 30.0  # seconds without a byte after which a connection counts as cut
_PAUSES = (0.5, 1.0, 2.0)  # seconds before the second, third and fourth attempt
_TRY_AGAIN = {408, 425, 429}  # these answers, like all from 500 on, say that the server may do better later


class _CutError(Exception):
    """The connection failed or broke off: another attempt may get the rest."""


class _WrongTextError(RnnError):
    """What came is not the text that was asked for: none of it is worth keeping."""


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(
    url: str,
    target: Path,
    *,
    size: int | None,
    sha256: str,
    digest: Callable[[Path], str] = file_sha256,
    progress: bool = True,
) -> None:
    """Put the text at `url` into the file `target`, which appears only once it is whole and proven right.

    `size` is in bytes, or None for what the server says, where only the contents are known; `sha256` is in lower-case
    hexadecimal digits, and `digest` says what it is of. What has come so far lies in
    `<target>.part`: a connection that is cut, or a Ctrl-C, leaves it there, and the next call fetches the
    rest only. Raises RnnError for an address that is not http(s), a server that refuses, a connection that
    fails four times, a text of another size or hash (then the part is removed), a full or forbidden disk.
    """
    if not url.startswith(("http://", "https://")):
        raise RnnError(f"{url} cannot be downloaded: only http:// and https:// addresses can")
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            _fill(file, url, size, target.name if progress else None)
            os.fsync(file.fileno())
        if (found := digest(part)) != sha256:
            raise _WrongTextError(_not_expected(url, f"SHA-256 {sha256}", found))
        replace(part, target)
        sync_folder(target.parent)
    except _WrongTextError:
        part.unlink()
        raise
    except _CutError as cut:
        raise RnnError(f"cannot download {url}: {cut}; {_go_on(part)}") from None
    except KeyboardInterrupt:
        # Said here, since the command line turns a Ctrl-C into an exit code without asking for its text.
        write_message(f"download of {url} interrupted; {_go_on(part)}")
        raise
    except OSError as error:
        raise _unwritable(part, size, error) from None
    finally:
        _clear_if_empty(part)


def _fill(file: BinaryIO, url: str, size: int | None, name: str | None) -> None:
    """Append to `file` until it holds `size` bytes, going on after a cut; no `name` means no progress bar."""
    if size is not None and file.tell() > size:  # left over from something else
        _empty(file)
    with progress_bar(size, "B", name or "", done=file.tell(), scaled=True, shown=name is not None) as bar:
        for pause in (*_PAUSES, None):
            try:
                _append(file, url, size, bar)
                return
            except _CutError:
                if pause is None:
                    raise
                time.sleep(pause)


def _append(file: BinaryIO, url: str, size: int | None, bar: Any) -> None:
    """Write what one connection brings of the missing bytes; it is stopped at the first byte too many."""
    have = file.tell()
    if have == size:  # the last run was stopped just before the end
        return
    with _connect(url, have) as response:
        if have and response.status != 206:
            _empty(file)
            bar.initial = 0  # else the speed shown would be negative
            bar.reset()
        said = None if response.length is None else file.tell() + response.length
        size = said if size is None else size
        if size is None:
            raise RnnError(f"cannot download {url}: the server does not say how long it is; get it elsewhere")
        if said not in (None, size):
            raise _WrongTextError(_not_expected(url, f"{size:,} bytes", f"{said:,}"))
        bar.total = size
        while chunk := _read(response, min(_CHUNK, size + 1 - file.tell())):
            file.write(chunk)
            file.flush()  # so that even a killed process leaves its part
            bar.update(len(chunk))
    if file.tell() > size:
        raise _WrongTextError(_not_expected(url, f"{size:,} bytes", "more"))
    if file.tell() < size:
        raise _CutError(f"the connection broke off after {file.tell():,} of {size:,} bytes")


def _connect(url: str, have: int) -> "HTTPResponse":
    """Open `url` at byte `have` (status 206), or at its start where the server cannot go on from there."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    headers = {"User-Agent": "rnncli"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with _network(url):
            context = _trust() if url.startswith("https://") else None
            response: HTTPResponse = urlopen(Request(url, headers=headers), timeout=_TIMEOUT, context=context)
    except HTTPError as error:
        error.close()
        if error.code == 416 and have:
            return _connect(url, 0)
        answer = f"the server answers {error.code} {error.reason}"
        if error.code >= 500 or error.code in _TRY_AGAIN:
            raise _CutError(answer) from None
        raise RnnError(f"cannot download {url}: {answer}; check the address, or get the text elsewhere") from None
    if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        response.close()
        return _connect(url, 0)
    return response


def _trust() -> "SSLContext":
    """The certificates to trust: the system's own, which some Pythons on macOS do not find, or those that OpenSSL's
    variables name.
    """
    import ssl

    import truststore

    if {"SSL_CERT_FILE", "SSL_CERT_DIR"} & set(os.environ):
        return ssl.create_default_context()
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _untrusted(url: str, error: "SSLCertVerificationError") -> RnnError:
    why = getattr(error, "verify_message", None) or error
    return RnnError(
        f"cannot download {url}: this system does not trust the server's certificate ({why}); check "
        "the clock, or name the file of your network's own certificates in the variable SSL_CERT_FILE"
    )


def _read(response: "HTTPResponse", max_bytes: int) -> bytes:
    with _network(response.url):
        return response.read(max_bytes)


@contextmanager
def _network(url: str) -> Iterator[None]:
    """Make a `_CutError` of a failure of the network, to tell it from one of the disk; HTTPError passes.

    Raises RnnError for a certificate that is not trusted: it is no better the next time.
    """
    import ssl
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError

    try:
        yield
    except HTTPError:
        raise
    except (HTTPException, OSError, ValueError) as error:  # ValueError: a host name that cannot be one
        cause = error.reason if isinstance(error, URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise _untrusted(url, cause) from None
        raise _CutError(getattr(cause, "strerror", None) or str(cause) or type(cause).__name__) from None


def _not_expected(url: str, expected: str, found: str) -> str:
    return (
        f"the text at {url} is not the one expected (expected {expected}, found {found}): it was removed;"
        " run the same command again, or get the text elsewhere"
    )


def _go_on(part: Path) -> str:
    """What to do after a stop, and what is kept until then."""
    kept = part.stat().st_size if part.exists() else 0
    if kept == 0:
        return "check the network and run the same command again"
    return f"{kept:,} bytes are kept in {part}: run the same command again to go on from there"


def _clear_if_empty(part: Path) -> None:
    with suppress(OSError):
        if part.is_file() and part.stat().st_size == 0:
            part.unlink()


def _unwritable(part: Path, size: int | None, error: OSError) -> RnnError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    room = "room" if size is None else f"room for {size:,} bytes"
    advice = f"make {room}" if full else "make the folder one that you can write to"
    return RnnError(f"cannot write {part}: {reason(error)}; {advice} and run the same command again")


def _empty(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()
