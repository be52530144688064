"""Gather the results of all units into complete folders of text or shards, with their index."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rnncli.data.shards import INDEX, SCHEMA, VOCABULARY, ShardWriter
from rnncli.data.vocabulary import SPECIALS
from rnncli.errors import RnnError
from rnncli.files import reason, replace, sync_file, sync_folder, write_file
from rnncli.wikipedia.journal import Record

if TYPE_CHECKING:
    from rnncli.wikipedia.counting import Segment


def stem_of(number: int) -> str:
    """The beginning of the names of a unit's files."""
    return f"unit-{number:06}"


def write_text(part: Path, records: list[Record], facts: Record) -> Path:
    """Gather the files of text in one folder, with an index."""
    ready = _fresh(part / "ready")
    files: list[Record] = []
    for record in records:
        if record["text"]:
            name = f"articles-{len(files):05}.jsonl"
            _link(part / f"{stem_of(record['unit'])}.jsonl", ready / name)
            files.append({"file": name, "articles": record["articles"], "bytes": record["text"]})
    write_file(ready / INDEX, _json(facts | {"schema": SCHEMA, "files": files}))
    return ready


def write_shards(part: Path, records: list[Record], facts: Record, check: Callable[[], None]) -> Path:
    """Encode all segments with one vocabulary, and write shards, vocabulary and index into one folder."""
    from rnncli.wikipedia.counting import ranked_ids, segment_files

    segments = [
        segment_files(part, stem_of(record["unit"]), place)
        for record in records
        for place in range(len(record["segments"]))
    ]
    ready = _fresh(part / "ready")
    ranks, known, vocabulary = _vocabulary(part, ready, segments, facts["settings"]["max_words"], check)
    writer = ShardWriter(ready, len(ranks))
    for segment in segments:
        check()
        try:
            writer.add(ranked_ids(segment, ranks))
        except ValueError as error:
            raise RnnError(f"{error}: delete the folder {part} and run the same command again") from None
    writer.close()
    tokens = sum(shard["tokens"] for shard in writer.shards)
    sequences = sum(shard["sequences"] for shard in writer.shards)
    index = facts | {
        "schema": SCHEMA,
        "tokens": tokens,
        "sequences": sequences,
        "unknown": tokens - sequences - known,
        "specials": list(SPECIALS),
        "dtype": writer.dtype,
        "vocabulary": vocabulary,
        "shards": writer.shards,
    }
    write_file(ready / INDEX, _json(index))
    return ready


def _vocabulary(
    part: Path, ready: Path, segments: "list[Segment]", max_words: int, check: Callable[[], None]
) -> tuple[dict[str, int], int, Record]:
    """Write the most frequent words; returns their ids, their total count, and their entry in the index."""
    from rnncli.wikipedia.counting import FIRST_RANK, Counts, read_words

    counts = Counts(_fresh(part / "counts"))
    for segment in segments:
        check()
        counts.add(read_words(segment))
    words, different = counts.most_frequent(max_words)
    data = "".join(f"{word}\t{count}\n" for word, count in words).encode()
    write_file(ready / VOCABULARY, data)
    ranks = {word: FIRST_RANK + rank for rank, (word, _) in enumerate(words)}
    entry = {
        "file": VOCABULARY,
        "words": len(words),
        "left_out": different - len(words),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return ranks, sum(count for _, count in words), entry


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _link(file: Path, name: Path) -> None:
    """Hard-link a file durably; the first name stays, in case the rest is interrupted."""
    try:
        name.hardlink_to(file)
    except OSError:  # a file system without links
        shutil.copyfile(file, name)
    sync_file(name)


def put(folder: Path, place: Path) -> None:
    """Rename a complete folder to its place; raises RnnError where that fails."""
    place = place.absolute()
    with contextlib.suppress(OSError):
        place.rmdir()  # an empty one may be there
    try:
        replace(folder, place)
    except OSError as error:
        raise RnnError(f"cannot put {folder} at {place}: {reason(error)}") from None
    sync_folder(place.parent)


def _json(value: Record) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
