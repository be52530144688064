"""Reading of texts from every kind of file."""

import codecs
import gzip
import io
import os
import sys
import time
from pathlib import Path

import pytest

from rnncli.data import text
from rnncli.data.text import folder_pieces, lines_of, read_stdin, read_text
from rnncli.errors import RnnError

TEXT = "Über den Wäldern,\nstill – ein Mond.\n"


def written(folder: Path, data: bytes, name: str = "poem.txt") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def refusal(path: Path) -> str:
    """The one-line error for `path`; it names the path."""
    with pytest.raises(RnnError) as caught:
        read_text(path)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.replace("\n", "\r\n").encode(),
        codecs.BOM_UTF16_LE + TEXT.replace("\n", "\r\n").encode("utf-16-le"),
    ],
    ids=["utf-8", "utf-8 with mark", "utf-16-le", "utf-16-be", "crlf", "utf-16 with crlf"],
)
def test_every_encoding_and_line_end_gives_the_same_text(tmp_path: Path, data: bytes) -> None:
    assert read_text(written(tmp_path, data)) == TEXT


def test_valid_characters_are_kept(tmp_path: Path) -> None:
    text = "no line end at the end, a tab\t, \x1b[1mbold\x1b[0m, \x0c a page, 日本語 🌒, a mark \ufeff inside"
    assert read_text(written(tmp_path, text.encode())) == text


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    odd = "a\rb\x0cc\x85d\u2028e\u2029f, a vertical\x0btab and a\x1cmark of files"
    text = read_text(written(tmp_path, f"{odd}\r\n\n{odd}\n\n".encode()))
    assert lines_of(text) == [odd, "", odd, ""]
    assert (lines_of(""), lines_of("\n"), lines_of("x")) == ([], [""], ["x"])


def test_one_line_of_ten_megabytes_is_read_quickly(tmp_path: Path) -> None:
    path = written(tmp_path, b"word " * 2_000_000)
    start = time.perf_counter()
    assert len(read_text(path)) == 10_000_000
    assert time.perf_counter() - start < 2


def test_a_missing_file(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "absent.txt")


def test_a_file_below_a_file(tmp_path: Path) -> None:
    assert "cannot be read: Not a directory" in refusal(written(tmp_path, b"x") / "poem.txt")


def test_a_name_too_long_for_the_file_system(tmp_path: Path) -> None:
    assert "cannot be read: File name too long" in refusal(tmp_path / ("x" * 5000))


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(_path: Path, _mode: str) -> bytes:
        raise PermissionError(13, "Permission denied")

    path = written(tmp_path, TEXT.encode())
    monkeypatch.setattr(Path, "open", forbid)  # file permissions do not stop the superuser
    assert "may not be read by you" in refusal(path)


