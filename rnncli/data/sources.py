"""The kinds of corpora: built into the package, or downloaded from a public address."""

import os
import re
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from rnncli.data.download import download
from rnncli.data.splitting import words_of
from rnncli.data.text import lines_of, read_text, unzipped
from rnncli.errors import RnnError, UsageError
from rnncli.files import locked
from rnncli.home import data_dir, mark

UNSTATED = "see source"
"""The licence entry of a corpus whose publisher states no licence."""

_UNSOUND = (OSError, EOFError, zipfile.BadZipFile, zlib.error)
"""Errors that a damaged zip may raise."""


@dataclass(frozen=True)
class Corpus:
    """A text, its name, and its origin: `embedded`, a path, or `standard input`."""

    name: str
    text: str
    origin: str
    held_out: str = ""  # validation text, if the corpus has one of its own
    tokenizer: str = ""  # the tokenizer that the text was written for, if any


TaggedSentence = list[tuple[str, str]]
"""The words of a sentence, each with its tag or label."""


class CorpusEntry:
    """A corpus that rnn knows by name; defaults for features that most kinds lack."""

    def load_test(self) -> Corpus | None:
        """The test text; None if the corpus has none."""
        return None

    @property
    def tagged(self) -> Callable[[], list[TaggedSentence]] | None:
        """A function that reads its sentences with a tag for every word; None without tags."""
        return None


@dataclass(frozen=True)
class Builtin(CorpusEntry, ABC):
    """A corpus that is part of a package, rnn or another."""

    name: str
    what: str
    origin: ClassVar[str] = "embedded"
    source: str = field(default="rnn", kw_only=True)
    licence: str = field(default="MIT", kw_only=True)

    @property
    @abstractmethod
    def text(self) -> str:
        """The text itself."""

    @property
    def size(self) -> int:
        """Bytes of the text."""
        return len(self.text.encode())

    def here(self) -> bool:
        """Whether it loads without a download."""
        return True

    def load(self) -> Corpus:
        """Read it."""
        return Corpus(self.name, self.text, self.origin)

    def fetch(self) -> str:
        """Report that there is nothing to download."""
        return "needs no download"


@dataclass(frozen=True)
class Embedded(Builtin):
    """The text in `samples/NAME.txt`; `NAME.tags` has the tags of its words, line by line."""

    @property
    def text(self) -> str:
        """The text itself."""
        return self._read("txt")

    @property
    def tagged(self) -> Callable[[], list[TaggedSentence]]:
        """A function that reads its non-blank lines with the tags of their words."""
        return self._tagged

    def _tagged(self) -> list[TaggedSentence]:
        lines = filter(str.strip, lines_of(self.text))
        return [
            list(zip(words_of(line), tags.split(), strict=True))
            for line, tags in zip(lines, lines_of(self._read("tags")), strict=True)
        ]

    def _read(self, kind: str) -> str:
        from importlib.resources import files

        return files("rnncli.data.samples").joinpath(f"{self.name}.{kind}").read_text("utf-8")


@dataclass(frozen=True)
class Generated(Builtin):
    """A text that a program generates, the same at every call; optionally with tagged sentences."""

    write: Callable[[], str]
    tags: Callable[[], list[TaggedSentence]] | None = None

    @cached_property
    def text(self) -> str:
        """The text itself."""
        return self.write()

    @property
    def tagged(self) -> Callable[[], list[TaggedSentence]] | None:
        """The function `tags`."""
        return self.tags


