"""Reading a user's text, whatever the file holds: clean lines come out, or one line that says why not."""

import codecs
import gzip
import os
import stat
import sys
import zlib
from pathlib import Path

from rnncli.errors import RnnError

STDIN = "standard input"

_GZIP_MARK = b"\x1f\x8b"
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Control characters that texts hardly hold: all but tab, line feed, form feed, carriage return and escape.
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\f\r\x1b")) + b"\x7f"
# Their share of all bytes above which a file is no text; logs stay far below, pictures and archives do not.
_MOST_CONTROLS = 0.05


def read_text(path: Path) -> str:
    """The text of a file, gzipped or not, with line feeds as the only line ends and no byte order mark.

    Raises RnnError for anything but a regular file that holds some text in UTF-8, or in UTF-16 with its byte
    order mark.
    """
    return _refuse_blank(_decode(unzipped(_read_bytes(path), path), str(path)), str(path))


def unzipped(data: bytes, path: Path) -> bytes:
    """What a file holds, decompressed where it is gzipped; raises RnnError where it is damaged."""
    if not data.startswith(_GZIP_MARK):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        raise RnnError(f"{path} is damaged: it is not whole as a gzip file; get it anew") from None


def read_stdin() -> str:
    """The text that comes in on standard input, up to its end; decoded, and refused, as by `read_text`."""
    if sys.stdin is None:
        raise RnnError(f"{STDIN} is closed: pipe a text in, or name a file")
    try:
        data = sys.stdin.buffer.read()
    except OSError as error:
        raise _unreadable(STDIN, error) from None
    return _refuse_blank(_decode(data, STDIN), STDIN)


def read_folder(path: Path) -> str:
    """The texts of all `*.txt` files below a folder but blank ones, sorted by path, joined by line feeds.

    Raises RnnError where there is no such file, where all are blank, and where one of them is not text.
    """
    if not stat.S_ISDIR(_status(path).st_mode):
        raise RnnError(f"{path} is not a folder: name one that holds *.txt files")
    files = [file for file in sorted(path.rglob("*.txt")) if not stat.S_ISDIR(_status(file).st_mode)]
    if not files:
        raise RnnError(f"no *.txt file lies in or below the folder {path}: add one, or name another folder")
    texts = [_decode(_read_bytes(file), str(file)) for file in files]
    return _refuse_blank("\n".join(text for text in texts if text.strip()), f"every *.txt file below {path}")


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None


def _read_bytes(path: Path) -> bytes:
    mode = _status(path).st_mode
    if stat.S_ISDIR(mode):
        raise RnnError(f"{path} is a folder, not a file: name one of the files in it")
    if not stat.S_ISREG(mode):
        # Opening a pipe may wait for ever, and a device may never end.
        raise RnnError(f"{path} is not a regular file but a pipe or a device: save its text in a file, or use `-`")
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(name: object, error: OSError) -> RnnError:
    if isinstance(error, FileNotFoundError):
        return RnnError(f"{name} does not exist: check its name and the folder")
    if isinstance(error, PermissionError):
        return RnnError(f"{name} may not be read by you: change its permissions, e.g. `chmod u+r`")
    return RnnError(f"{name} cannot be read: {error.strerror or error}")


def _decode(data: bytes, name: str) -> str:
    """The text in `data`, with its line ends made line feeds; `name` says in errors where it comes from."""
    if data.startswith(_UTF16_MARKS):
        text = _decode_utf16(data, name)
    else:
        _refuse_binary(data, name)
        text = _decode_utf8(data, name)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decode_utf16(data: bytes, name: str) -> str:
    try:
        text = data.decode("utf-16")
    except UnicodeDecodeError as error:
        raise RnnError(
            f"{name} starts as UTF-16 text but is damaged at byte offset {error.start}: save it anew as UTF-8"
        ) from None
    if "\0" in text:  # UTF-32 starts with UTF-16's mark
        raise RnnError(f"{name} is not plain text (it holds NUL characters): save it anew as UTF-8")
    return text


def _decode_utf8(data: bytes, name: str) -> str:
    try:
        # Not "utf-8-sig", whose errors count from behind the mark.
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        # The x stands for the bad byte, so that one at the start of a line counts as on that line.
        line = len((data[: error.start] + b"x").splitlines())
        raise RnnError(
            f"{name} is not UTF-8 text (line {line}, byte offset {error.start}: 0x{data[error.start]:02x});"
            " convert it, e.g. `iconv -f LATIN1 -t UTF-8 FILE > NEW`"
        ) from None


def _refuse_binary(data: bytes, name: str) -> None:
    if b"\0" in data:
        if order := _utf16_order(data):
            raise RnnError(
                f"{name} looks like UTF-16 text without its byte order mark;"
                f" convert it, e.g. `iconv -f UTF-16{order} -t UTF-8 FILE > NEW`"
            )
        raise RnnError(f"{name} is a binary file (it holds NUL bytes), not a text: name a plain text file")
    controls = len(data) - len(data.translate(None, _CONTROLS))
    if controls > _MOST_CONTROLS * len(data):
        raise RnnError(
            f"{name} is a binary file (of its {len(data):,} bytes {controls:,} are control characters),"
            " not a text: name a plain text file"
        )


def _utf16_order(data: bytes) -> str:
    """`LE` or `BE` where NULs are mostly every second byte, as in UTF-16 of Latin letters; else nothing."""
    even, odd = data[::2].count(0), data[1::2].count(0)
    half = len(data) / 2
    if odd > 0.5 * half and even < 0.05 * half:
        return "LE"
    if even > 0.5 * half and odd < 0.05 * half:
        return "BE"
    return ""


def _refuse_blank(text: str, name: str) -> str:
    if not text or text.isspace():
        raise RnnError(f"{name} is empty or holds only white space: there is no text to work on")
    return text