@pytest.mark.parametrize("data", [b"", b" \n\t\r\n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, b"\xe2\x80\x83\n"])
def test_an_empty_or_blank_file(tmp_path: Path, data: bytes) -> None:
    assert "is empty or holds only white space" in refusal(written(tmp_path, data))


@pytest.mark.parametrize(
    "data",
    [
        b"\x7fELF\x02\x01\x01\0\0\0",
        b"a text, then \0",
        bytes(range(1, 32)),
        codecs.BOM_UTF32_LE + "ab".encode("utf-32-le"),
    ],
    ids=["program", "one NUL", "control characters", "utf-32"],
)
def test_a_binary_file(tmp_path: Path, data: bytes) -> None:
    assert "text" in (line := refusal(written(tmp_path, data)))
    assert "binary" in line or "NUL characters" in line


@pytest.mark.parametrize("order", ["LE", "BE"])
def test_utf16_without_its_mark_gets_a_hint(tmp_path: Path, order: str) -> None:
    line = refusal(written(tmp_path, TEXT.encode(f"utf-16-{order}")))
    assert f"`iconv -f UTF-16{order} -t UTF-8 FILE > NEW`" in line


def test_damaged_utf16(tmp_path: Path) -> None:
    data = codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le")
    line = refusal(written(tmp_path, data[:-1]))
    assert f"damaged at byte offset {len(data) - 2}" in line


@pytest.mark.parametrize(
    ("data", "line", "offset"),
    [
        ("Über".encode("latin1"), 1, 0),
        ("one\ntwo\nthr\xe9e\n".encode("latin1"), 3, 11),
        ("one\r\n\xe9".encode("latin1"), 2, 5),
        (codecs.BOM_UTF8 + b"a\rb\xff", 1, 6),
        (b"cut off in a letter \xe2\x80", 1, 20),
    ],
)
def test_other_encodings_say_where_and_how_to_convert(tmp_path: Path, data: bytes, line: int, offset: int) -> None:
    text = refusal(written(tmp_path, data))
    assert f"line {line}, byte offset {offset}: 0x{data[offset]:02x}" in text
    assert "`iconv -f LATIN1 -t UTF-8 FILE > NEW`" in text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refusal(tmp_path / "pipe")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no /dev/zero")
def test_an_endless_device_is_refused() -> None:
    assert "is not a regular file" in refusal(Path("/dev/zero"))


@pytest.mark.parametrize("block", [2, 3, 7])
def test_block_boundaries_do_not_change_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(text, "BLOCK", block)
    ends = TEXT.replace("\n", "\r\n") + "\r\r\n\n🌒"
    for data in (ends.encode(), codecs.BOM_UTF16_LE + ends.encode("utf-16-le"), gzip.compress(ends.encode())):
        assert read_text(written(tmp_path, data)) == ends.replace("\r\n", "\n")
    test_other_encodings_say_where_and_how_to_convert(tmp_path, "één\r\nzwei\r\r\nü".encode() + b"\xe2\x28", 3, 16)
    assert "damaged at byte offset 6" in refusal(written(tmp_path, codecs.BOM_UTF16_LE + b"a\0b\0c"))
    assert "only white space" in refusal(written(tmp_path, b"\r\n \t\n" * 5))


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_standard_input_is_decoded_as_a_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, codecs.BOM_UTF16_BE + TEXT.replace("\n", "\r\n").encode("utf-16-be"))
    assert read_stdin() == TEXT
    assert read_stdin() == TEXT  # for later callers


@pytest.mark.parametrize("data", [b"", b"\n", b"\xff", b"none of it \0"])
def test_standard_input_is_refused_as_a_file_is(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    feed(monkeypatch, data)
    with pytest.raises(RnnError, match=r"^standard input is "):
        read_stdin()


def test_standard_input_may_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(RnnError, match="standard input is closed"):
        read_stdin()


def test_a_folder_gives_its_texts_in_sorted_order(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "folder.txt").mkdir()
    written(tmp_path, b"two\r\n", "b.txt")
    written(tmp_path, b"one", "a.txt")
    written(tmp_path / "inner", b"three", "a.txt")
    written(tmp_path, b" \n", "blank.txt")
    written(tmp_path, b"not asked for", "notes.md")
    assert "".join(folder_pieces(tmp_path)) == "one\ntwo\n\nthree"


def test_a_folder_without_texts(tmp_path: Path) -> None:
    written(tmp_path, b"not requested", "notes.md")
    with pytest.raises(RnnError, match=r"no \*\.txt file lies in or below the folder"):
        "".join(folder_pieces(tmp_path))


def test_a_folder_of_blank_texts(tmp_path: Path) -> None:
    written(tmp_path, b"\n")
    with pytest.raises(RnnError, match="is empty or holds only white space"):
        "".join(folder_pieces(tmp_path))


def test_a_folder_that_is_a_file_or_absent(tmp_path: Path) -> None:
    with pytest.raises(RnnError, match="is not a folder"):
        "".join(folder_pieces(written(tmp_path, b"x")))
    with pytest.raises(RnnError, match="does not exist"):
        "".join(folder_pieces(tmp_path / "absent"))


def test_the_bad_file_in_a_folder_is_named(tmp_path: Path) -> None:
    written(tmp_path, b"fine", "a.txt")
    bad = written(tmp_path, b"\xff", "b.txt")
    with pytest.raises(RnnError) as caught:
        "".join(folder_pieces(tmp_path))
    assert str(bad) in str(caught.value)


def test_a_gzipped_text(tmp_path: Path) -> None:
    file = tmp_path / "text.gz"
    file.write_bytes(gzip.compress("Grüße\n".encode()))
    assert read_text(file) == "Grüße\n"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(RnnError, match=r"text\.gz is damaged: it is not whole as a gzip file; download it again"):
        read_text(file)
