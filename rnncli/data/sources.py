"""The kinds of corpora: those that come with the package, and those that are fetched from a public address."""

import os
import re
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from rnncli.data.download import download
from rnncli.data.splitting import words_of
from rnncli.data.text import lines_of, read_text, unzipped
from rnncli.errors import RnnError, UsageError
from rnncli.files import locked
from rnncli.home import data_dir

UNSTATED = "see source"
"""The licence of a corpus whose publisher states none."""

_UNSOUND = (OSError, EOFError, zipfile.BadZipFile, zlib.error)
"""What a damaged zip may raise."""


@dataclass(frozen=True)
class Corpus:
    """A text, the name it goes by, and where it came from: `embedded`, a path, or `standard input`."""

    name: str
    text: str
    origin: str
    held_out: str = ""  # a text of its own to validate on, where the corpus has one
    tokenizer: str = ""  # the one that the text was written for, where there is one


TaggedSentence = list[tuple[str, str]]
"""The words of a sentence, each with its tag."""


class CorpusEntry:
    """A corpus that rnn knows by name; what most kinds of it have nothing of."""

    def load_test(self) -> Corpus | None:
        """The text to test on; None where it has none."""
        return None

    @property
    def tagged(self) -> Callable[[], list[TaggedSentence]] | None:
        """Reads its sentences with a tag for every word; None where it has no tags."""
        return None


@dataclass(frozen=True)
class Builtin(CorpusEntry, ABC):
    """A corpus that comes with a package, rnn or another."""

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
        """Whether it can be loaded without a download."""
        return True

    def load(self) -> Corpus:
        """Read it."""
        return Corpus(self.name, self.text, self.origin)

    def fetch(self) -> str:
        """Say that nothing is to be done."""
        return "needs no download"


@dataclass(frozen=True)
class Embedded(Builtin):
    """A text that lies in `samples/NAME.txt`; `NAME.tags` has the tags of its words by line."""

    @property
    def text(self) -> str:
        """The text itself."""
        return self._read("txt")

    @property
    def tagged(self) -> Callable[[], list[TaggedSentence]]:
        """Reads its lines that are not blank, with the tags of their words in their places."""
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
    """A text that a program writes, the same at every call; perhaps with sentences whose words have tags."""

    write: Callable[[], str]
    tags: Callable[[], list[TaggedSentence]] | None = None

    @property
    def text(self) -> str:
        """The text itself."""
        return self.write()

    @property
    def tagged(self) -> Callable[[], list[TaggedSentence]] | None:
        """Reads what `tags` gives."""
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
        """Where its file lies, or would."""
        plain = data_dir() / self.file
        zipped = plain.with_name(f"{plain.name}.gz")
        return zipped if zipped.exists() and not plain.exists() else plain

    @property
    def origin(self) -> str:
        """Where its text comes from: the path of its file."""
        return str(self.path)

    @property
    def files(self) -> "tuple[Remote, ...]":
        """What `rnn data get` downloads, file by file."""
        return (self,)

    def here(self) -> bool:
        """Whether its file is there and of the right size."""
        return self._found_size() == self.size

    def complete(self) -> bool:
        """Whether all of its files are there and of the right size, those that are only to test on as well."""
        return all(file._found_size() == file.size for file in self.files)

    def load(self) -> Corpus:
        """Read its file; raises RnnError where that is absent, or not the text it should be."""
        found = self._found_size()
        if found is None:
            raise RnnError(f"{self.name} is not here: run `rnn data get {self.name}`")
        if not self.is_sound():
            raise RnnError(
                f"corpus {self.name} is damaged: {self.path} is not the text that was downloaded;"
                f" run `rnn data get {self.name}` to replace it"
            )
        return Corpus(self.name, read_text(self.path), self.origin)

    def is_sound(self) -> bool:
        """Whether its file is there, of the right size and SHA-256."""
        return self._found_size() == self.size and self._found_sha256() == self.sha256

    def fetch(self) -> str:
        """Download what is not there with the right SHA-256; says whether anything was. Raises as `download`."""
        return _fetch(self.name, self.files)

    def download(self) -> None:
        """Put its file in place, whatever is there; raises as `download`."""
        if self.url.endswith(".gz"):  # archives are made anew from time to time: known is what is in them
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
    """A corpus in three files, to learn from, to validate and to test on, all written for a tokenizer."""

    held_out: Remote
    test: Remote
    tokenizer: str

    @property
    def files(self) -> tuple[Remote, ...]:
        """All three."""
        return (self, self.held_out, self.test)

    def here(self) -> bool:
        """Whether the files to learn from and to validate on are there and of the right size."""
        return super().here() and self.held_out.here()

    def load(self) -> Corpus:
        """Read the files to learn from and to validate on; raises as `Remote.load`."""
        return replace(super().load(), held_out=self.held_out.load().text, tokenizer=self.tokenizer)

    def load_test(self) -> Corpus:
        """Read the file to test on; raises RnnError as `Remote.load`."""
        _refuse_absent([self.test], "the text to test on", self.name)
        return replace(self.test.load(), tokenizer=self.tokenizer)


