"""Turn dumps and texts into clean text and shards of token ids: in parallel units, and resumable."""

import contextlib
import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from rnncli.data.corpora import CORPORA
from rnncli.data.download import file_sha256
from rnncli.data.shards import INDEX, SCHEMA
from rnncli.errors import RnnError, UsageError
from rnncli.files import check_name, locked
from rnncli.home import data_dir
from rnncli.terminal import counted
from rnncli.version import __version__
from rnncli.wikipedia import pages, texts
from rnncli.wikipedia.dump import DumpFile, Report, Unit, units
from rnncli.wikipedia.journal import Journal, Record
from rnncli.wikipedia.results import put, stem_of, write_shards, write_text
from rnncli.wikipedia.sentences import one_a_line
from rnncli.wikipedia.workers import run_jobs

TOKENIZER = "wiki-words"
_OTHERS = {"analogies", "nltk_data", "tags", "vectors"}  # other folders below `data/`
MAX_WORDS = 1_000_000
_READ_WHOLE = 64 << 20  # bytes up to which a fingerprint covers the whole file
_BLOCK, _BLOCKS = 1 << 16, 16  # bytes and number of evenly spread blocks for larger files


@dataclass(frozen=True)
class Settings:
    """Settings that, with the input, determine the result."""

    by_paragraph: bool = False
    max_articles: int | None = None
    max_words: int = MAX_WORDS


@dataclass(frozen=True)
class Outputs:
    """The outputs and their folders; each folder appears only when it is complete."""

    shards: Path | None
    text: Path | None

    def missing(self, plan: Record) -> "Outputs":
        """The outputs that do not exist yet; raises UsageError where their folder holds something else."""
        return Outputs(_unless_there(self.shards, plan), _unless_there(self.text, plan))

    @property
    def folders(self) -> list[Path]:
        return [folder for folder in (self.shards, self.text) if folder is not None]


class Hooks:
    """Callbacks during the work; the defaults do nothing."""

    def progress(self, size: int, articles: int) -> None:
        """Called with the bytes and articles that were finished since the last call."""

    def check(self) -> None:
        """Called between units; raises to stop the work."""


@dataclass(frozen=True)
class Job:
    """A unit to read, and the outputs to write."""

    number: int
    unit: Unit
    parts: Outputs
    by_paragraph: bool
    limit: int | None = None


def shards_folder(name: str) -> Path:
    """The folder of shards with that name; raises UsageError for an invalid name, or one that is taken."""
    check_name(name)
    if name.startswith((".", "-")) or name.endswith(".part") or "=" in name:
        raise UsageError(f"--name {name!r} cannot be a folder's name: take letters, digits, - and _")
    if name in CORPORA:
        raise UsageError(f"--name {name} is a registered corpus: take another name")
    if name in _OTHERS:
        raise UsageError(f"--name {name} is a folder that rnn uses for other data: take another name")
    return data_dir() / name


def prepare(
    sources: list[DumpFile],
    outputs: Outputs,
    settings: Settings,
    *,
    workers: int,
    keep_going: bool = False,
    hooks: Hooks | None = None,
) -> Record:
    """Make the missing outputs; return the facts about all outputs, with `status` and the folders just `made`.

    Raises RnnError when a part of the input is lost and `keep_going` is off, UsageError where an output's folder holds
    something else, and any error of the hooks. Finished units are kept for the next call.
    """
    hooks = hooks or Hooks()
    _refuse_entangled(outputs)
    plan = {
        "sources": [{"size": source.size, "fingerprint": fingerprint(source.path)} for source in sources],
        "settings": asdict(settings) | {"tokenizer": TOKENIZER},
        "schema": SCHEMA,
    }
    with contextlib.ExitStack() as held:
        for folder in outputs.missing(plan).folders:
            busy = f"{folder} is being prepared by another process: wait for it, or take another name"
            held.enter_context(locked(folder, busy))
        missing = outputs.missing(plan)  # another process may have made them before they were locked
        if missing.folders:
            parts = Outputs(*(folder and _part(folder) for folder in (missing.shards, missing.text)))
            with _working_in(parts):
                preparation = _Preparation(sources, parts, settings, plan, workers, hooks)
                with contextlib.closing(preparation.journal):
                    preparation.run()
                    _refuse_loss(preparation.facts, keep_going)
                    preparation.finish(missing)
        for folder in outputs.folders:  # left over if an earlier call was killed before it removed them
            shutil.rmtree(_part_of(folder), ignore_errors=True)
    facts = {key: value for folder in outputs.folders for key, value in _index(folder).items()}
    _refuse_loss(facts, keep_going)
    status = "prepared" if missing.folders else "already there"
    return facts | {"status": status, "made": [str(folder) for folder in missing.folders]}


def _refuse_entangled(outputs: Outputs) -> None:
    """Raise UsageError where one output, or its working folder, would be inside the other."""
    places = [place.resolve() for folder in outputs.folders for place in (folder, _part_of(folder))]
    if any(one.is_relative_to(other) for one, other in itertools.permutations(places, 2)):
        raise UsageError(f"{outputs.text} and {outputs.shards} overlap: give --text another folder")


