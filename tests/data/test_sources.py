"""NLTK's data: downloaded as a zip, verified by its members, found in NLTK's folders; pairs in gzipped files."""

import gzip
import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.downloads import registered, serving

from rnncli.data.sources import NltkData, Parallel
from rnncli.errors import RnnError, UsageError

MEMBERS = {"a01": b"one two\n", "a02": b"three\n"}
SHA256 = hashlib.sha256(b"".join(MEMBERS.values())).hexdigest()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """A folder that is served over http."""
    folder = tmp_path / "served"
    folder.mkdir()
    with serving(folder) as address:
        (folder / "address").write_text(address)
        yield folder


@pytest.fixture
def package(served: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> NltkData:
    """A package on the server that is not downloaded yet."""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("NLTK_DATA", raising=False)
    (served / "mini.zip").write_bytes(zipped(MEMBERS | {"README": b"not counted"}))
    url = f"{(served / 'address').read_text()}/mini.zip"
    size = sum(map(len, MEMBERS.values()))
    return NltkData("mini", "two files", "corpora/mini.zip", url, size, SHA256, r"a\d\d", lambda m: str(len(m)))


def zipped(members: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(f"mini/{name}", data)
    return archive.getvalue()


def test_nltk_package_is_downloaded_verified_and_read(package: NltkData, home: Path) -> None:
    assert not package.here()
    with pytest.raises(RnnError, match=r"^mini is not downloaded: run `rnn data get mini`"):
        package.load()
    assert package.fetch() == "downloaded"
    assert package.path == home / "data/nltk_data/corpora/mini.zip"
    assert package.here()
    assert package.members() == MEMBERS
    assert package.load().text == "2"
    assert package.fetch() == "already there"


def test_repacked_archive_is_accepted(package: NltkData, served: Path) -> None:
    (served / "mini.zip").write_bytes(zipped(dict(reversed(MEMBERS.items()))))
    assert package.fetch() == "downloaded"
    assert package.members() == MEMBERS


@pytest.mark.parametrize("body", [zipped({"a01": b"one two\n", "a02": b"threE\n"}), b"<html>no zip</html>", b""])
def test_wrong_package_is_discarded(package: NltkData, served: Path, home: Path, body: bytes) -> None:
    (served / "mini.zip").write_bytes(body)
    with pytest.raises(RnnError, match=r"is not the one expected \(expected SHA-256 .*it was removed"):
        package.fetch()
    assert not package.here()
    assert not list((home / "data").rglob("*.zip*"))


@pytest.mark.parametrize("cut", [slice(0, -30), slice(40, None)], ids=["end", "beginning"])
def test_a_damaged_package_is_named(package: NltkData, cut: slice) -> None:
    package.fetch()
    package.path.write_bytes(package.path.read_bytes()[cut])
    with pytest.raises(RnnError, match=r"mini is damaged: .*mini.zip has other contents; remove it"):
        package.members()
    assert package.fetch() == "downloaded"
    assert package.members() == MEMBERS


def test_existing_nltk_data_is_used_in_place(
    package: NltkData, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "nltk/corpora/mini"
    folder.mkdir(parents=True)
    for name, data in MEMBERS.items():
        (folder / name).write_bytes(data)
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "nltk"))
    assert package.here()
    assert package.members() == MEMBERS
    assert package.fetch() == "already there"
    assert not (home / "data").exists()


def test_package_without_text_is_refused_as_corpus(package: NltkData) -> None:
    with pytest.raises(UsageError, match="mini is not a text: two files"):
        replace(package, text=None).load()


LINES = {
    "train.de": b"ein hund\neine katze\n",
    "train.en": b"a dog\na cat\n",
    "new.de": b"ein pferd\n",
    "new.en": b"a horse\n",
}


@pytest.fixture
def captions(served: Path, home: Path) -> Parallel:
    """Gzipped files of the parts and another test, on the server and not downloaded yet."""
    address = (served / "address").read_text()
    files = []
    for name, text in LINES.items():
        (served / f"{name}.gz").write_bytes(gzip.compress(text))
        files.append(registered("mini", f"mini/{name}", f"{address}/{name}.gz", text))
    return Parallel("mini", "captions", ("de", "en"), ("train",), tuple(files), {"test-new": "new"})


def test_gzipped_pairs_are_downloaded_verified_and_read(captions: Parallel, home: Path) -> None:
    assert not captions.here()
    with pytest.raises(RnnError, match=r"^mini is not downloaded: run `rnn data get mini`"):
        list(captions.pairs("de-en"))
    assert captions.fetch() == "downloaded"
    assert sorted(path.name for path in (home / "data/mini").iterdir()) == sorted(f"{name}.gz" for name in LINES)
    assert captions.here()
    assert list(captions.pairs("en-de")) == [[("a dog", "ein hund"), ("a cat", "eine katze")]]
    assert captions.fetch() == "already there"


def test_folder_without_the_new_test_files_says_how_to_get_them(captions: Parallel, home: Path) -> None:
    captions.fetch()
    assert captions.test_pairs("test-new", "de-en") == [("ein pferd", "a horse")]
    (home / "data/mini/new.de.gz").unlink()
    assert (captions.here(), captions.complete()) == (True, False)
    assert list(captions.pairs("en-de")) == [[("a dog", "ein hund"), ("a cat", "eine katze")]]
    with pytest.raises(RnnError, match=r"^test-new of mini is not downloaded: `rnn data get mini` downloads it$"):
        captions.test_pairs("test-new", "de-en")
    assert captions.fetch() == "downloaded"
    assert captions.test_pairs("test-new", "en-de") == [("a horse", "ein pferd")]


def test_source_and_licence(package: NltkData, captions: Parallel) -> None:
    poe = replace(package, url="https://raw.githubusercontent.com/someone/poems/0123abc/poe.txt", licence="free")
    assert (poe.source, poe.licence) == ("github.com/someone/poems", "free")
    assert captions.source.startswith("127.0.0.1:")
    assert captions.licence == "see source"


def test_recompressed_gzip_is_accepted(captions: Parallel, served: Path) -> None:
    (served / "train.en.gz").write_bytes(gzip.compress(LINES["train.en"], compresslevel=1, mtime=1))
    assert captions.fetch() == "downloaded"


@pytest.mark.parametrize(
    "body",
    [gzip.compress(b"a dog\na cow\n"), gzip.compress(b"a dog\n")[:-9], b"<html>", b""],
    ids=["another text", "cut", "a page", "empty"],
)
def test_gzip_with_other_contents_is_discarded(captions: Parallel, served: Path, home: Path, body: bytes) -> None:
    (served / "train.en.gz").write_bytes(body)
    with pytest.raises(RnnError, match=r"is not the one expected \(expected SHA-256 .*it was removed"):
        captions.fetch()
    assert [path.name for path in (home / "data/mini").iterdir()] == ["train.de.gz"]
