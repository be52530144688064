"""Word vectors in files: word2vec's text and binary form, GloVe's text, and .npz, for reading and writing.

Shapes: V words, D features.
"""

import codecs
import contextlib
import gzip
import io
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from rnncli.errors import RnnError, UsageError
from rnncli.files import write_file
from rnncli.home import data_dir

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

FORMATS = ("word2vec", "word2vec-binary", "glove", "npz")
MAX_LINE = 1 << 22
"""Bytes; a longer line of text is not a word vector."""
MAX_WORD = 1 << 12
_CHUNK = 1 << 20
_NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_SUFFIXES = {".npz": "npz", ".bin": "word2vec-binary", ".glove": "glove"}


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Words, usually the most frequent first, and their vectors (V, D)."""

    words: tuple[str, ...]
    matrix: "Matrix"

    def __repr__(self) -> str:
        first = ", ".join(map(repr, self.words[:4]))
        return f"WordVectors({len(self.words):,} words of {self.matrix.shape[1]} numbers: {first}, …)"

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Word -> row."""
        return {word: number for number, word in enumerate(self.words)}

    @cached_property
    def unit(self) -> "Matrix":
        """The vectors scaled to length one (V, D); a zero vector stays zero."""
        import numpy as np

        lengths = np.linalg.norm(self.matrix, axis=1, keepdims=True)
        unit: Matrix = self.matrix / np.maximum(lengths, np.float32(1e-30))
        return unit

    def first(self, count: int) -> "WordVectors":
        """Keep only the first `count` words."""
        return self if count >= len(self.words) else WordVectors(self.words[:count], self.matrix[:count])

    def rows(self, words: Sequence[str]) -> list[int]:
        """The rows of words; raises UsageError, with similar spellings.

        Each is taken as written, or else in lower case; with the blank before a token of running text where that lacks.
        """
        spellings = [(word, f" {word}", word.lower(), f" {word.lower()}") for word in words]
        found = [next((self.numbers[each] for each in some if each in self.numbers), None) for some in spellings]
        unknown = [word for word, row in zip(words, found, strict=True) if row is None]
        if unknown:
            raise UsageError("; ".join(f"no vector for {word!r}{self._hint(word)}" for word in unknown))
        return [row for row in found if row is not None]

    def _hint(self, word: str) -> str:
        """Suggest words with a similar spelling, the same first letter and about the same length."""
        from difflib import get_close_matches

        word = word.lower()
        like = [each for each in self.words if each[:1].lower() == word[:1] and abs(len(each) - len(word)) <= 2]
        near = next(filter(None, (get_close_matches(word, some, 3, 0.7) for some in (like, self.words[:20_000]))), [])
        return f": did you mean {' or '.join(near)}?" if near else ""


def vectors_dir() -> Path:
    """The folder of imported vectors."""
    return data_dir() / "vectors"


def find_vectors(spec: str) -> Path:
    """Find the file of vectors for an imported name or a path; raises UsageError if there is none.

    Imported vectors of that name come before a file in the current directory; `./NAME` is always a path.
    """
    imported = [] if "/" in spec or os.sep in spec else [vectors_dir() / f"{spec}.npz"]
    for each in (*imported, Path(spec).expanduser()):
        with contextlib.suppress(OSError, ValueError):
            if each.is_file():
                return each
    raise UsageError(
        f"no file of word vectors is named {spec!r}, and none in {vectors_dir().absolute()}: name a file, or "
        "vectors that `rnn embeddings import` made"
    )


def read_vectors(path: Path, limit: int | None = None, skipped: list[str] | None = None) -> WordVectors:
    """Read the first `limit` words of a file in any of the `FORMATS`, gzipped or not; the contents decide which.

    If a word occurs twice, the first vector counts. Raises RnnError for a file in another format, for a damaged one,
    and for a word that is not UTF-8 or lacks D finite numbers. With a list `skipped`, such words are left out, and the
    reasons are appended to the list.
    """
    try:
        with _opened(path) as file:
            is_npz = file.peek(4)[:4] == b"PK\x03\x04"
            found = _from_npz(file, limit, skipped) if is_npz else _gathered(_entries(file, limit), skipped)
    except MemoryError:
        raise RnnError(f"{path} does not fit into memory: read fewer words with --limit") from None
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise RnnError(f"{path} is damaged ({error}): download it again") from None
    except OSError as error:
        raise RnnError(f"cannot read {path}: {error.strerror or error}") from None
    except _OddError as error:
        raise RnnError(f"{path}: {error}") from None
    return found


def width(path: Path) -> int:
    """D of a file's vectors; raises as `read_vectors`."""
    return int(read_vectors(path, 1).matrix.shape[1])


def format_of(path: Path) -> str:
    """The format for a file's name: .npz, .bin and .glove have their own, all others are word2vec's text."""
    return _SUFFIXES.get(path.suffix, "word2vec")


