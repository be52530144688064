"""Download one file over http(s): resume after an interruption, check size and SHA-256, rename into place."""

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

_CHUNK = 1 << 14  # bytes per read; an interruption loses less than this
_TIMEOUT = 30.0  # seconds without a byte until a connection counts as broken
_PAUSES = (0.5, 1.0, 2.0)  # seconds before the second, third and fourth attempt
_TRY_AGAIN = {408, 425, 429}  # temporary errors, like all from 500 on


class _CutError(Exception):
    """The connection failed or broke: another attempt may get the rest."""


class _WrongTextError(RnnError):
    """The download is not the expected text and is discarded."""


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
    """Download `url` to the file `target`, which appears only when it is complete and verified.

    `size` is in bytes; None takes the size that the server reports. `sha256` is in lower-case hexadecimal digits, and
    `digest` computes it from a file. Unfinished downloads stay in `<target>.part`: a broken connection or a Ctrl-C
    leaves the file there, and the next call fetches only the rest. Raises RnnError for an address that is not http(s),
    a server that refuses, a connection that fails four times, a text of another size or hash (the part is then
    removed), and a disk that is full or not writable.
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
        # Printed here: the command line turns a Ctrl-C into an exit code without printing a message.
        write_message(f"download of {url} interrupted; {_go_on(part)}")
        raise
    except OSError as error:
        raise _unwritable(part, size, error) from None
    finally:
        _clear_if_empty(part)


def _fill(file: BinaryIO, url: str, size: int | None, name: str | None) -> None:
    """Append to `file` until it holds `size` bytes, with retries; without a `name` there is no progress bar."""
    if size is not None and file.tell() > size:  # left over from another download
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
    """Write the missing bytes that one connection delivers; stop at the first byte too many."""
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
            raise RnnError(f"cannot download {url}: the server does not report its size; get it elsewhere")
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
    """Open `url` at byte `have` (status 206), or at its start if the server cannot resume."""
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
    """Trust the system's certificates, or those that OpenSSL's variables name.

    Some Pythons on macOS do not find the system's by themselves.
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
    """Turn network errors into `_CutError`, to tell them from disk errors; HTTPError passes through.

    Raises RnnError for a certificate that is not trusted: another attempt would not help.
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
    """Advice after an interruption: what is kept, and how to continue."""
    kept = part.stat().st_size if part.exists() else 0
    if kept == 0:
        return "check the network and run the same command again"
    return f"{kept:,} bytes are kept in {part}: run the same command again to continue from there"


def _clear_if_empty(part: Path) -> None:
    with suppress(OSError):
        if part.is_file() and part.stat().st_size == 0:
            part.unlink()


def _unwritable(part: Path, size: int | None, error: OSError) -> RnnError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    space = "room" if size is None else f"room for {size:,} bytes"
    advice = f"make {space}" if full else "make the folder one that you can write to"
    return RnnError(f"cannot write {part}: {reason(error)}; {advice} and run the same command again")


def _empty(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()
