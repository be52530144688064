"""Read a user's text from any file: the result is clean text, or a one-line error."""

import codecs
import gzip
import io
import os
import stat
import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO

from rnncli.data.marks import DOTTED_CIRCLE, JOINERS, is_mark
from rnncli.errors import RnnError

STDIN = "standard input"

BLOCK = 1 << 20
"""Bytes that are read at a time."""

READING = 4
"""The rules by which this version reads files, recorded in checkpoints; see CHANGELOG.

In 1, a lone CR ended a line. In 1 and 2, a combining mark ended a word of `--tokens word` and `bpe`. Before 4,
JSON lines were plain text.
"""

PARTS_MARKS = "parts_marks"
"""The part of a model's payload that is true where its words are those of READING 1 and 2, and else absent."""

_GZIP_MARK = b"\x1f\x8b"
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Control characters that are rare in text: all except tab, line feed, form feed, carriage return and escape.
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\f\r\x1b")) + b"\x7f"
# A file with a greater share of them is not text; logs stay far below, pictures and archives do not.
_MAX_CONTROLS = 0.05

_reading = ContextVar("reading", default=READING)


@contextmanager
def read_as(reading: int) -> Iterator[None]:
    """In this context, files are read by the rules of that number of READING."""
    token = _reading.set(reading)
    try:
        yield
    finally:
        _reading.reset(token)


def reads_as_before() -> bool:
    """Whether files are read by the rules of READING 1."""
    return _reading.get() < 2


def ends_words_at_marks() -> bool:
    """Whether `--tokens word` and `bpe` split by the rules of READING 1 and 2."""
    return _reading.get() < 3


def reads_json_lines() -> bool:
    """Whether a file that ends in .jsonl has a JSON object per line, as from READING 4 on."""
    return _reading.get() >= 4


def lines_of(text: str) -> list[str]:
    """The lines of a text from `read_text`: only a line feed ends a line, and no line follows the last line feed."""
    return text.removesuffix("\n").split("\n") if text else []


def read_text(path: Path) -> str:
    """Read the text of a file, gzipped or not, with a line feed for each CRLF and no byte order mark.

    Raises RnnError unless the file is a regular file with some text in UTF-8, or in UTF-16 with a byte order mark.
    """
    return "".join(text_pieces(path))


def text_pieces(path: Path) -> Iterator[str]:
    """The same piece by piece, for files of any size; raises RnnError at the first fault, or at the end."""
    return _not_blank(_decoded_file(path), str(path))


def folder_pieces(path: Path) -> Iterator[str]:
    """The texts of all `*.txt` files below a folder but blank ones, sorted by path, joined by line feeds; in pieces.

    Raises RnnError where there is no such file, where all are blank, and where one is not text.
    """
    return _not_blank(join_texts(map(_decoded_file, texts_below(path))), f"every *.txt file below {path}")


def texts_below(path: Path) -> list[Path]:
    """The `*.txt` files below a folder, sorted by path; raises RnnError if there is none."""
    if not stat.S_ISDIR(_status(path).st_mode):
        raise RnnError(f"{path} is not a folder: name one that holds *.txt files")
    files = [file for file in sorted(path.rglob("*.txt")) if not stat.S_ISDIR(_status(file).st_mode)]
    if not files:
        raise RnnError(f"no *.txt file lies in or below the folder {path}: add one, or name another folder")
    return files


def join_texts(texts: Iterable[Iterable[str]]) -> Iterator[str]:
    """Join texts, each an iterable of pieces, with line feeds; skip blank ones."""
    separator = ""
    for text in texts:
        begin, begun = separator, False
        for piece in text:
            begun = begun or not _is_blank(piece)
            begin += piece
            if begun and begin:
                yield begin
                begin, separator = "", "\n"


