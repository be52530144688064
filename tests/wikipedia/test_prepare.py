"""From dumps to shards and text: against counts by hand, interrupted, resumed, damaged, and in bounded memory."""

import bz2
import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.dumps import Page, dump_xml, multistream
from support.processes import PATIENCE, heed_interrupts

from rnncli.data.corpora import CORPORA
from rnncli.data.shards import Shards
from rnncli.data.sources import Remote
from rnncli.data.tokenizers import wiki_words
from rnncli.errors import RnnError, UsageError
from rnncli.files import locked
from rnncli.wikipedia import bzip2, counting, dump
from rnncli.wikipedia.dump import find_dump_files
from rnncli.wikipedia.prepare import Hooks, Outputs, Settings, fingerprint, prepare, shards_folder

WORDS = ("the", "of", "king", "queen", "Rome", "it's", "1,000", "naïve")
PAGES = [
    Page(f"Page {number}", " ".join(itertools.islice(itertools.cycle(WORDS), number, number * 3 + 2)) + ". Last words.")
    for number in range(40)
]


@pytest.fixture
def dump_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dump of 40 articles in many units."""
    monkeypatch.setattr(bzip2, "STRETCH", 500)
    monkeypatch.setattr(dump, "UNIT", 2000)
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(multistream(PAGES))
    return path


def run(
    *paths: Path, name: str | None = "mini", text: Path | None = None, hooks: Hooks | None = None, **options: Any
) -> dict[str, Any]:
    workers, keep_going = options.pop("workers", 1), options.pop("keep_going", False)
    outputs = Outputs(None if name is None else shards_folder(name), text)
    sources = find_dump_files([str(path) for path in paths])
    return prepare(sources, outputs, Settings(**options), workers=workers, keep_going=keep_going, hooks=hooks)


def sentences(pages: list[Page]) -> list[list[str]]:
    """The words of every sentence, by hand."""
    return [wiki_words(part) for page in pages for part in page.text.split(". ")]


def decoded(shards: Shards) -> list[list[str]]:
    """The words of every sequence in the shards."""
    ids = np.concatenate(shards.memmaps()).tolist()
    tokens = ("<start>", "<end>", "<unknown>", *shards.vocabulary)
    ends = [place for place, number in enumerate(ids) if number == 1]
    begins = [0, *(end + 1 for end in ends)]
    assert begins[-1] == len(ids)
    return [[tokens[number] for number in ids[begin:end]] for begin, end in zip(begins, ends, strict=False)]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.mark.parametrize("workers", [1, 2])
def test_shards_hold_every_sentence_in_order(home: Path, dump_file: Path, workers: int) -> None:
    facts = run(dump_file, workers=workers)
    shards = Shards.open("mini", verify=True)
    expected = sentences(PAGES)
    assert decoded(shards) == expected
    counts = Counter(word for sentence in expected for word in sentence)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    assert list(shards.vocabulary) == ranked
    assert list(shards.counts) == [counts[word] for word in ranked]
    assert shards.sequences == len(expected) == facts["sequences"]
    assert shards.tokens == sum(len(sentence) + 1 for sentence in expected)
    assert shards.index["dtype"] == "<u2"
    assert facts["articles"] == len(PAGES)
    assert facts["status"] == "prepared"
    assert run(dump_file)["status"] == "already there"
    assert [each.name for each in (home / "data").iterdir()] == ["mini"]


def test_paragraphs_and_the_most_frequent_words(home: Path, tmp_path: Path) -> None:
    pages = [Page("A", "One two. Three one.\n\nOne two. Four")]
    path = tmp_path / "dump.xml"
    path.write_text(dump_xml(pages))
    run(path, by_paragraph=True, max_words=3)
    shards = Shards.open("mini")
    assert shards.vocabulary == ("one", "two", "four")
    assert decoded(shards) == [["one", "two", "<unknown>", "one"], ["one", "two", "four"]]
    assert shards.index["unknown"] == 1
    assert shards.index["vocabulary"]["left_out"] == 1


def test_more_words_than_16_bits_hold(home: Path, tmp_path: Path) -> None:
    words = ["".join(letters) for letters in itertools.islice(itertools.product("abcdefghij", repeat=5), 70_000)]
    path = tmp_path / "words.txt"
    path.write_text("\n".join(words))
    run(path)
    shards = Shards.open("mini")
    assert shards.index["dtype"] == "<u4"
    assert decoded(shards) == [[word] for word in words]
    assert shards.memmaps()[0].max() == 2 + 70_000
    run(path, name="fewer", max_words=65_533)
    assert Shards.open("fewer").index["dtype"] == "<u2"
    assert Shards.open("fewer").memmaps()[0].max() == 65_535


def test_text_output_has_one_article_per_record(home: Path, dump_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "text"
    facts = run(dump_file, name=None, text=out)
    files = sorted(out.glob("articles-*.jsonl"))
    records = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
    titles = [(str(number), page.title) for number, page in enumerate(PAGES, 1)]
    assert [(each["id"], each["title"]) for each in records] == titles
    assert [each["text"] for each in records] == [page.text for page in PAGES]
    assert len(files) > 3
    assert facts["files"] == [
        {"file": file.name, "articles": len(file.read_text("utf-8").splitlines()), "bytes": file.stat().st_size}
        for file in files
    ]
    assert run(dump_file, name=None, text=out)["status"] == "already there"
    assert run(out)["articles"] == len(PAGES)  # it reads its own output
    assert decoded(Shards.open("mini")) == sentences(PAGES)


def test_texts_of_other_programs(home: Path, tmp_path: Path) -> None:
    texts = {
        "extracted/AA/wiki_00": '<doc id="1" url="u" title="A &amp; B">\nA & B\n\nFirst &lt;one&gt;.\n\n</doc>\n'
        '<doc id="2" url="u" title="C">\nC\n\nSecond one.\n</doc>\n',
        "json/wiki_00": '{"id": "1", "title": "A", "text": "First one."}\n{"title": "C", "text": "Second one."}\n',
        "wp2txt.txt": "[[A]]\n\n== H ==\nFirst one.\n* item\n\n[[C]]\n\nSecond one.\n| cell\n",
        "plain.txt": "First one.\r\n\r\n= Heading =\r\n| cell\r\nSecond one.\r\n",
    }
    for place, text in texts.items():
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        name = place.split("/")[0].partition(".")[0]
        facts = run(tmp_path / place.split("/")[0], name=name)
        assert decoded(Shards.open(name)) == [["first", "one"], ["second", "one"]]
        assert facts["articles"] == (1 if name == "plain" else 2)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ('<doc id="1" title="AT&amp;T">\nAT&amp;T\n\nA firm.\n</doc>\n', [("AT&T", "A firm.\n")]),
        ('<doc id="1" title="The "A" song" url="u">\nThe "A" song\n\nOld.\n</doc>\n', [('The "A" song', "Old.\n")]),
        ('<doc title="A">\r\nA\r\n\r\nOld.\r\n</doc>\r\n', [("A", "Old.\n")]),
        ('{"title": null, "id": 3, "text": "One."}\n', [("", "One.")]),
        ("One.\rTwo.\r\nThree.\r", [("text", "One.\nTwo.\nThree.\n")]),
        ('{"text": "One.\\rTwo."}\n', [("", "One.\nTwo.")]),
        ("{\nBraces may begin a text.\n", [("text", "Braces may begin a text.\n")]),
        (
            "[[A]]\n\nOne.\n[[B]]\n[[File:C]]\n\nTwo.\n[[C|D]]\n\n[[E]]\n\nThree.\n",
            [("A", "One.\nTwo.\n"), ("E", "Three.\n")],
        ),
    ],
)
def test_titles_and_texts(data: str, found: list[tuple[str, str]], home: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(data.encode())
    run(tmp_path / "text", name=None, text=tmp_path / "out")
    records = [json.loads(line) for line in (tmp_path / "out/articles-00000.jsonl").read_text("utf-8").splitlines()]
    assert [(record["title"], record["text"]) for record in records] == found


@pytest.mark.parametrize(
    ("data", "lost"),
    [
        ('<doc title="A">\nA\n\nOne.\n</doc>\nTwo.\n<doc title="B">\nB\n</doc>\n', "between articles after page 'A'"),
        ('<doc title="A">\nA\n\nOne.\n</doc>\nTwo.\n', "between articles after page 'A'"),
        ('{"text": "One."}\n{"title": "A", "text": null}\n', "not a JSON object with a text"),
        ('{"text": "One."}\n' + "[" * 200_000 + "\n", "not a JSON object with a text"),
    ],
)
def test_damage_in_texts_is_named(data: str, lost: str, home: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text(data)
    with pytest.raises(RnnError, match=rf"damaged: 1 page lost, .*{lost}"):
        run(tmp_path / "text")


def test_a_plain_text_is_one_article_however_long(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "UNIT", 50)
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("".join(f"Line {number} {n}.\n" for n in range(20)))
    files = [tmp_path / f"{number}.txt" for number in range(3)]
    for limit in (1, 2, 3, None):
        facts = run(*files, name=f"first-{limit}", text=tmp_path / f"first-{limit}", max_articles=limit)
        assert facts["articles"] == (limit or 3) == sum(file["articles"] for file in facts["files"])
        expected = [["line", str(number), str(n)] for number in range(limit or 3) for n in range(20)]
        assert decoded(Shards.open(f"first-{limit}")) == expected
        run(tmp_path / f"first-{limit}", name=f"again-{limit}")
        assert decoded(Shards.open(f"again-{limit}")) == expected


def test_a_long_text_is_read_in_parts(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "UNIT", 50)
    path = tmp_path / "long.txt"
    path.write_text("".join(f"Line number {number} is här.\n" for number in range(99)), "utf-8")
    run(path)
    assert decoded(Shards.open("mini")) == [["line", "number", str(n), "is", "här"] for n in range(99)]


@pytest.mark.parametrize("limit", [1, 7, 8, 39, 40, 99])
def test_max_articles(home: Path, dump_file: Path, tmp_path: Path, limit: int) -> None:
    facts = run(dump_file, text=tmp_path / "text", max_articles=limit)
    assert decoded(Shards.open("mini")) == sentences(PAGES[:limit])
    assert facts["articles"] == min(limit, 40) == sum(each["articles"] for each in facts["files"])


class Stop(Hooks):
    """Stops after a number of units."""

    def __init__(self, units: int) -> None:
        self.left = units

    def progress(self, size: int, articles: int) -> None:
        self.left -= 1

    def check(self) -> None:
        if self.left < 0:
            raise KeyboardInterrupt


def test_interrupted_prepare_resumes(home: Path, dump_file: Path, tmp_path: Path) -> None:
    run(dump_file, name="whole", text=tmp_path / "whole")
    for units in (1, 3, 5):
        with pytest.raises(KeyboardInterrupt):
            run(dump_file, text=tmp_path / "text", hooks=Stop(units))
        with pytest.raises(RnnError, match="shards mini are unfinished: run the same `rnn data prepare` again"):
            Shards.open("mini")
        assert not (tmp_path / "text").exists()
    journal = home / "data/mini.part/journal.jsonl"
    before = len(journal.read_text().splitlines())
    assert before > 5
    with journal.open("a") as file:
        file.write('{"unit": 99, "art')  # as if killed while writing
    run(dump_file, text=tmp_path / "text", workers=2)
    assert {**contents(home / "data/mini"), "index.json": b""} == {**contents(home / "data/whole"), "index.json": b""}
    assert contents(tmp_path / "text") == contents(tmp_path / "whole")
    assert not (home / "data/mini.part").exists()


def test_another_input_does_not_resume(home: Path, dump_file: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(dump_file, hooks=Stop(3))
    dump_file.write_bytes(multistream(PAGES[5:]))
    run(dump_file)
    assert decoded(Shards.open("mini")) == sentences(PAGES[5:])


def test_any_change_makes_another_input(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "big.txt"
    path.write_bytes(b"word " * 800_000)
    run(path)
    with path.open("r+b") as file:
        file.seek(1_821_975)
        file.write(b"another")
    with pytest.raises(UsageError, match="was prepared from other sources"):
        run(path)


def test_later_change_makes_another_large_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncli.wikipedia.prepare._READ_WHOLE", 1 << 20)
    path = tmp_path / "big.txt"
    path.write_bytes(b"word " * 800_000)
    before = fingerprint(path)
    assert fingerprint(path) == before
    with path.open("r+b") as file:
        file.seek(1_821_975)
        file.write(b"another")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert fingerprint(path) != before


def test_a_segment_without_its_words_is_read_again(home: Path, dump_file: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(dump_file, hooks=Stop(5))
    next((home / "data/mini.part").glob("unit-*.words")).unlink()
    run(dump_file)
    assert decoded(Shards.open("mini")) == sentences(PAGES)


@pytest.mark.posix("limits on the size of files")
@pytest.mark.parametrize("limit", [100, 900, 5_000])
def test_a_full_disk_is_named_and_the_source_is_not(home: Path, tmp_path: Path, limit: int) -> None:
    """While writing the journal, the units or the outputs."""
    path = tmp_path / "text"
    path.write_text("".join(f"These are words and more words x{number}.\n" for number in range(700)))
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(RnnError, match=r"^cannot (work in|save) .*mini\.part.*: File too large") as raised:
            run(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(path) not in str(raised.value)
    assert run(path)["status"] == "prepared"


def test_a_source_that_cannot_be_read_is_named(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(unit: dump.Unit) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(dump.Unit, "read", failing)
    (tmp_path / "text").write_text("Words.\n")
    with pytest.raises(RnnError, match=f"^{tmp_path}/text cannot be read: Input/output error$"):
        run(tmp_path / "text")


def test_nested_outputs_are_refused(home: Path, dump_file: Path) -> None:
    for text in ("mini", "mini/text", "mini.part", "../data"):
        with pytest.raises(UsageError, match=r"overlap: give --text"):
            run(dump_file, text=home / "data" / text)
    assert not (home / "data").exists()


def test_outputs_are_not_read_as_sources(rnn: Callable[[str], Any], home: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("Words.\n")
    for status in ("prepared", "already there"):
        ran = rnn(f"data prepare {texts} --text {texts}/clean --workers 1")
        assert ran.out == f"{texts}/clean: {status} (1 article of text)\n"
    ran = rnn(f"data prepare {texts} --text {texts}/clean --name mini --workers 1")
    assert ran.out == (
        f"{texts}/clean: already there (1 article of text)\n"
        f"mini: prepared ({home}/data/mini: 1 article, 1 sentence, 2 tokens, 1 word)\n"
    )


def test_a_name_that_is_taken_is_refused(home: Path, dump_file: Path, tmp_path: Path) -> None:
    run(dump_file)
    with pytest.raises(UsageError, match="was prepared from other sources or with other settings"):
        run(dump_file, by_paragraph=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="was not made by `rnn data prepare`"):
        run(dump_file, name=None, text=tmp_path / "mine")
    with pytest.raises(UsageError, match="--name frost is a registered corpus"):
        run(dump_file, name="frost")
    others = {source.file.split("/")[0] for source in CORPORA.values() if type(source) is Remote and "/" in source.file}
    for name in (*others, "vectors", "nltk_data", "tags"):
        with pytest.raises(UsageError, match="is a folder that rnn uses"):
            run(dump_file, name=name)
    for name in ("", ".hidden", "a/b", "x.part", "-x"):
        with pytest.raises(UsageError, match="cannot be a folder's name"):
            run(dump_file, name=name)


def test_damage_is_refused_unless_accepted(home: Path, dump_file: Path) -> None:
    data = bytearray(dump_file.read_bytes())
    data[data.index(b"BZh9", len(data) // 2) + 40] ^= 16
    dump_file.write_bytes(data)
    message = r"^damaged: \d pages? and [\d,]+ compressed bytes lost, the first at \S+: byte [\d,]+: .*; get a"
    for _ in range(2):
        with pytest.raises(RnnError, match=message):
            run(dump_file)
        assert not (home / "data/mini").exists()
    facts = run(dump_file, keep_going=True)
    assert len(PAGES) > facts["articles"] >= len(PAGES) - 2
    assert facts["lost"]["bytes"] > 0
    assert Shards.open("mini", verify=True).index["lost"] == facts["lost"]
    with pytest.raises(RnnError, match=message):
        run(dump_file)
    assert run(dump_file, keep_going=True)["status"] == "already there"


def test_repaired_units_are_read_again(home: Path, dump_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the fingerprint does not change."""
    monkeypatch.setattr("rnncli.wikipedia.prepare.fingerprint", lambda path: "same")
    whole = dump_file.read_bytes()
    dump_file.write_bytes(whole[: len(whole) // 2] + b"\0" * 9 + whole[len(whole) // 2 + 9 :])
    with pytest.raises(RnnError, match="damaged"):
        run(dump_file)
    dump_file.write_bytes(whole)
    run(dump_file)
    assert decoded(Shards.open("mini")) == sentences(PAGES)


def test_nothing_to_prepare(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "dump.xml"
    path.write_text(dump_xml([Page("Old", "#REDIRECT [[x]]", redirect=True)]))
    with pytest.raises(RnnError, match="has no articles: name"):
        run(path)
    path.write_text(dump_xml([Page("Empty", "{{x}}")]))
    with pytest.raises(RnnError, match=f"{path} has 1 article without words"):
        run(path)
    assert not any((home / "data").iterdir())


def test_damaged_shards_are_named(home: Path, dump_file: Path) -> None:
    run(dump_file)
    folder = home / "data/mini"
    tokens = folder / "tokens-00000.bin"
    data = bytearray(tokens.read_bytes())
    data[7] ^= 1
    tokens.write_bytes(data)
    Shards.open(folder)  # the size is right
    with pytest.raises(RnnError, match=r"tokens-00000\.bin is missing or has changed; delete the folder"):
        Shards.open("mini", verify=True)
    tokens.write_bytes(data[:-2])
    with pytest.raises(RnnError, match="shards mini are damaged"):
        Shards.open("mini")
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(index | {"schema": 99}))
    with pytest.raises(RnnError, match="schema 99, this rnn reads 1"):
        Shards.open("mini")
    (folder / "index.json").write_text("{")
    with pytest.raises(RnnError, match=r"index.json is damaged"):
        Shards.open("mini")
    with pytest.raises(RnnError, match=r"no shards are in .*: make them with `rnn data prepare DUMP --name other`"):
        Shards.open("other")


def test_memmaps_cannot_be_written_and_shards_are_limited(
    home: Path, dump_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnncli.data.shards.SHARD_TOKENS", 500)
    run(dump_file)
    maps = Shards.open("mini").memmaps()
    assert len(maps) > 2
    assert all(each[-1] == 1 for each in maps)
    assert [len(each) for each in maps] == [shard["tokens"] for shard in Shards.open("mini").index["shards"]]
    assert decoded(Shards.open("mini")) == sentences(PAGES)
    with pytest.raises(ValueError, match="read-only"):
        maps[0][0] = 3


def test_counts_in_little_memory_are_those_of_a_counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only new words: most counts go to files on disk, which are merged in turn."""
    words = [(f"w{number * number % 7919}", number % 5 + 1) for number in range(30_000)]
    monkeypatch.setattr(counting, "_MAX_COUNTED", 50)
    counts = counting.Counts(tmp_path)
    for begin in range(0, len(words), 40):
        counts.add(words[begin : begin + 40])
    expected: Counter[str] = Counter()
    for word, count in words:
        expected[word] += count
    assert dict(counts.sorted()) == expected
    assert len(list(tmp_path.iterdir())) < counting._FAN_IN + 1
    ranked = sorted(expected.items(), key=lambda item: (-item[1], item[0]))
    for limit in (1, 100, 1000, 10**6):
        assert counts.most_frequent(limit) == (ranked[:limit], len(expected))


@pytest.mark.slow
def test_memory_does_not_grow_with_new_words(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump with new words throughout, and one four times as long that needs far less than four times the memory."""
    monkeypatch.setattr(dump, "UNIT", 25_000)
    monkeypatch.setattr(counting, "_MAX_WORDS", 500)
    monkeypatch.setattr(counting, "_MAX_COUNTED", 2_000)
    monkeypatch.setattr(counting, "_FAN_IN", 4)
    peaks = []
    for size in (25, 100):
        path = tmp_path / f"new-{size}.xml"
        path.write_text(dump_xml([Page(f"P{n}", " ".join(f"x{n}y{k}" for k in range(400))) for n in range(size)]))
        tracemalloc.start()
        facts = run(path, name=f"new-{size}", max_words=1_000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert facts["vocabulary"]["left_out"] == size * 400 - 1_000
    assert peaks[1] < peaks[0] * 1.5


@pytest.fixture(scope="module")
def big_dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump in many units that takes a second or two."""
    text = ". ".join(" ".join(f"word{(n * 7) % 997} [[link|{n}]]" for n in range(k, k + 20)) for k in range(500))
    pages = [Page(f"Page {number}", f"{number} {text}") for number in range(80)]
    path = tmp_path_factory.mktemp("big") / "dump.xml"
    path.write_text(dump_xml(pages))
    return path


@pytest.fixture(scope="module")
def whole(big_dump: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Its result without interruption."""
    home = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNN_HOME", str(home))
        run(big_dump)
    return contents(home / "data/mini")


def start(home: Path, dump_file: Path, *words: str) -> subprocess.Popen[str]:
    """Start `rnn data prepare`, and wait until some units are done."""
    journal = home / "data/mini.part/journal.jsonl"
    before = len(journal.read_text().splitlines()) if journal.exists() else 1
    process = subprocess.Popen(
        [sys.executable, "-m", "rnncli", "data", "prepare", str(dump_file), "--name", "mini", *words],
        env={**os.environ, "RNN_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    deadline = time.monotonic() + PATIENCE
    while not (journal.exists() and len(journal.read_text().splitlines()) > before):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


@pytest.mark.posix("signals to other processes")
@pytest.mark.parametrize(
    "name", ["SIGKILL", *(pytest.param(each, marks=pytest.mark.slow) for each in ("SIGINT", "SIGTERM"))]
)
def test_preparation_stopped_by_a_signal_continues_to_the_same_bytes(
    home: Path, big_dump: Path, whole: dict[str, bytes], name: str
) -> None:
    number = signal.Signals[name]
    process = start(home, big_dump, "--workers", "2" if number == signal.SIGKILL else "1")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers = children.read_text(encoding="utf-8").split() if children.exists() else []
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert err.splitlines()[-1] == "rnn: stopped: the same command continues from here"
        assert "Traceback" not in err
    assert not (home / "data/mini").exists()
    deadline = time.monotonic() + PATIENCE
    while any(Path(f"/proc/{worker}").exists() for worker in workers):  # they end on their own
        assert time.monotonic() < deadline
        time.sleep(0.01)
    done: list[int] = []

    class Noted(Hooks):
        def progress(self, size: int, articles: int) -> None:
            done.append(size)

    facts = run(big_dump, hooks=Noted())
    assert done[0] > 0
    assert sum(done) == big_dump.stat().st_size
    assert contents(home / "data/mini") == whole
    assert facts["articles"] == 80


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_a_worker_that_dies_is_one_line(home: Path, big_dump: Path) -> None:
    process = start(home, big_dump, "--workers", "2")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
    for child in children:
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(int(child), signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith("rnn: error: a worker process was killed")


def test_concurrent_prepare_is_refused(home: Path, dump_file: Path) -> None:
    class Another(Hooks):
        def check(self) -> None:
            run(dump_file)

    with pytest.raises(RnnError, match="is being prepared by another process"):
        run(dump_file, hooks=Another())


def test_shards_that_another_process_just_prepared_are_reused(
    home: Path, dump_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process finishes after this one looked and before it holds the lock."""

    @contextmanager
    def late(folder: Path, busy: str) -> Iterator[None]:
        monkeypatch.setattr("rnncli.wikipedia.prepare.locked", locked)
        assert run(dump_file)["status"] == "prepared"
        with locked(folder, busy):
            yield

    monkeypatch.setattr("rnncli.wikipedia.prepare.locked", late)
    assert run(dump_file)["status"] == "already there"
    assert [each.name for each in (home / "data").iterdir()] == ["mini"]


SAMPLE = "wikipedia/enwiki-pages-articles-shortened.xml.bz2"
FROZEN = {"articles": 106, "redirects": 99, "other_namespaces": 1}
MARKUP = ("[[", "]]", "{{", "}}", "{|", "|}", "<ref", "</", "&nbsp;", "&lt;", "&amp;", "'''", "''", "|", "==", "()")


def test_the_sample_is_as_clean_as_it_was(home: Path, real_corpora: Path, tmp_path: Path) -> None:
    """Baseline: wikiextractor 3.1.0 --no-templates: 415,423 words (no headings), 52 marks per million characters."""
    facts = run(real_corpora / SAMPLE, text=tmp_path / "text")
    assert FROZEN.items() <= facts.items()
    lines = [line for file in tmp_path.glob("text/*.jsonl") for line in file.read_text("utf-8").splitlines()]
    records = [json.loads(line) for line in lines]
    xml = bz2.decompress((real_corpora / SAMPLE).read_bytes()).decode()
    titles = [title for title, _ in articles_of(xml)]
    assert [record["title"] for record in records] == titles
    assert len(set(titles)) == 106
    text = "\n".join(record["text"] for record in records)
    assert sum(text.count(mark) for mark in MARKUP) * 1e6 / len(text) <= 1
    assert len(wiki_words(text)) >= 0.98 * 415_423
    assert 0.98 <= facts["tokens"] / 436_600 <= 1.02


def articles_of(xml: str) -> Iterator[tuple[str, str]]:
    """Titles and wikitext of the articles, by a full XML parser."""
    from xml.etree import ElementTree

    space = "{http://www.mediawiki.org/xml/export-0.10/}"
    for page in ElementTree.fromstring(xml).iter(f"{space}page"):
        if page.findtext(f"{space}ns") == "0" and page.find(f"{space}redirect") is None:
            yield page.findtext(f"{space}title") or "", page.findtext(f"{space}revision/{space}text") or ""


def test_the_command_line(rnn: Callable[[str], Any], home: Path, dump_file: Path) -> None:
    ran = rnn(f"data prepare {dump_file} --name mini --workers 1")
    tokens, words = Shards.open("mini").tokens, len(Shards.open("mini").vocabulary)
    said = f"({home}/data/mini: 40 articles, 80 sentences, {tokens:,} tokens, {words} words)"
    assert (ran.code, ran.out) == (0, f"mini: prepared {said}\n")
    ran = rnn(f"data prepare {dump_file} --name mini --workers 1")
    assert ran == (0, f"mini: already there {said}\n", "")
    ran = rnn(f"data prepare {dump_file} --name mini --json")
    facts = json.loads(ran.out)
    assert facts["status"] == "already there"
    assert facts["folders"] == [str(home / "data/mini")]
    assert facts["sequences"] == 80
    ran = rnn(f"data prepare {dump_file}")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    shutil.copy(dump_file, home / "cut.bz2")
    os.truncate(home / "cut.bz2", 900)
    ran = rnn(f"data prepare {home}/cut.bz2 --name cut --workers 1")
    assert ran.code == 1
    assert ran.err.splitlines()[-1].startswith("rnn: error: damaged: ")
    ran = rnn(f"data prepare {home}/cut.bz2 --name cut --workers 1 --keep-going")
    assert ran.code == 0
    assert "rnn: warning: " in ran.err