def _part_of(folder: Path) -> Path:
    """The working folder next to an output's folder."""
    return folder.absolute().with_name(f"{folder.name}.part")


def _part(folder: Path) -> Path:
    """Make the working folder."""
    part = _part_of(folder)
    try:
        part.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RnnError(f"cannot make the folder {part}: {error.strerror}") from None
    return part


@contextlib.contextmanager
def _working_in(parts: Outputs) -> Iterator[None]:
    """Turn disk errors into an RnnError that names the working folders."""
    try:
        yield
    except OSError as error:
        where = error.filename or " and ".join(map(str, parts.folders))
        raise RnnError(
            f"cannot work in {where}: {error.strerror or error}; fix this and run the same command again to continue"
        ) from None


Item = TypeVar("Item")


def _read(path: Path, items: Iterator[Item]) -> Iterator[Item]:
    """Pass on items that are read from a file; raises RnnError, which names the file, for read errors."""
    try:
        yield from items
    except OSError as error:
        raise RnnError(f"{path} cannot be read: {error.strerror or error}") from None


class _Preparation:
    """One call of `prepare`, from reading the remaining units to the finished folders."""

    def __init__(
        self, sources: list[DumpFile], parts: Outputs, settings: Settings, plan: Record, workers: int, hooks: Hooks
    ) -> None:
        self.sources, self.parts, self.settings, self.plan, self.hooks = sources, parts, settings, plan, hooks
        self.workers = workers
        self.journal = Journal(parts.folders[0], plan | {"version": __version__})  # versions may clean differently
        self.records: list[Record] = []  # of the units that count, in order

    def run(self) -> None:
        """Read every unit that is not finished yet."""
        done = self.journal.done
        for number in [number for number, record in done.items() if not self._usable(record)]:
            del done[number]
        self.hooks.progress(sum(record["size"] for record in done.values()), self._articles())
        for _, record in run_jobs(self._jobs(), work, self.workers, self.hooks.check):
            self.journal.add(record)
            self.hooks.progress(record["size"], record["articles"])
        self.records = [done[number] for number in range(len(done)) if number in done]
        if self.settings.max_articles is not None:
            self._cut(self.settings.max_articles)

    def _usable(self, record: Record) -> bool:
        """Whether a unit was read without loss, for these outputs, and its files exist."""
        from rnncli.wikipedia.counting import segment_files

        if record["lost"] or record["limit"]:
            return False
        stem = stem_of(record["unit"])
        files = []
        if self.parts.text is not None:
            files.append((self.parts.text / f"{stem}.jsonl", record["text"]))
        if self.parts.shards is not None:
            if record["segments"] is None:
                return False
            for place, sizes in enumerate(record["segments"]):
                files.extend(zip(segment_files(self.parts.shards, stem, place), sizes, strict=True))
        return all(size is not None and _has_size(file, size) for file, size in files)

    def _articles(self) -> int:
        """The number of articles in the finished units before the first unfinished one."""
        done = (self.journal.done.get(number) for number in itertools.count())
        return sum(record["articles"] for record in itertools.takewhile(bool, done) if record)

    def _jobs(self) -> Iterator[Job]:
        max_articles = self.settings.max_articles
        for number, unit in enumerate(self._units()):
            if max_articles is not None and self._articles() >= max_articles:
                return
            if number not in self.journal.done:
                yield self._job(number, unit)

    def _units(self) -> Iterator[Unit]:
        return itertools.chain.from_iterable(_read(source.path, units(source)) for source in self.sources)

    def _job(self, number: int, unit: Unit) -> Job:
        return Job(number, unit, self.parts, self.settings.by_paragraph)

    def _cut(self, max_articles: int) -> None:
        """Keep only the first `max_articles` articles: the unit that exceeds them is read again up to there."""
        for place, record in enumerate(self.records):
            if record["articles"] >= max_articles:
                del self.records[place + 1 :]
                if record["articles"] > max_articles:
                    unit = next(itertools.islice(self._units(), record["unit"], None))
                    self.records[place] = work(replace(self._job(record["unit"], unit), limit=max_articles))
                    self.journal.add(self.records[place])
                return
            max_articles -= record["articles"]

    @property
    def facts(self) -> Record:
        """The facts in the indexes of all outputs."""
        lost = [record["lost"] for record in self.records if record["lost"]]
        return {
            "sources": [
                {"path": str(source.path.absolute()), **plan}
                for source, plan in zip(self.sources, self.plan["sources"], strict=True)
            ],
            "settings": self.plan["settings"],
            "articles": sum(record["articles"] for record in self.records),
            "redirects": sum(record["redirects"] for record in self.records),
            "other_namespaces": sum(record["others"] for record in self.records),
            "lost": {
                "pages": sum(each["pages"] for each in lost),
                "bytes": sum(each["bytes"] for each in lost),
                "first": lost[0]["first"] if lost else None,
            },
        }

    def finish(self, missing: Outputs) -> None:
        """Move the finished folders into place; raises RnnError where no word was found."""
        self._refuse_empty()
        ready = []
        if self.parts.text is not None and missing.text is not None:
            ready.append((write_text(self.parts.text, self.records, self.facts), missing.text))
        if self.parts.shards is not None and missing.shards is not None:
            index = self.facts | {"name": missing.shards.name}
            ready.append((write_shards(self.parts.shards, self.records, index, self.hooks.check), missing.shards))
        for folder, place in ready:
            put(folder, place)

    def _refuse_empty(self) -> None:
        """Raise RnnError where no word was found, and remove the working folders: there is nothing to resume."""
        if any(record["segments" if self.parts.shards else "text"] for record in self.records):
            return
        for part in self.parts.folders:
            shutil.rmtree(part, ignore_errors=True)
        articles, source = self.facts["articles"], self.sources[0].path
        if articles:
            raise RnnError(f"{source} has {counted(articles, 'article')} without words: name a text with words")
        raise RnnError(f"{source} has no articles: name a dump of articles, or a text")


