"""Word vectors in files: word2vec's text and binary form, GloVe's text, and .npz, read word by word and written.

Shapes: V words, D features.
"""

import contextlib
import gzip
import io
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rnncli.errors import RnnError, UsageError
from rnncli.files import write_file
from rnncli.home import data_dir

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

FORMATS = ("word2vec", "word2vec-binary", "glove", "npz")
LONGEST_LINE = 1 << 22
"""Bytes; a line of text that is longer holds no vector that anything was trained with."""
LONGEST_WORD = 1 << 12
_CHUNK = 1 << 20
_NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_PRINTABLE = bytes(range(32, 127)) + b"\t\r\n"
_SUFFIXES = {".npz": "npz", ".bin": "word2vec-binary", ".glove": "glove"}


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Words, mostly the commonest first, and their vectors (V, D)."""

    words: tuple[str, ...]
    matrix: "Matrix"

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Word -> row."""
        return {word: number for number, word in enumerate(self.words)}

    @cached_property
    def unit(self) -> "Matrix":
        """The vectors at length one (V, D); one that is zero stays so."""
        import numpy as np

        lengths = np.linalg.norm(self.matrix, axis=1, keepdims=True)
        unit: Matrix = self.matrix / np.maximum(lengths, np.float32(1e-30))
        return unit

    def first(self, count: int) -> "WordVectors":
        """The first `count` words alone."""
        return self if count >= len(self.words) else WordVectors(self.words[:count], self.matrix[:count])

    def rows(self, words: Sequence[str]) -> list[int]:
        """Where words stand, each as written or else in lower case; raises UsageError, with near spellings."""
        found = [self.numbers.get(word, self.numbers.get(word.lower())) for word in words]
        strange = [word for word, row in zip(words, found, strict=True) if row is None]
        if strange:
            raise UsageError("; ".join(f"no vector for {word!r}{self._hint(word)}" for word in strange))
        return [row for row in found if row is not None]

    def _hint(self, word: str) -> str:
        """Words that are spelt much alike; only those of the same first letter and about the length are looked at."""
        from difflib import get_close_matches

        word = word.lower()
        like = [each for each in self.words if each[:1].lower() == word[:1] and abs(len(each) - len(word)) <= 2]
        near = next(filter(None, (get_close_matches(word, some, 3, 0.7) for some in (like, self.words[:20_000]))), [])
        return f": did you mean {' or '.join(near)}?" if near else ""


def vectors_dir() -> Path:
    """Where imported vectors lie."""
    return data_dir() / "vectors"


def find_vectors(spec: str) -> Path:
    """The file of vectors that an imported name or a path means; raises UsageError where there is none.

    A name is that of imported vectors, if there are such, whatever is in the current directory; `./NAME` is a path.
    """
    imported = [] if "/" in spec or os.sep in spec else [vectors_dir() / f"{spec}.npz"]
    for each in (*imported, Path(spec).expanduser()):
        with contextlib.suppress(OSError, ValueError):
            if each.is_file():
                return each
    raise UsageError(f"no file of word vectors is named {spec!r}: name a file, or what `rnn embeddings import` made")


def read_vectors(path: Path, limit: int | None = None) -> WordVectors:
    """Read the first `limit` words of a file in any of the `FORMATS`, gzipped or not; it is told by its contents.

    Of a word that comes twice, the first vector counts. Raises RnnError for what is none of them, or damaged.
    """
    try:
        with _opened(path) as file:
            found = _from_npz(file, limit) if file.peek(4)[:4] == b"PK\x03\x04" else _gathered(*_entries(file, limit))
    except MemoryError:
        raise RnnError(f"{path} does not fit into memory: read fewer words with --limit") from None
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise RnnError(f"{path} is damaged ({error}): get it anew") from None
    except OSError as error:
        raise RnnError(f"cannot read {path}: {error.strerror or error}") from None
    except _OddError as error:
        raise RnnError(f"{path}: {error}") from None
    return found