@dataclass(frozen=True)
class NltkData(Remote):
    """A package of NLTK's data, kept as a zip where NLTK finds it too; one that NLTK has already is used as it lies.

    `size` and `sha256` are of the members that match `pattern`, one after another in the order of their names: the
    archive around them is made anew from time to time.
    """

    pattern: str
    text: Callable[[Mapping[str, bytes]], str] | None = None  # of the members; None: it is no text
    tags: Callable[[Mapping[str, bytes]], list[TaggedSentence]] | None = None  # of the members; None: it has no tags

    @property
    def tagged(self) -> Callable[[], list[TaggedSentence]] | None:
        """Reads what `tags` makes of the members; raises as `members`."""
        tags = self.tags
        return (lambda: tags(self.members())) if tags else None

    @property
    def home(self) -> Path:
        """The folder of NLTK's data that a download goes to."""
        return data_dir() / "nltk_data"

    @property
    def path(self) -> Path:
        """Where it lies, as a zip or as a folder, or would."""
        return next((place for place in self._places() if place.exists()), self.home / self.file)

    def members(self) -> dict[str, bytes]:
        """Its files by name; raises RnnError where they are absent, or not what they should be."""
        if not self.path.exists():
            raise RnnError(f"{self.name} is not here: run `rnn data get {self.name}`")
        if self._found_sha256() != self.sha256:
            raise RnnError(
                f"{self.name} is damaged: {self.path} does not hold what it should;"
                f" remove it and run `rnn data get {self.name}`"
            )
        return _members(self.path, self.pattern)

    def load(self) -> Corpus:
        """Its text; raises RnnError as `members`, UsageError where it is none."""
        if self.text is None:
            raise UsageError(f"{self.name} is no text to learn from: {self.what}")
        return Corpus(self.name, self.text(self.members()), self.origin)

    def download(self) -> None:
        """Put the archive in place, whatever is there; raises as `download`."""
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
    """The files of a folder, or of the folder in a zip, whose names match; in the order of their names."""
    if path.is_dir():
        found = {each.name: each.read_bytes() for each in path.iterdir() if re.fullmatch(pattern, each.name)}
    else:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2]: name for name in archive.namelist()}
            found = {last: archive.read(name) for last, name in names.items() if re.fullmatch(pattern, last)}
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Parallel(CorpusEntry):
    """Sentences in several languages, line by line the same, in parts; each file gzipped at its address."""

    name: str
    what: str
    languages: tuple[str, ...]
    parts: tuple[str, ...]  # to learn from, to validate on, to test on
    files: tuple[Remote, ...]
    more_tests: Mapping[str, str] = field(default_factory=dict)  # other parts to test on, by the names of their splits
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
        """Whether the files of its three parts are there and of the right size."""
        return all(self._file(part, language).here() for part in self.parts for language in self.languages)

    def complete(self) -> bool:
        """Whether all files are there and of the right size."""
        return all(file.here() for file in self.files)

    def load(self) -> Corpus:
        """Raise UsageError: it is no text by itself."""
        raise UsageError(f"{self.name} is pairs of sentences, not a text: give it to a task that learns from pairs")

    def fetch(self) -> str:
        """Download the files that are not there; says whether any was. Raises as `download`."""
        return _fetch(self.name, self.files)

    def pairs(self, languages: str) -> Iterator[list[tuple[str, str]]]:
        """Its parts as pairs of lines, of languages such as de-en; raises UsageError, and RnnError as `Remote.load`."""
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
    """Download those files that are not sound; of several processes, one downloads and the others wait for it."""
    if all(file.is_sound() for file in files):
        return "already there"
    with locked(data_dir() / name, f"waiting for another process, which is downloading {name}", wait=True):
        missing = [file for file in files if not file.is_sound()]
        for file in missing:
            file.download()
    return "downloaded" if missing else "already there"


def _refuse_absent(files: Sequence[Remote], what: str, name: str) -> None:
    """Raise RnnError where files are absent, as in a folder from before they were registered."""
    if not all(file.path.exists() for file in files):
        raise RnnError(f"{what} of {name} is not here: `rnn data get {name}` downloads it")


AnyEntry = Builtin | Remote | Parallel
