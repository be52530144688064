"""Encoded running text: equal in memory and on disk, bounded memory, and no leftovers of failures."""

import gzip
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.processes import PATIENCE

from rnncli.data import cached_folder, token_text
from rnncli.data.codec import Codec
from rnncli.data.holding_out import HoldOut
from rnncli.data.stream_data import StreamData
from rnncli.data.text import READING, read_as
from rnncli.data.token_text import Text, TextSpec, read_token_text
from rnncli.data.tokenizers import KINDS, UNITS
from rnncli.data.vocabulary import SPECIALS, UNKNOWN, Vocabulary
from rnncli.errors import RnnError

LINES = "".join(f"Zeile {number % 17} geht – früh oder spät – zu Ende.\r\n" for number in range(2_000))


@pytest.fixture
def file(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(token_text, "PIECE", 1 << 12)
    path = tmp_path / "mine.txt"
    path.write_bytes(LINES.encode())
    return path


def on_disk(monkeypatch: pytest.MonkeyPatch, spec: TextSpec) -> StreamData:
    with monkeypatch.context() as patched:
        patched.setattr(token_text, "LARGE", 10_000)
        return read_token_text(spec)


def spelled(corpus: StreamData, ids: Any) -> str:
    return "".join(corpus.codec.join(ids.tolist()))


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_numbers_of_former_rules_are_kept_apart(file: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    file.write_text("ви́дит ло́дку\n" * 800, encoding="utf-8")
    spec = TextSpec([str(file)], kind, 300)
    folders = set()
    for reading in (READING, 2, READING, 2):
        with read_as(reading):
            small, large = read_token_text(spec), on_disk(monkeypatch, spec)
        folders.add(large.folder)
        assert large.codec.split(" ло́дку") == small.codec.split(" ло́дку")
        assert large.ids.tolist() == small.ids.tolist()
    assert len(folders) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_text_has_the_numbers_of_a_small_one(file: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    spec = TextSpec([str(file)], kind, 270 if kind == "bpe" else 0, hold_out=HoldOut(0.25))
    small, large = read_token_text(spec), on_disk(monkeypatch, spec)
    text = LINES.replace("\r\n", "\n")
    cut = len(text) - int(0.25 * len(text))
    assert isinstance(large.ids, np.memmap)
    assert large.folder is not None
    for corpus in (small, large):
        assert spelled(corpus, corpus.training_ids) == text[:cut]
        assert spelled(corpus, corpus.held_out) == text[cut:]
        assert corpus.characters == (cut, len(text) - cut)
        assert np.array_equal(corpus.counts, np.bincount(corpus.training_ids, minlength=len(corpus.codec.vocabulary)))
    assert np.array_equal(small.ids, large.ids)
    assert (small.codec.payload, small.fingerprint) == (large.codec.payload, large.fingerprint)
    if kind in UNITS:  # pieces end where tokens end
        assert spelled(small, small.ids) == "".join(UNITS[kind].join(UNITS[kind].split(text)))
        assert small.cut == len(UNITS[kind].split(text[:cut]))


@pytest.mark.parametrize("every", [3, 7])
def test_every_nth_line_is_held_out_of_small_and_large_texts(file: Path, monkeypatch, every: int) -> None:
    spec = TextSpec([str(file)], hold_out=HoldOut(every=every))
    lines = LINES.replace("\r\n", "\n").splitlines(keepends=True)
    for corpus in (read_token_text(spec), on_disk(monkeypatch, spec)):
        assert spelled(corpus, corpus.held_out) == "".join(lines[every - 1 :: every])
        kept = (line for number, line in enumerate(lines, 1) if number % every)
        assert spelled(corpus, corpus.training_ids) == "".join(kept)


def test_a_large_text_is_numbered_once_until_it_changes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = TextSpec([str(file)], hold_out=HoldOut(0.1))
    first = on_disk(monkeypatch, spec)
    with monkeypatch.context() as patched:
        patched.setattr(token_text, "_write", pytest.fail)
        assert on_disk(monkeypatch, spec).folder == first.folder
    assert on_disk(monkeypatch, spec._replace(min_count=2)).folder != first.folder
    assert first.folder is not None
    (first.folder / "ids.bin").write_bytes(b"torn")
    assert np.array_equal(on_disk(monkeypatch, spec).ids, first.codec.encode(LINES.replace("\r\n", "\n")))
    file.write_text("another text\n" * 1000, encoding="utf-8")
    other = on_disk(monkeypatch, spec)
    assert other.folder != first.folder
    assert spelled(other, other.ids) == "another text\n" * 1000


def test_a_large_text_keeps_the_voices_that_a_model_knows(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = file.with_name("other.txt")
    other.write_text("früh oder spät\n" * 900, encoding="utf-8")
    known = read_token_text(TextSpec([str(other), str(file)], by_voice=True)).codec
    assert known.labels == ("other", "mine")
    both = TextSpec([str(file), str(other)], codec=known, by_voice=True, hold_out=HoldOut(0.1))
    for spec in (both, both._replace(corpus=[str(file)])):
        small, large = read_token_text(spec), on_disk(monkeypatch, spec)
        assert large.codec.labels == known.labels
        assert np.array_equal(small.ids, large.ids)
        assert [number for number, _ in large.whole.voices] == [1, 0][: len(spec.corpus)]
        assert large.whole.voices == small.whole.voices


def test_folders_and_gzipped_files_may_be_large(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = file.parent / "texts"
    folder.mkdir()
    (folder / "a.txt").write_bytes(LINES.encode())
    (folder / "b.txt").write_text(" \n")
    (folder / "c.txt").write_text("the last one\n" * 900)
    zipped = file.with_name("zipped.gz")
    noise = os.urandom(6_000).hex()
    zipped.write_bytes(gzip.compress(noise.encode()))
    corpus = on_disk(monkeypatch, TextSpec([str(folder), f"more={zipped}"]))
    assert corpus.name == "texts + more"
    text = (
        LINES.replace("\r\n", "\n")
        + "\n"
        + "the last one\n" * 900
        + "\n"
        + gzip.decompress(zipped.read_bytes()).decode()
    )
    assert spelled(corpus, corpus.ids) == text


def test_memory_is_bounded_whatever_the_size(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_text, "LARGE", 1_000_000)
    monkeypatch.setattr(token_text, "_shown", lambda pieces, *_: pieces)
    peaks = []
    for size in (10, 30):
        file = tmp_path / f"{size}.txt"
        with file.open("w") as written:
            for number in range(size):
                written.write((f"line {number} of it is here\n" * 50_000)[:1_000_000])
        tracemalloc.start()
        corpus = read_token_text(TextSpec([str(file)], hold_out=HoldOut(0.1)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(corpus.ids) == size * 1_000_000
    assert peaks[1] < 1.1 * peaks[0] < 60_000_000


@pytest.mark.parametrize("bad", [b"\xff", b"\0"])
def test_text_with_a_fault_in_its_middle_leaves_nothing(
    file: Path, home: Path, monkeypatch: pytest.MonkeyPatch, bad: bytes
) -> None:
    data = LINES.encode()
    file.write_bytes(data[:50_000] + bad + data[50_000:])
    with pytest.raises(RnnError, match=r"mine\.txt is (not UTF-8 text|a binary file)"):
        on_disk(monkeypatch, TextSpec([str(file)]))
    assert not (home / "data").exists()


def test_text_that_changes_during_reading_is_detected(file: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = token_text._count

    def count(*given: Any) -> Any:
        found = counted(*given)
        file.write_bytes(LINES.replace("geht", "ging").encode())
        return found

    monkeypatch.setattr(token_text, "_count", count)
    with pytest.raises(RnnError, match="mine changed while it was read: try again when nothing writes to it"):
        on_disk(monkeypatch, TextSpec([str(file)]))
    assert list((home / "data" / "running").iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(file: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(token_text, "write_file", full)
    with pytest.raises(RnnError, match=r"cannot write .*\.part: No space left on device; make room"):
        on_disk(monkeypatch, TextSpec([str(file)]))
    assert list((home / "data" / "running").iterdir()) == []


def test_one_of_two_threads_writes_while_the_other_waits(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_text, "LARGE", 10_000)
    written, write, begun = [], token_text._write, threading.Event()

    def slowly(*given: Any) -> None:
        begun.set()
        written.append(given)
        other.join(0.2)  # the other thread waits
        write(*given)

    monkeypatch.setattr(token_text, "_write", slowly)
    found: list[StreamData] = []

    def read_too() -> None:
        begun.wait()
        found.append(read_token_text(TextSpec([str(file)])))

    other = threading.Thread(target=read_too)
    other.start()
    mine = read_token_text(TextSpec([str(file)]))
    other.join()
    assert found[0].folder == mine.folder
    assert len(written) == 1


def test_folder_that_another_process_just_made_is_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process finishes after this one looked and before it holds the lock."""
    folder, lock = tmp_path / "made", cached_folder.locked

    @contextmanager
    def locked(place: Path, busy: str, *, wait: bool) -> Iterator[None]:
        folder.mkdir()
        with lock(place, busy, wait=wait):
            yield

    monkeypatch.setattr(cached_folder, "locked", locked)
    assert cached_folder.cached_folder(folder, lambda at: at.exists() or None, lambda _: pytest.fail("made twice"))
    assert [each.name for each in tmp_path.iterdir()] == ["made"]


def test_one_of_two_processes_makes_the_folder(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom rnncli.data.cached_folder import cached_folder\n"
        "place = Path(sys.argv[1])\n"
        "def make(part):\n"
        "    print('making', flush=True)\n"
        "    while not (place / 'go').exists(): time.sleep(0.01)\n"
        "    (part / 'whole').touch()\n"
        "cached_folder(place / 'folder', lambda at: (at / 'whole').exists() or None, make)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "making\n"
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as second:
            assert second.stderr is not None
            waiting = f"waiting for another process, which is preparing {tmp_path / 'folder'}\n"
            assert second.stderr.readline() == waiting
            (tmp_path / "go").touch()
            assert second.communicate(timeout=PATIENCE) == ("", "")
    assert (first.returncode, second.returncode) == (0, 0)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "go"]


def test_least_frequent_tokens_are_dropped_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_text, "MAX_COUNTED", 50)
    pieces = ["".join(f"rare{piece}x{number} often\n" for number in range(20)) for piece in range(20)]
    counts = token_text._count(pieces, UNITS["word"])
    assert (counts[" often"], counts["\n"]) == (400, 400)
    assert len(counts) <= 60


def test_known_codec_may_grow(file: Path) -> None:
    known = Codec("char", Vocabulary((*SPECIALS, "e", "Q")))
    kept = read_token_text(TextSpec([str(file)], codec=known))
    assert kept.codec == known
    assert int(kept.counts[UNKNOWN]) == len(kept.ids) - LINES.count("e")
    grown = read_token_text(TextSpec([str(file)], codec=known, grows=True))
    assert grown.codec.vocabulary.tokens[:5] == known.vocabulary.tokens
    assert set(grown.codec.vocabulary.tokens[5:]) == set(LINES) - {"e", "\r"}
    assert spelled(grown, grown.ids) == LINES.replace("\r\n", "\n")


def test_one_long_line_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_text, "PIECE", 100)

    def read() -> Iterator[str]:
        yield "word " * 1_000

    pieces = list(Text("", read, 5_000, 4_000, "").pieces())
    assert "".join(piece for held, piece in pieces if not held) == "word " * 800
    assert max(len(piece) for _, piece in pieces) <= 400


def test_index_stores_the_vocabulary(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = on_disk(monkeypatch, TextSpec([str(file)], "word"))
    assert corpus.folder is not None
    index = json.loads((corpus.folder / "index.json").read_text())
    assert index["numbering"]["vocabulary"] == list(corpus.codec.vocabulary.tokens)
    assert index["tokens"] == len(corpus.ids)


def test_codec_of_voices_covers_each_training_part(file: Path) -> None:
    """Regression: a short last voice was inside the held-out end of the joined texts, so its letters were unknown."""
    short = file.with_name("short.txt")
    short.write_text("αβγδ\n" * 40 + "ω\n" * 5)
    corpus = read_token_text(TextSpec([str(file), str(short)], "char", hold_out=HoldOut(0.1), by_voice=True))
    known = set(corpus.codec.vocabulary.words)
    assert set("αβγδ") <= known
    assert "ω" not in known  # it occurs only in the held-out part
