"""The registry of corpora, and `load_corpus` with every way to name one."""

import gzip
import hashlib
import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.downloads import registered, serving

from rnncli.data.corpora import CORPORA, absolute_spec, available, exists, load_corpus, load_test, warn_of_markup
from rnncli.data.sources import Builtin, Corpus, Embedded, NltkData, Remote, Split
from rnncli.data.text import unzipped
from rnncli.data.tokenizers import spaced_words
from rnncli.errors import RnnError, UsageError

EMBEDDED = [name for name, source in CORPORA.items() if isinstance(source, Embedded)]
REMOTE = [name for name, source in CORPORA.items() if isinstance(source, Remote)]
TEXTS = [name for name in REMOTE if name != "nltk-tagger"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory that is also the home of rnn."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RNN_HOME", raising=False)
    monkeypatch.delenv("NLTK_DATA", raising=False)
    return tmp_path


@pytest.fixture
def downloaded(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a `frost` with one line."""
    text = b"A line of frost\n"
    frost = CORPORA["frost"]
    assert isinstance(frost, Remote)
    short = replace(frost, size=len(text), sha256=hashlib.sha256(text).hexdigest())
    monkeypatch.setitem(CORPORA, "frost", short)
    path = home / "data" / "robert_frost.txt"
    path.parent.mkdir()
    path.write_bytes(text)
    return path


def test_every_address_is_pinned() -> None:
    """A branch changes: only a commit, by its 40 digits, has the same file forever. NLTK names no commits."""
    addresses = [file.url for source in CORPORA.values() if not isinstance(source, Builtin) for file in source.files]
    assert len(addresses) > 15
    for address in addresses:
        if not address.startswith("https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/"):
            assert re.fullmatch(r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}/.+", address)


def lines_of(corpus: Corpus) -> list[str]:
    """The non-blank lines."""
    return [line for line in corpus.text.split("\n") if line.strip()]


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_corpora_load_without_download(name: str) -> None:
    assert available(name)
    corpus = load_corpus(name)
    assert (corpus.name, corpus.origin) == (name, "embedded")
    assert len(lines_of(corpus)) >= 300
    assert CORPORA[name].size == len(corpus.text.encode())
    assert CORPORA[name].fetch() == "needs no download"


def test_the_sample_voices_share_no_line() -> None:
    assert not set(lines_of(load_corpus("hillside"))) & set(lines_of(load_corpus("nocturne")))


@pytest.mark.parametrize("name", TEXTS)
def test_missing_corpus_says_how_to_download_it(name: str) -> None:
    assert not available(name)
    with pytest.raises(RnnError, match=f"^{name} is not downloaded: run `rnn data get {name}`"):
        load_corpus(name)


@pytest.mark.parametrize("name", REMOTE)
def test_remote_corpora_are_checked_by_size_and_hash(name: str) -> None:
    source = CORPORA[name]
    assert isinstance(source, Remote)
    assert source.url.startswith("https://")
    assert source.size > 0
    assert len(bytes.fromhex(source.sha256)) == 32


@pytest.mark.parametrize("name", REMOTE)
def test_the_registry_describes_the_real_files(name: str, real_corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = CORPORA[name]
    assert isinstance(source, Remote)
    if isinstance(source, NltkData):
        monkeypatch.setenv("NLTK_DATA", str(real_corpora / "nltk_data"))
        data = b"".join(source.members().values())
    else:
        monkeypatch.setattr("rnncli.data.sources.data_dir", lambda: real_corpora)
        data = unzipped(source.path.read_bytes(), source.path)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (source.size, source.sha256)


@pytest.mark.parametrize(("name", "lines"), [("frost", 1_436), ("poe", 718), ("shakespeare", 32_777)])
def test_the_real_files_load(home: Path, real_corpora: Path, name: str, lines: int) -> None:
    (home / "data").symlink_to(real_corpora)
    assert available(name)
    assert len(lines_of(load_corpus(name))) == lines
    assert CORPORA[name].fetch() == "already there"


def test_ptb_has_its_own_validation_text(home: Path, real_corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "data").symlink_to(real_corpora)
    corpus = load_corpus("ptb")
    tokens, held_out = ([*map(spaced_words, text.splitlines())] for text in (corpus.text, corpus.held_out))
    assert sum(len(line) + 1 for line in tokens) == 929_589  # Mikolov's counts, with an end of sentence per line
    assert sum(len(line) + 1 for line in held_out) == 73_760
    assert len({word for line in tokens for word in line}) + 1 == 10_000  # and that end


def test_a_corpus_in_three_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {name: f"a line to {name} on\n".encode() for name in ("learn", "validate", "test")}
    (tmp_path / "served").mkdir()
    for name, text in texts.items():
        (tmp_path / "served" / name).write_bytes(text)
    with serving(tmp_path / "served") as address:
        learn, validate, test = (registered("mini", f"mini/{n}", f"{address}/{n}", text) for n, text in texts.items())
        mini = Split(**vars(learn), held_out=validate, test=test, tokenizer="spaced-words")
        monkeypatch.setitem(CORPORA, "mini", mini)
        with pytest.raises(RnnError, match="mini is not downloaded: run `rnn data get mini`"):
            load_corpus("mini")
        assert mini.fetch() == "downloaded"
        corpus = load_corpus("mini")
        assert (corpus.text, corpus.held_out) == ("a line to learn on\n", "a line to validate on\n")
        assert corpus.tokenizer == "spaced-words"
        tested = load_test("named=mini")
        assert tested is not None
        assert (tested.text, tested.tokenizer) == ("a line to test on\n", "spaced-words")
        (tmp_path / "data/mini/test").unlink()  # as in a folder of an older version
        assert (available("mini"), mini.complete(), load_corpus("mini")) == (True, False, corpus)
        with pytest.raises(RnnError, match="the test text of mini is not downloaded: `rnn data get mini` downloads it"):
            load_test("mini")
        assert mini.fetch() == "downloaded"
        assert load_test("mini") == replace(tested, name="mini")
    assert load_test("hillside") is None
    assert load_test("./mini") is None


def test_a_downloaded_corpus_may_be_gzipped(downloaded: Path) -> None:
    zipped = downloaded.with_name(downloaded.name + ".gz")
    zipped.write_bytes(gzip.compress(downloaded.read_bytes()))
    downloaded.unlink()
    assert load_corpus("frost").text == "A line of frost\n"
    zipped.write_bytes(zipped.read_bytes()[:-9])
    assert not available("frost")
    with pytest.raises(RnnError, match="corpus frost is damaged"):
        load_corpus("frost")


def test_a_downloaded_corpus(downloaded: Path) -> None:
    assert available("frost")
    origin = str(Path("data") / downloaded.name)
    assert load_corpus("frost") == Corpus("frost", "A line of frost\n", origin)


def test_rnn_home_moves_the_data_folder(
    downloaded: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert not available("frost")
    monkeypatch.setenv("RNN_HOME", str(downloaded.parent.parent))
    assert load_corpus("frost").origin == str(downloaded)


@pytest.mark.parametrize("text", [b"A line", b"a LINE of frost\n"], ids=["size", "hash"])
def test_changed_download_is_reported_as_damaged(downloaded: Path, text: bytes) -> None:
    size = downloaded.stat().st_size
    downloaded.write_bytes(text)
    assert available("frost") == (len(text) == size)
    with pytest.raises(RnnError, match=r"is not the text that was downloaded; run `rnn data get frost` to replace it"):
        load_corpus("frost")


@pytest.mark.parametrize("text", [b"A line", b"a LINE of frost\n"], ids=["size", "hash"])
def test_downloading_a_damaged_corpus_replaces_it(
    downloaded: Path, monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    whole = downloaded.read_bytes()
    downloaded.write_bytes(text)
    requests = []

    def download(url: str, target: Path, *, size: int, sha256: str) -> None:
        requests.append((url, size, sha256))
        target.write_bytes(whole)

    monkeypatch.setattr("rnncli.data.sources.download", download)
    source = CORPORA["frost"]
    assert isinstance(source, Remote)
    assert source.fetch() == "downloaded"
    assert requests == [(source.url, source.size, source.sha256)]
    assert source.fetch() == "already there"


def test_file_corpus_is_named_by_its_stem(home: Path) -> None:
    (home / "my.poems.txt").write_text("a\r\nb\n", newline="")
    assert load_corpus("my.poems.txt") == Corpus("my.poems", "a\nb\n", "my.poems.txt")


def test_folder_corpus_is_named_by_the_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "verse").mkdir()
    (home / "verse" / "a.txt").write_text("a")
    assert load_corpus("verse/") == Corpus("verse", "a", "verse")
    monkeypatch.chdir("verse")
    assert load_corpus(".").name == "verse"


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for spec, name in [("-", "stdin"), ("mine=-", "mine")]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"piped in\n"), encoding="utf-8"))
        assert load_corpus(spec) == Corpus(name, "piped in\n", "standard input")


def test_a_label_names_any_corpus(home: Path) -> None:
    (home / "a=b.txt").write_text("text")
    assert load_corpus("mine=./a=b.txt") == Corpus("mine", "text", "a=b.txt")
    assert load_corpus("./a=b.txt").name == "a=b"
    assert load_corpus("mine=hillside") == replace(load_corpus("hillside"), name="mine")


def test_label_works_before_a_tilde_path(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    (home / "poem.txt").write_text("text")
    assert load_corpus("mine=~/poem.txt").text == "text"


@pytest.mark.parametrize("spec", ["=poem.txt", "mine=", "=", " =poem.txt"])
def test_an_incomplete_label(spec: str) -> None:
    with pytest.raises(UsageError, match="is incomplete: write NAME=FILE"):
        load_corpus(spec)


def test_a_registered_name_wins_over_a_file_unless_written_as_a_path(home: Path) -> None:
    (home / "hillside").write_text("a file")
    assert load_corpus("hillside").origin == "embedded"
    assert load_corpus("./hillside").text == "a file"


@pytest.mark.parametrize("spec", ["frots", "Frost", "FROST"])
def test_unknown_name_suggests_the_nearest_and_lists_all(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_corpus(spec)
    assert str(caught.value) == (
        f"no corpus, file or folder is named '{spec}' in {Path.cwd()}: did you mean frost? "
        f"registered corpora are {', '.join(CORPORA)}"
    )


def test_misspelled_file_suggests_one_that_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sonnets.txt").write_text("a rose\n")
    with pytest.raises(UsageError, match=r"no corpus, file or folder .*: did you mean sonnets\.txt\? registered"):
        load_corpus("sonets.txt")


@pytest.mark.parametrize("spec", ["xyzzy", "poem.txt", "", "x" * 5000, "a\0b", "two\nlines"])
def test_unknown_name_without_a_near_one_lists_all(spec: str) -> None:
    with pytest.raises(UsageError, match="registered corpora are hillside") as caught:
        load_corpus(spec)
    assert "did you mean" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not available(spec)


def test_an_empty_spec_is_not_the_current_folder() -> None:
    assert (absolute_spec(""), exists("")) == ("", False)


def test_missing_path_is_one_line() -> None:
    with pytest.raises(RnnError, match=r"^absent/frost does not exist"):
        load_corpus("absent/frost")


def test_nothing_heavy_is_imported() -> None:
    heavy = ["torch", "tqdm", "urllib.request", "http.client", "rich"]
    code = f"import sys, rnncli.data.corpora; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_file_that_has_more_than_text_is_named(recwarn: pytest.WarningsRecorder) -> None:
    warn_of_markup(["poems.txt", "mine=a.csv.gz", "b.JSON", "hillside", "-", "c.jsonl"])
    assert [str(each.message).partition(": ")[0] for each in recwarn] == [
        "a.csv.gz is read as plain text, with its header and all columns",
        "b.JSON is read as plain text, with its keys and brackets",
    ]