@dataclass(frozen=True)
class Remote(CorpusEntry):
    """A corpus that is one text file at a public address, kept as `file`, or gzipped, in the folder of corpora."""

    name: str
    what: str
    file: str
    url: str
    size: int  # bytes of the text, gzipped or not
    sha256: str
    licence: str = field(default=UNSTATED, kw_only=True)

    @property
    def source(self) -> str:
        """Who publishes it: a repository on GitHub, or a host."""
        host, *path = self.url.split("/")[2:]
        return "/".join(["github.com", *path[:2]]) if host == "raw.githubusercontent.com" else host

    @property
    def path(self) -> Path:
        """The path of its file, whether it exists or not."""
        plain = data_dir() / self.file
        zipped = plain.with_name(f"{plain.name}.gz")
        return zipped if zipped.exists() and not plain.exists() else plain

    @property
    def origin(self) -> str:
        """The path of its file."""
        return str(self.path)

    @property
    def files(self) -> "tuple[Remote, ...]":
        """The files that `rnn data get` downloads."""
        return (self,)

    def here(self) -> bool:
        """Whether its file exists with the right size."""
        return self._found_size() == self.size

    def complete(self) -> bool:
        """Whether all of its files exist with the right size, including test files."""
        return all(file._found_size() == file.size for file in self.files)

    def load(self) -> Corpus:
        """Read its file; raises RnnError if it is absent or differs from the registered text."""
        found = self._found_size()
        if found is None:
            raise _absent(self.name)
        if not self.is_sound():
            raise RnnError(
                f"corpus {self.name} is damaged: {self.path} is not the text that was downloaded;"
                f" run `rnn data get {self.name}` to replace it"
            )
        return Corpus(self.name, read_text(self.path), self.origin)

    def is_sound(self) -> bool:
        """Whether its file exists with the right size and SHA-256."""
        return self._found_size() == self.size and self._found_sha256() == self.sha256

    def fetch(self) -> str:
        """Download files that lack the right SHA-256; returns what happened. Raises as `download`."""
        return _fetch(self.name, self.files)

    def download(self) -> None:
        """Download its file over any existing one; raises as `download`."""
        if self.url.endswith(".gz"):  # archives are repacked from time to time: only their contents are fixed
            target = data_dir() / f"{self.file}.gz"
            download(self.url, target, size=None, sha256=self.sha256, digest=_sha256_unzipped)
        else:
            download(self.url, data_dir() / self.file, size=self.size, sha256=self.sha256)

    def _found_size(self) -> int | None:
        path = self.path
        try:
            return len(self._data()) if path.suffix == ".gz" else path.stat().st_size
        except OSError:
            return None
        except RnnError:
            return 0

    def _found_sha256(self) -> str:
        import hashlib

        return hashlib.sha256(self._data()).hexdigest()

    def _data(self) -> bytes:
        return unzipped(self.path.read_bytes(), self.path)


def _sha256_unzipped(path: Path) -> str:
    import hashlib

    try:
        return hashlib.sha256(unzipped(path.read_bytes(), path)).hexdigest()
    except RnnError:
        return "no sound gzip"


@dataclass(frozen=True)
class Split(Remote):
    """A corpus in three files, for training, validation and testing, all written for one tokenizer."""

    held_out: Remote
    test: Remote
    tokenizer: str

    @property
    def files(self) -> tuple[Remote, ...]:
        """All three."""
        return (self, self.held_out, self.test)

    def here(self) -> bool:
        """Whether the training and the validation file exist with the right size."""
        return super().here() and self.held_out.here()

    def load(self) -> Corpus:
        """Read the training and the validation file; raises as `Remote.load`."""
        return replace(super().load(), held_out=self.held_out.load().text, tokenizer=self.tokenizer)

    def load_test(self) -> Corpus:
        """Read the test file; raises RnnError as `Remote.load`."""
        _refuse_absent([self.test], "the test text", self.name)
        return replace(self.test.load(), tokenizer=self.tokenizer)


@dataclass(frozen=True)
class NltkData(Remote):
    """A package of NLTK's data, stored as a zip where NLTK finds it too; an existing copy of NLTK's is used in place.

    `size` and `sha256` are of the members that match `pattern`, concatenated in the order of their names: the archive
    around them is repacked from time to time.
    """

    pattern: str
    text: Callable[[Mapping[str, bytes]], str] | None = None  # of the members; None: it is no text
    tags: Callable[[Mapping[str, bytes]], list[TaggedSentence]] | None = None  # of the members; None: it has no tags

    @property
    def tagged(self) -> Callable[[], list[TaggedSentence]] | None:
        """A function that applies `tags` to the members; raises as `members`."""
        tags = self.tags
        return (lambda: tags(self.members())) if tags else None

    @property
    def home(self) -> Path:
        """The folder of NLTK's data that downloads go to."""
        return data_dir() / "nltk_data"

    @property
    def path(self) -> Path:
        """The path of its zip or folder; where it is absent, the path that a download would have."""
        return next((place for place in self._places() if place.exists()), self.home / self.file)

    def members(self) -> dict[str, bytes]:
        """Its files by name; raises RnnError if they are absent or differ from the registered contents."""
        if not self.path.exists():
            raise _absent(self.name)
        if self._found_sha256() != self.sha256:
            raise RnnError(
                f"{self.name} is damaged: {self.path} has other contents; remove it and run `rnn data get {self.name}`"
            )
        return _members(self.path, self.pattern)

    def load(self) -> Corpus:
        """Its text; raises RnnError as `members`, UsageError if the package is not a text."""
        if self.text is None:
            raise UsageError(f"{self.name} is not a text: {self.what}")
        return Corpus(self.name, self.text(self.members()), self.origin)

    def download(self) -> None:
        """Download the archive over any existing one; raises as `download`."""
        target = self.home / self.file
        download(self.url, target, size=None, sha256=self.sha256, digest=self._sha256_of_members)

    def _places(self) -> list[Path]:
        known = [Path(each) for each in os.environ.get("NLTK_DATA", "").split(os.pathsep) if each]
        folders = [self.home, *known, Path.home() / "nltk_data", Path("/usr/share/nltk_data")]
        return [folder / form for folder in folders for form in (self.file, self.file.removesuffix(".zip"))]

    def _found_size(self) -> int | None:
        if not self.path.exists():
            return None
        try:
            return sum(map(len, _members(self.path, self.pattern).values()))
        except _UNSOUND:
            return 0

    def _found_sha256(self) -> str:
        return self._sha256_of_members(self.path)

    def _sha256_of_members(self, path: Path) -> str:
        import hashlib

        try:
            return hashlib.sha256(b"".join(_members(path, self.pattern).values())).hexdigest()
        except _UNSOUND:
            return "no sound zip"