def width(path: Path) -> int:
    """D of a file's vectors; raises as `read_vectors`."""
    return int(read_vectors(path, 1).matrix.shape[1])


def format_of(path: Path) -> str:
    """The format that a file's name asks for: .npz, .bin and .glove say theirs, all else is word2vec's text."""
    return _SUFFIXES.get(path.suffix, "word2vec")


def write_vectors(vectors: WordVectors, path: Path, form: str) -> None:
    """Write vectors in one of the `FORMATS`, whole or not at all.

    Raises RnnError where the disk is full, and for a word with white space in it, which only .npz can hold.
    """
    for word in vectors.words if form != "npz" else ():
        if word.encode().split() != [word.encode()]:
            raise RnnError(f"the word {word!r} has white space in it: only --format npz can hold it")
    write_file(path, _WRITERS[form](vectors))


class _OddError(Exception):
    """The file is no sound file of vectors: why, and what to do."""


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    with path.open("rb") as plain:
        if plain.peek(2)[:2] == b"\x1f\x8b":
            with gzip.open(plain) as unpacked:
                yield io.BufferedReader(unpacked)
        else:
            yield plain


def _entries(file: io.BufferedReader, limit: int | None) -> "tuple[int, Iterator[tuple[bytes, Any]]]":
    """D, and the words with their vectors; which format it is shows in the first lines."""
    first = _line(file, 1)
    header = re.fullmatch(rb"\s*(\d{1,12})\s+(\d{1,6})\s*", first)
    if not header:
        D = len(first.split()) - 1
        return D, _glove(file, first, D, limit)
    V, D = int(header[1]), int(header[2])
    if not V or not D:
        raise _OddError(f"its first line promises {V} vectors of size {D}: there is nothing to read")
    wanted, whole = min(V, limit or V), limit is None or limit >= V
    is_text = _is_text(file.peek(LONGEST_LINE), D)
    return D, _text(file, D, wanted, V, whole) if is_text else _binary(file, D, wanted, V, whole)


def _is_text(ahead: bytes, D: int) -> bool:
    """Whether what follows the first word is written in digits, or at least in letters; floats in bytes hardly are."""
    numbers = ahead.split(b"\n", 1)[0].split()[1 : D + 1]
    if numbers and all(_NUMBER.fullmatch(number) for number in numbers):
        return True
    return not ahead.partition(b" ")[2][: 4 * D].translate(None, _PRINTABLE)


def _line(file: IO[bytes], number: int) -> bytes:
    line = file.readline(LONGEST_LINE)
    if len(line) == LONGEST_LINE or b"\0" in line:
        raise _OddError(f"line {number} is no text of word vectors: is it in one of {', '.join(FORMATS)}?")
    return line


def _glove(file: IO[bytes], first: bytes, D: int, limit: int | None) -> "Iterator[tuple[bytes, Any]]":
    if D < 1:
        what = "it is empty" if not first else "line 1 is not a word and its numbers"
        raise _OddError(f"{what}: word vectors are read in {', '.join(FORMATS)}")
    line, number = first, 1
    while line and (limit is None or number <= limit):
        if line.strip():
            yield _parsed(line, D, number)
        number += 1
        line = _line(file, number)


def _text(file: IO[bytes], D: int, wanted: int, V: int, whole: bool) -> "Iterator[tuple[bytes, Any]]":
    for number in range(2, wanted + 2):
        line = _line(file, number)
        if not line.strip():
            raise _OddError(f"it is cut off after {number - 2:,} of {V:,} words: get it anew")
        yield _parsed(line, D, number)
    if whole and file.read(_CHUNK).strip():
        raise _OddError(f"it goes on after the {V:,} words that its first line promises: mend that line")