def visible(text: str, keep: str = "") -> str:
    """Show a text on one line, with a symbol for each invisible character and an escape for each control character.

    A blank gets a symbol only in a text of blanks; characters in `keep` stay as they are. Without `keep` the text is
    displayed on its own, and a combining mark at its beginning gets a dotted circle as its letter.
    """
    if text and not text.strip(" ") and " " not in keep:
        return "␣" * len(text)
    signs = {"\n": "↵", "\t": "→"}
    letter = DOTTED_CIRCLE * (not keep and text[:1] != "" and is_mark(text[0]))
    return letter + "".join(
        c if c.isprintable() or c in JOINERS or c in keep else signs.get(c, c.encode("unicode_escape").decode())
        for c in text
    )


def read_stdin() -> str:
    """Read all of standard input; same decoding and errors as `read_text`."""
    if sys.stdin is None:
        raise RnnError(f"{STDIN} is closed: pipe a text in, or name a file")
    try:
        return _to_its_end(sys.stdin.buffer)
    except OSError as error:
        raise _unreadable(STDIN, error) from None


@lru_cache(maxsize=1)
def _to_its_end(stream: BinaryIO) -> str:
    """Read a stream; the cache serves every later caller, since a stream can be read only once."""
    return "".join(_not_blank(_decoded(_blocks(stream), STDIN), STDIN))


def unzipped(data: bytes, path: Path) -> bytes:
    """The contents of a file, decompressed if gzipped; raises RnnError for damaged gzip data."""
    return b"".join(_gunzipped(io.BytesIO(data), path)) if data.startswith(_GZIP_MARK) else data


def _decoded_file(path: Path) -> Iterator[str]:
    mode = _status(path).st_mode
    if stat.S_ISDIR(mode):
        raise RnnError(f"{path} is a folder, not a file: name one of the files in it")
    if not stat.S_ISREG(mode):
        # Opening a pipe may block forever, and a device may never end.
        raise RnnError(f"{path} is not a regular file but a pipe or a device: save its text in a file, or use `-`")
    try:
        with path.open("rb") as file:
            zipped = file.peek(2).startswith(_GZIP_MARK)
            yield from _decoded(_gunzipped(file, path) if zipped else _blocks(file), str(path))
    except OSError as error:
        raise _unreadable(path, error) from None