def _members(path: Path, pattern: str) -> dict[str, bytes]:
    """The files of a folder, or of a zip's folder, whose names match, sorted by name."""
    if path.is_dir():
        found = {each.name: each.read_bytes() for each in path.iterdir() if re.fullmatch(pattern, each.name)}
    else:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2]: name for name in archive.namelist()}
            found = {last: archive.read(name) for last, name in names.items() if re.fullmatch(pattern, last)}
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Parallel(CorpusEntry):
    """Sentences in several languages, aligned line by line, in parts; each file is gzipped at its address."""

    name: str
    what: str
    languages: tuple[str, ...]
    parts: tuple[str, ...]  # for training, validation and testing
    files: tuple[Remote, ...]
    more_tests: Mapping[str, str] = field(default_factory=dict)  # other test parts, by the names of their splits
    licence: str = UNSTATED

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def origin(self) -> str:
        """The folder of its files."""
        return str(self.files[0].path.parent)

    @property
    def source(self) -> str:
        """Who publishes it."""
        return self.files[0].source

    def here(self) -> bool:
        """Whether the files of its three parts exist with the right size."""
        return all(self._file(part, language).here() for part in self.parts for language in self.languages)

    def complete(self) -> bool:
        """Whether all files exist with the right size."""
        return all(file.here() for file in self.files)

    def load(self) -> Corpus:
        """Raise UsageError: pairs are not a text."""
        raise UsageError(f"{self.name} has pairs of sentences, not a text: give it to a task that translates")

    def fetch(self) -> str:
        """Download missing files; returns what happened. Raises as `download`."""
        return _fetch(self.name, self.files)

    def pairs(self, languages: str) -> Iterator[list[tuple[str, str]]]:
        """Its parts as pairs of lines in languages such as de-en; raises UsageError, and RnnError as `Remote.load`."""
        for part in self.parts:
            yield self._pairs(part, languages)

    def test_pairs(self, split: str, languages: str) -> list[tuple[str, str]]:
        """One of `more_tests` as pairs of lines; raises as `pairs`."""
        part = self.more_tests[split]
        _refuse_absent([self._file(part, language) for language in self.languages], split, self.name)
        return self._pairs(part, languages)

    def _pairs(self, part: str, languages: str) -> list[tuple[str, str]]:
        source, _, target = languages.partition("-")
        if source == target or not {source, target} <= set(self.languages):
            raise UsageError(
                f"--pair {languages!r}: {self.name} has {', '.join(self.languages)}; name two, such as de-en"
            )
        texts = (self._file(part, language).load().text for language in (source, target))
        return list(zip(*map(lines_of, texts), strict=True))

    def _file(self, part: str, language: str) -> Remote:
        return next(file for file in self.files if file.file.endswith(f"/{part}.{language}"))


def _fetch(name: str, files: Sequence[Remote]) -> str:
    """Download the files that are missing or damaged; one of several processes downloads, the others wait."""
    if all(file.is_sound() for file in files):
        return "already there"
    with locked(data_dir() / name, f"waiting for another process, which is downloading {name}", wait=True):
        missing = [file for file in files if not file.is_sound()]
        for file in missing:
            file.download()
        mark(data_dir())
    return "downloaded" if missing else "already there"


def _absent(name: str) -> RnnError:
    """The error of a corpus that is not downloaded."""
    return RnnError(f"{name} is not downloaded: run `rnn data get {name}` (looked in {data_dir().absolute()})")


def _refuse_absent(files: Sequence[Remote], what: str, name: str) -> None:
    """Raise RnnError for absent files, as in a folder that is older than their registration."""
    if not all(file.path.exists() for file in files):
        raise RnnError(f"{what} of {name} is not downloaded: `rnn data get {name}` downloads it")


AnyEntry = Builtin | Remote | Parallel