def work(job: Job) -> Record:
    """Read a unit and write its outputs; returns its journal record. Raises RnnError for disk errors."""
    with _working_in(job.parts):
        return _work(job)


def _work(job: Job) -> Record:
    from rnncli.wikipedia.counting import Segments

    report, count, stem = Report(), 0, stem_of(job.number)
    unit, parts = job.unit, job.parts
    segments = None if parts.shards is None else Segments(parts.shards, stem)
    file = None if parts.text is None else parts.text / f"{stem}.jsonl"
    with contextlib.ExitStack() as stack:
        text = stack.enter_context(file.open("w", encoding="utf-8", newline="\n")) if file else None
        reader = texts if unit.kind in texts.KINDS else pages
        for article in _read(unit.path, reader.articles(unit, report)):
            count += not unit.continues
            if text is not None:
                text.write(json.dumps(article._asdict(), ensure_ascii=False) + "\n")
            if segments is not None and article.text:
                segments.add(article.text if job.by_paragraph else one_a_line(article.text))
            if count == job.limit:
                break
        if segments is not None:
            segments.close()
    return {
        "unit": job.number,
        "size": 0 if unit.kind == "decoded" else unit.end - unit.begin,
        "articles": count,
        "redirects": report.redirects,
        "others": report.others,
        "lost": _lost(report, unit.path),
        "limit": job.limit,
        "text": file and file.stat().st_size,
        "segments": None if segments is None else segments.sizes,
    }


def _lost(report: Report, path: Path) -> Record | None:
    if not report.first_loss:
        return None
    return {"pages": report.lost_pages, "bytes": report.lost_bytes, "first": f"{path}: {report.first_loss}"}


def _refuse_loss(facts: Record, keep_going: bool) -> None:
    lost = facts["lost"]
    if lost["first"] is None or keep_going:
        return
    raise RnnError(f"damaged: {loss_summary(lost)}; get an intact copy, or use the rest with --keep-going")


def loss_summary(lost: Record) -> str:
    """Describe what was lost."""
    pages = counted(lost["pages"], "page")
    unread = f" and {lost['bytes']:,} compressed bytes" if lost["bytes"] else ""
    return f"{pages}{unread} lost, the first at {lost['first']}"


def fingerprint(path: Path) -> str:
    """A file's SHA-256, or, for a large file, the SHA-256 of its size, modification time and some blocks."""
    stat = path.stat()
    if stat.st_size <= _READ_WHOLE:
        return file_sha256(path)
    digest = hashlib.sha256(f"{stat.st_size} {stat.st_mtime_ns}".encode())
    with path.open("rb") as file:
        for block in range(_BLOCKS):
            file.seek((stat.st_size - _BLOCK) * block // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def _unless_there(folder: Path | None, plan: Record) -> Path | None:
    """The folder, or None if it already holds the planned output; raises UsageError for other contents."""
    if folder is None or not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return folder
    try:
        found = _index(folder)
        sources = [{key: source[key] for key in ("size", "fingerprint")} for source in found["sources"]]
        planned = {"sources": sources, "settings": found["settings"], "schema": found["schema"]}
    except (RnnError, KeyError, TypeError):
        raise UsageError(f"{folder} exists already and was not made by `rnn data prepare`: take another name") from None
    if planned != plan:
        raise UsageError(
            f"{folder} was prepared from other sources or with other settings: take another name, or delete it"
        )
    return None


def _index(folder: Path) -> Record:
    try:
        found: Record = json.loads((folder / INDEX).read_bytes())
    except (OSError, ValueError):
        raise RnnError(f"{folder / INDEX} is missing or damaged: delete the folder and prepare again") from None
    return found


def _has_size(file: Path, size: int) -> bool:
    try:
        return file.stat().st_size == size
    except OSError:
        return False