def _blocks(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    return iter(partial(file.read, BLOCK), b"")


def _gunzipped(file: BinaryIO, path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(file) as inner:
            yield from _blocks(inner)
    except (OSError, EOFError, zlib.error):
        raise RnnError(f"{path} is damaged: it is not whole as a gzip file; download it again") from None


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(name: object, error: OSError) -> RnnError:
    if isinstance(error, FileNotFoundError):
        return RnnError(f"{name} does not exist: check its name and the folder")
    if isinstance(error, PermissionError):
        return RnnError(f"{name} may not be read by you: change its permissions, e.g. `chmod u+r`")
    return RnnError(f"{name} cannot be read: {error.strerror or error}")


def _decoded(blocks: Iterable[bytes], name: str) -> Iterator[str]:
    """Decode blocks of bytes, with a line feed for each CRLF; errors quote `name`."""
    decoder: _Decoder | None = None
    for block in blocks:
        if decoder is None:
            decoder = _Utf16(name) if block.startswith(_UTF16_MARKS) else _Utf8(name)
        yield decoder.text_of(block)
    if decoder is not None:
        yield decoder.text_of(b"", last=True)


class _Decoder(ABC):
    """Decodes blocks of bytes, and reports where they are not text."""

    encoding: str

    def __init__(self, name: str) -> None:
        self.name = name
        self.size = 0  # bytes of earlier blocks
        self.lines = 1  # of earlier text
        self.decoder = codecs.getincrementaldecoder(self.encoding)()
        self.newlines = io.IncrementalNewlineDecoder(None, translate=True) if reads_as_before() else _LineEnds()

    def text_of(self, block: bytes, *, last: bool = False) -> str:
        """Decode the next block, except bytes that the following block may complete; raises RnnError."""
        self.look_at(block)
        kept = len(self.decoder.getstate()[0])
        try:
            text = self.decoder.decode(block, final=last)
        except UnicodeDecodeError as error:
            raise self.refusal(error, self.size - kept + error.start) from None
        if not self.size:
            text = text.removeprefix("\ufeff")  # not by "utf-8-sig", whose error offsets skip the mark
        self.size += len(block)
        text = self.newlines.decode(self.checked(text), final=last)
        self.lines += text.count("\n")
        return text

    def look_at(self, block: bytes) -> None:
        """Raise RnnError for bytes that do not occur in text."""
        del block  # no such bytes by default

    def checked(self, text: str) -> str:
        """Return the text; raises RnnError for characters that do not occur in text."""
        return text

    @abstractmethod
    def refusal(self, error: UnicodeDecodeError, offset: int) -> RnnError:
        """The error for bytes that cannot be decoded."""


class _LineEnds:
    """Turns each CRLF into a line feed, across block boundaries; a lone CR is kept."""

    pending = ""

    def decode(self, text: str, final: bool = False) -> str:
        """Convert the next block; a CR at its end waits for the following block."""
        text = self.pending + text
        self.pending = "\r" if text.endswith("\r") and not final else ""
        return text.removesuffix(self.pending).replace("\r\n", "\n")


class _Utf16(_Decoder):
    encoding = "utf-16"

    def checked(self, text: str) -> str:
        if "\0" in text:  # UTF-32 starts with UTF-16's mark
            raise RnnError(f"{self.name} is not plain text (it holds NUL characters): save it again as UTF-8")
        return text

    def refusal(self, _error: UnicodeDecodeError, offset: int) -> RnnError:
        return RnnError(
            f"{self.name} starts as UTF-16 text but is damaged at byte offset {offset}: save it again as UTF-8"
        )


class _Utf8(_Decoder):
    encoding = "utf-8"
    controls = 0

    def look_at(self, block: bytes) -> None:
        if b"\0" in block:
            if order := _utf16_order(block):
                raise RnnError(
                    f"{self.name} looks like UTF-16 text without its byte order mark;"
                    f" convert it, e.g. `iconv -f UTF-16{order} -t UTF-8 FILE > NEW`"
                )
            raise RnnError(f"{self.name} is a binary file (it holds NUL bytes), not a text: name a plain text file")
        self.controls += len(block) - len(block.translate(None, _CONTROLS))
        size = self.size + len(block)
        if self.controls > _MAX_CONTROLS * size:
            raise RnnError(
                f"{self.name} is a binary file (of its first {size:,} bytes {self.controls:,} are control characters),"
                " not a text: name a plain text file"
            )

    def refusal(self, error: UnicodeDecodeError, offset: int) -> RnnError:
        before = self.newlines.decode(error.object[: error.start].decode("utf-8") + "x")  # for the byte itself
        return RnnError(
            f"{self.name} is not UTF-8 text (line {self.lines + before.count(chr(10))}, byte offset {offset}:"
            f" 0x{error.object[error.start]:02x}); convert it, e.g. `iconv -f LATIN1 -t UTF-8 FILE > NEW`"
        )


def _utf16_order(data: bytes) -> str:
    """`LE` or `BE` where most NULs are every second byte, as in UTF-16 of Latin letters; else empty."""
    even, odd = data[::2].count(0), data[1::2].count(0)
    half = len(data) / 2
    if odd > 0.5 * half and even < 0.05 * half:
        return "LE"
    if even > 0.5 * half and odd < 0.05 * half:
        return "BE"
    return ""


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _not_blank(pieces: Iterable[str], name: str) -> Iterator[str]:
    blank = True
    for piece in pieces:
        blank = blank and _is_blank(piece)
        yield piece
    if blank:
        raise RnnError(f"{name} is empty or holds only white space: give a text")