def write_vectors(vectors: WordVectors, path: Path, form: str) -> None:
    """Write vectors in one of the `FORMATS`, whole or not at all.

    Raises RnnError where the disk is full, and for a word with white space, which only .npz can hold.
    """
    for word in vectors.words if form != "npz" else ():
        if word.encode().split() != [word.encode()]:
            raise RnnError(f"the word {word!r} has white space in it: only --format npz can hold it")
    write_file(path, _WRITERS[form](vectors))


class _OddError(Exception):
    """The file is not a valid file of vectors: why, and what to do."""


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    with path.open("rb") as plain:
        if plain.peek(2)[:2] == b"\x1f\x8b":
            with gzip.open(plain) as unpacked:
                yield io.BufferedReader(unpacked)
        else:
            yield plain


class _BadError(Exception):
    """One word or its vector cannot be read: the reason, which follows the number of its line."""


class _Entries(NamedTuple):
    """Words and their vectors in a file."""

    D: int
    unit: str  # line or word: the unit that errors count
    records: "Iterator[tuple[int, Any]]"  # each with its number
    parse: "Callable[[Any], tuple[bytes, Any]]"  # a record to the word and its vector (D,); raises _BadError


def _entries(file: io.BufferedReader, limit: int | None) -> _Entries:
    """The words of a file; its first two lines determine the format."""
    first = _line(file, 1).removeprefix(codecs.BOM_UTF8)
    header = re.fullmatch(rb"\s*(\d{1,12})\s+(\d{1,6})\s*", first)
    second = file.readline(MAX_LINE)
    if not header:
        second = _checked(second, 2)
        D = _glove_width(first.split(), second.split())
        return _Entries(D, "line", _glove(file, first, second, D, limit), partial(_parsed, D=D))
    V, D = int(header[1]), int(header[2])
    if not V or not D:
        raise _OddError(f"its first line promises {V} vectors of size {D}: there is nothing to read")
    wanted, whole = min(V, limit or V), limit is None or limit >= V
    if _is_text(second, D):
        return _Entries(D, "line", _text(file, second, wanted, V, whole), partial(_parsed, D=D))
    return _Entries(D, "word", _binary(file, second, D, wanted, V, whole), tuple)


def _is_text(line: bytes, D: int) -> bool:
    """Whether a line ends in D numbers, or at least continues in letters, which binary floats rarely do."""
    fields = line.split()
    if len(fields) > D and all(map(_NUMBER.fullmatch, fields[-D:])):
        return True
    after = line.partition(b" ")[2][: 4 * D]
    letters = codecs.getincrementaldecoder("utf-8")("replace").decode(after)  # the last one may be cut
    is_printable = all(sign.isprintable() or sign in "\t\r\n" for sign in letters.replace("\ufffd", "\0"))
    return is_printable and (D > 2 or any(map(_NUMBER.fullmatch, fields[1:])))


def _line(file: IO[bytes], number: int) -> bytes:
    return _checked(file.readline(MAX_LINE), number)


def _checked(line: bytes, number: int) -> bytes:
    if len(line) == MAX_LINE or b"\0" in line:
        raise _OddError(f"line {number} is not text of word vectors: is the file in one of {', '.join(FORMATS)}?")
    return line


def _glove_width(first: list[bytes], second: list[bytes]) -> int:
    """D, the numbers after the first word; that word contains blanks if the second line has fewer fields."""
    D, other = len(first) - 1, len(second) - 1
    is_blank_inside = 0 < other < D and all(map(_NUMBER.fullmatch, first[-other:]))
    return other if is_blank_inside and not _NUMBER.fullmatch(first[-other - 1]) else D


def _glove(file: IO[bytes], first: bytes, second: bytes, D: int, limit: int | None) -> Iterator[tuple[int, bytes]]:
    if D < 1:
        what = "it is empty" if not first else "line 1 is not a word and its numbers"
        raise _OddError(f"{what}: word vectors are read in {', '.join(FORMATS)}")
    line, number = first, 1
    while line and (limit is None or number <= limit):
        if line.strip():
            yield number, line
        number += 1
        line = second if number == 2 else _line(file, number)


def _text(file: IO[bytes], second: bytes, wanted: int, V: int, whole: bool) -> Iterator[tuple[int, bytes]]:
    for number in range(2, wanted + 2):
        line = _checked(second, 2) if number == 2 else _line(file, number)
        if not line.strip():
            raise _OddError(f"it is cut off after {number - 2:,} of {V:,} words: download it again")
        yield number, line
    if whole and file.read(_CHUNK).strip():
        raise _OddError(f"it continues after the {V:,} words that its first line promises: correct that line")


def _parsed(line: bytes, D: int) -> tuple[bytes, Any]:
    """The word of a line, which may contain spaces, and its numbers (D,)."""
    fields = line.split()
    if len(fields) <= D:
        raise _BadError(f"has {len(fields) - 1} numbers after its word, not {D}")
    try:
        return b" ".join(fields[:-D]), _narrowed([float(field) for field in fields[-D:]])
    except ValueError:
        raise _BadError("has a field that is not a number") from None