def _parsed(line: bytes, D: int, number: int) -> tuple[bytes, Any]:
    """A line's word, which may have spaces in it, and its numbers (D,)."""
    fields = line.split()
    if len(fields) <= D:
        raise _OddError(f"line {number} has {len(fields) - 1} numbers behind its word, not {D}: mend or remove it")
    try:
        return b" ".join(fields[:-D]), _narrowed([float(field) for field in fields[-D:]])
    except ValueError:
        raise _OddError(f"line {number} holds what is no number: mend or remove it") from None


def _binary(file: IO[bytes], D: int, wanted: int, V: int, whole: bool) -> "Iterator[tuple[bytes, Any]]":
    """Records of a word, a space and D little-endian floats; some programs write a line feed after each."""
    import numpy as np

    data, at = b"", 0
    for number in range(wanted):
        while (space := data.find(b" ", at)) < 0 or len(data) < space + 1 + 4 * D:
            if space < 0 and len(data) - at > LONGEST_WORD:
                raise _OddError(f"word {number + 1:,} of {V:,} has no end: it is damaged, get it anew")
            more = file.read(_CHUNK)
            if not more:
                raise _OddError(f"it is cut off after {number:,} of {V:,} words: get it anew")
            data, at = data[at:] + more, 0
        yield data[at:space].lstrip(b"\n"), np.frombuffer(data, "<f4", D, space + 1)
        at = space + 1 + 4 * D
    if whole and (data[at:] + file.read(_CHUNK)).strip():
        raise _OddError(f"it goes on after the {V:,} words that its first line promises: mend that line")


def _gathered(D: int, entries: "Iterator[tuple[bytes, Any]]") -> WordVectors:
    """All words and one matrix; the buffer grows as words come, whatever the file promises."""
    import numpy as np

    seen: dict[str, None] = {}
    values = bytearray()
    for number, (raw, vector) in enumerate(entries, start=1):
        try:
            word = raw.decode()
        except UnicodeDecodeError:
            raise _OddError(f"word {number:,} is not UTF-8 ({raw[:40]!r}): convert it, or get it anew") from None
        if not word:
            raise _OddError(f"word {number:,} is empty: it is damaged, get it anew")
        if not np.isfinite(vector).all():
            raise _OddError(f"the vector of {word!r} (word {number:,}) is not finite: mend or remove it")
        if word not in seen:
            seen[word] = None
            values += vector.astype("f4").tobytes()
    if not seen:
        raise _OddError("it holds no word: there is nothing to read")
    return WordVectors(tuple(seen), np.frombuffer(values, np.float32).reshape(-1, D))


def _from_npz(file: IO[bytes], limit: int | None) -> WordVectors:
    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as arrays:
            words, matrix = arrays["words"][:limit], arrays["matrix"][:limit]
    except KeyError:
        raise _OddError("it has not both arrays, `words` and `matrix`: it holds no word vectors") from None
    except ValueError as error:
        raise _OddError(f"it is damaged, or no plain .npz ({error})") from None
    if words.ndim != 1 or words.dtype.kind != "U" or matrix.ndim != 2 or matrix.dtype.kind != "f":
        raise _OddError("`words` must be text (V), and `matrix` floats (V, D)")
    if len(words) != len(matrix) or not matrix.size:
        raise _OddError(f"it has {len(words):,} words and {len(matrix):,} vectors of size {matrix.shape[1]}")
    known = WordVectors(tuple(words.tolist()), _narrowed(matrix))
    if all(known.words) and len(known.numbers) == len(words) and np.isfinite(known.matrix).all():
        return known
    return _gathered(matrix.shape[1], zip((word.encode() for word in known.words), known.matrix, strict=True))


def _narrowed(values: Any) -> "Matrix":
    """Numbers as float32; those that are too great become infinite, and are refused with their word."""
    import numpy as np

    with np.errstate(over="ignore"):
        return np.asarray(values, np.float32)


def _as_lines(vectors: WordVectors) -> bytes:
    # Nine digits bring back every float32.
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