def _binary(
    file: IO[bytes], data: bytes, D: int, wanted: int, V: int, whole: bool
) -> "Iterator[tuple[int, tuple[bytes, Any]]]":
    """Records of a word, a space and D little-endian floats; some programs write a line feed after each.

    They begin with `data`, which was read before.
    """
    import numpy as np

    at = 0
    for number in range(wanted):
        while (space := data.find(b" ", at)) < 0 or len(data) < space + 1 + 4 * D:
            if space < 0 and len(data) - at > MAX_WORD:
                raise _OddError(f"word {number + 1:,} of {V:,} has no end: the file is damaged, download it again")
            more = file.read(_CHUNK)
            if not more:
                raise _OddError(f"it is cut off after {number:,} of {V:,} words: download it again")
            data, at = data[at:] + more, 0
        yield number + 1, (data[at:space].lstrip(b"\n"), np.frombuffer(data, "<f4", D, space + 1))
        at = space + 1 + 4 * D
    if whole and (data[at:] + file.read(_CHUNK)).strip():
        raise _OddError(f"it continues after the {V:,} words that its first line promises: correct that line")


def _gathered(entries: _Entries, skipped: list[str] | None) -> WordVectors:
    """Collect all words and one matrix; the buffer grows with the words, independently of the file's header."""
    import numpy as np

    seen: dict[str, None] = {}
    values = bytearray()
    for number, record in entries.records:
        try:
            word, vector = _sound(*entries.parse(record))
        except _BadError as error:
            why = f"{entries.unit} {number:,} {error}"
            if skipped is None:
                raise _OddError(f"{why}: mend or remove it, or `rnn embeddings import FILE --skip-bad`") from None
            skipped.append(why)
            continue
        if word not in seen:
            seen[word] = None
            values += vector.astype("f4").tobytes()
    if not seen:
        why = f" that can be read: {skipped[0]}" if skipped else ": there is nothing to read"
        raise _OddError(f"it holds no word{why}")
    return WordVectors(tuple(seen), np.frombuffer(values, np.float32).reshape(-1, entries.D))


def _sound(raw: bytes, vector: "Matrix") -> "tuple[str, Matrix]":
    """Decode and check a word and its vector; raises _BadError if either is invalid."""
    import numpy as np

    try:
        word = raw.decode()
    except UnicodeDecodeError:
        raise _BadError(f"is not UTF-8 ({raw[:40]!r})") from None
    if not word:
        raise _BadError("has no word")
    if not np.isfinite(vector).all():
        raise _BadError(f"({word!r}) has a vector that is not finite")
    return word, vector


def _from_npz(file: IO[bytes], limit: int | None, skipped: list[str] | None) -> WordVectors:
    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as arrays:
            words, matrix = arrays["words"][:limit], arrays["matrix"][:limit]
    except KeyError:
        raise _OddError("it lacks the array `words` or `matrix`: it is not a file of word vectors") from None
    except ValueError as error:
        raise _OddError(f"it is damaged, or not a plain .npz ({error})") from None
    if words.ndim != 1 or words.dtype.kind != "U" or matrix.ndim != 2 or matrix.dtype.kind != "f":
        raise _OddError("`words` must be text (V), and `matrix` floats (V, D)")
    if len(words) != len(matrix) or not matrix.size:
        raise _OddError(f"it has {len(words):,} words and {len(matrix):,} vectors of size {matrix.shape[1]}")
    known = WordVectors(tuple(words.tolist()), _narrowed(matrix))
    if all(known.words) and len(known.numbers) == len(words) and np.isfinite(known.matrix).all():
        return known
    pairs = zip((word.encode() for word in known.words), known.matrix, strict=True)
    return _gathered(_Entries(matrix.shape[1], "word", enumerate(pairs, start=1), tuple), skipped)


def _narrowed(values: Any) -> "Matrix":
    """Convert numbers to float32; those that are too great become infinite, and their word is refused."""
    import numpy as np

    with np.errstate(over="ignore"):
        return np.asarray(values, np.float32)


def _as_lines(vectors: WordVectors) -> bytes:
    # Nine digits restore every float32 exactly.
    rows = (" ".join([f"{value:.9g}" for value in row]) for row in vectors.matrix.tolist())
    return "".join(f"{word} {row}\n" for word, row in zip(vectors.words, rows, strict=True)).encode()


def _header(vectors: WordVectors) -> bytes:
    return "{} {}\n".format(*vectors.matrix.shape).encode()


def _as_binary(vectors: WordVectors) -> bytes:
    rows = vectors.matrix.astype("<f4")
    return b"".join(word.encode() + b" " + row.tobytes() + b"\n" for word, row in zip(vectors.words, rows, strict=True))


def _as_npz(vectors: WordVectors) -> bytes:
    import numpy as np

    held = io.BytesIO()
    np.savez(held, words=np.array(vectors.words), matrix=vectors.matrix)
    return held.getvalue()


_WRITERS: dict[str, Callable[[WordVectors], bytes]] = {
    "word2vec": lambda vectors: _header(vectors) + _as_lines(vectors),
    "word2vec-binary": lambda vectors: _header(vectors) + _as_binary(vectors),
    "glove": _as_lines,
    "npz": _as_npz,
}
