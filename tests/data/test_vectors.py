"""Files of word vectors: round trips of every format, exchange with gensim, and invalid files."""

import gzip
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from rnncli.data.vectors import FORMATS, WordVectors, find_vectors, format_of, read_vectors, width, write_vectors
from rnncli.errors import RnnError, UsageError

KeyedVectors = pytest.importorskip("gensim.models", reason="waits for gensim, which does not install here").KeyedVectors

generator = np.random.default_rng(0)
WORDS = ("the", "of", "naïve", "東京", "a\u00a0b", "3", "-", "ﬁ", *(f"word{number}" for number in range(40)))
KNOWN = WordVectors(WORDS, (generator.normal(size=(len(WORDS), 7)) * 10.0 ** generator.integers(-9, 9)).astype("f4"))


def same(one: WordVectors, other: WordVectors) -> None:
    assert one.words == other.words
    assert one.matrix.dtype == np.float32
    np.testing.assert_array_equal(one.matrix, other.matrix)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("packed", [False, True])
def test_every_format_round_trips_exactly(form: str, packed: bool, tmp_path: Path) -> None:
    file = tmp_path / "vectors"
    write_vectors(KNOWN, file, form)
    if packed:
        file.write_bytes(gzip.compress(file.read_bytes()))
    same(read_vectors(file), KNOWN)
    same(read_vectors(file, 5), KNOWN.first(5))
    same(read_vectors(file, 500), KNOWN)
    assert width(file) == 7


@pytest.mark.parametrize("D", [1, 2, 300])
@pytest.mark.parametrize("form", FORMATS)
def test_any_size_and_a_single_word(form: str, D: int, tmp_path: Path) -> None:
    one = WordVectors(("word",), generator.normal(size=(1, D)).astype("f4"))
    write_vectors(one, tmp_path / "one", form)
    same(read_vectors(tmp_path / "one"), one)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # gensim leaves its file open
@pytest.mark.parametrize(
    ("form", "how"), [("word2vec", {}), ("word2vec-binary", {"binary": True}), ("glove", {"no_header": True})]
)
def test_gensim_reads_our_files(form: str, how: dict[str, bool], tmp_path: Path) -> None:
    write_vectors(KNOWN, tmp_path / "ours", form)
    theirs = KeyedVectors.load_word2vec_format(str(tmp_path / "ours"), **how)
    assert tuple(theirs.index_to_key) == KNOWN.words
    np.testing.assert_array_equal(theirs.vectors, KNOWN.matrix)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("header", [False, True])
def test_we_read_gensims_files(binary: bool, header: bool, tmp_path: Path) -> None:
    theirs = KeyedVectors(7)
    theirs.add_vectors(list(KNOWN.words), KNOWN.matrix)
    if binary and not header:
        pytest.skip("there is no such format")
    theirs.save_word2vec_format(str(tmp_path / "theirs"), binary=binary, write_header=header, sort_attr="nothing")
    same(read_vectors(tmp_path / "theirs"), KNOWN)


def test_trailing_blanks_and_words_with_spaces_are_read(tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    file.write_bytes(b"2 2\nthe 0.5 -1e-3 \nof .25 4 \n\n")
    same(read_vectors(file), WordVectors(("the", "of"), np.array([[0.5, -1e-3], [0.25, 4]], "f4")))
    file.write_bytes(b"the 0.5 1 2\r\n. . . 1 2 3\r\nat home 3 4 5\r\nthe 9 9 9\n")
    read = read_vectors(file)
    assert read.words == ("the", ". . .", "at home")
    np.testing.assert_array_equal(read.matrix, [[0.5, 1, 2], [1, 2, 3], [3, 4, 5]])
    with pytest.raises(RnnError, match=r"the word '\. \. \.' has white space in it: only --format npz can hold it"):
        write_vectors(read, tmp_path / "out", "word2vec")
    write_vectors(read, tmp_path / "out", "npz")
    same(read_vectors(tmp_path / "out"), read)


def binary(count: int, D: int, *records: bytes) -> bytes:
    return f"{count} {D}\n".encode() + b"".join(records)


def record(word: bytes, *values: float) -> bytes:
    return word + b" " + struct.pack(f"<{len(values)}f", *values)


def npz(tmp_path: Path, **arrays: object) -> bytes:
    np.savez(tmp_path / "held.npz", **arrays)
    return (tmp_path / "held.npz").read_bytes()


ODD = {
    "empty": (b"", "it is empty"),
    "one word": (b"hello\n", "line 1 is not a word and its numbers"),
    "prose": (b"a line of text\nand another, longer one\n", "line 1 has a field that is not a number"),
    "ragged": (b"2 2\na 1 2\nb 1\n", "line 3 has 1 numbers after its word, not 2"),
    "no number": (b"3 2\na 1 2\nb 1 x\nc 1 2\n", "line 3 has a field that is not a number"),
    "cut text": (b"3 2\na 1 2\nb 1 2\n", "it is cut off after 2 of 3 words"),
    "more text": (b"1 2\na 1 2\nb 1 2\n", "it continues after the 1 words that its first line promises"),
    "not finite": (b"a 1 2\nb nan 2\n", "line 2 ('b') has a vector that is not finite"),
    "infinite": (b"1 2\na 1e99 2\n", "line 2 ('a') has a vector that is not finite"),
    "latin": (b"1 2\ncaf\xe9 1 2\n", "line 2 is not UTF-8"),
    "no number behind a header": (b"1 2\na 1 x\n", "line 2 has a field that is not a number"),
    "a word behind a header": (b"2 2\na x 1\nb 1 1\n", "line 2 has a field that is not a number"),
    "only a header": (b"3 2\n", "it is cut off after 0 of 3 words"),
    "nothing promised": (b"0 5\n", "its first line promises 0 vectors of size 5"),
    "huge promise": (b"999999999999 300\na 1 2 3\n", "numbers after its word"),
    "huge binary promise": (binary(10**11, 2, record(b"a", 1, 2)), "it is cut off after 1 of 100,000,000,000 words"),
    "cut binary": (binary(2, 2, record(b"a", 1, 2), record(b"b", 1, 2)[:-1]), "it is cut off after 1 of 2 words"),
    "more binary": (binary(1, 2, record(b"a", 1, 2), record(b"b", 1, 2)), "it continues after the 1 words"),
    "binary without an end": (binary(2, 2, record(b"a", 1, 2), b"\xff" * 9_000), "word 2 of 2 has no end"),
    "zeros": (bytes(9_000), "line 1 is not text of word vectors"),
    "a long line": (b"x" * (1 << 22) + b"yz", "line 1 is not text of word vectors"),
    "cut gzip": (gzip.compress(b"a 1 2\n" * 99)[:-9], "is damaged"),
    "cut zip": (b"PK\x03\x04 and then nothing", "is damaged"),
}


@pytest.mark.parametrize("kind", ODD)
def test_invalid_files_are_one_line(kind: str, tmp_path: Path) -> None:
    data, message = ODD[kind]
    (tmp_path / "odd").write_bytes(data)
    with pytest.raises(RnnError) as caught:
        read_vectors(tmp_path / "odd")
    assert message in str(caught.value)
    assert str(tmp_path / "odd") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"matrix": np.ones((2, 2), "f4")}, "it lacks the array"),
        ({"words": np.array(["a"]), "matrix": np.ones((2, 2), "f4")}, "1 words and 2 vectors"),
        ({"words": np.array([1, 2]), "matrix": np.ones((2, 2), "f4")}, "`words` must be text"),
        ({"words": np.array(["a", "b"]), "matrix": np.ones(2, "f4")}, "`matrix` floats"),
        ({"words": np.array(["a", None]), "matrix": np.ones((2, 2), "f4")}, "not a plain .npz"),
        ({"words": np.array(["a", "b"]), "matrix": np.array([[1.0], [np.inf]])}, "word 2 ('b') has a vector"),
    ],
)
def test_invalid_arrays_are_one_line(arrays: dict[str, object], message: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.npz"
    file.write_bytes(npz(tmp_path, **arrays))
    with pytest.raises(RnnError, match=re.escape(message)):
        read_vectors(file)


def test_wider_and_narrower_floats_of_an_npz_become_float32(tmp_path: Path) -> None:
    for kind in ("f2", "f8"):
        file = tmp_path / f"{kind}.npz"
        file.write_bytes(npz(tmp_path, words=np.array(["a", "b"]), matrix=np.array([[0.5], [2]], kind)))
        same(read_vectors(file), WordVectors(("a", "b"), np.array([[0.5], [2]], "f4")))


def test_a_file_that_may_not_be_read_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(RnnError, match=r"cannot read .*: No such file"):
        read_vectors(tmp_path / "absent")
    with pytest.raises(RnnError, match=r"cannot read .*: Is a directory"):
        read_vectors(tmp_path)


def test_words_are_found_as_written_before_other_spellings() -> None:
    found = WordVectors((" The", "the", " on", "ON", "on", " hill"), np.zeros((6, 1), "f4"))
    assert found.rows(["The", "the", "ON", "On", "Hill"]) == [0, 1, 3, 4, 5]


def test_a_limit_reads_no_further_than_it_must(tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    file.write_bytes(b"3 2\na 1 2\nb 1 2\nwhat is this")
    assert read_vectors(file, 2).words == ("a", "b")


def test_imported_names_and_files_are_found(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_vectors(KNOWN, home / "data" / "vectors" / "mine.npz", "npz")
    assert find_vectors("mine") == home / "data" / "vectors" / "mine.npz"
    (tmp_path / "mine").write_text("a 1 2\n")
    assert find_vectors("mine") == home / "data" / "vectors" / "mine.npz"
    assert find_vectors("./mine") == Path("mine")
    assert find_vectors(str(tmp_path / "mine")) == tmp_path / "mine"
    with pytest.raises(UsageError, match="no file of word vectors is named 'yours'"):
        find_vectors("yours")
    with pytest.raises(UsageError, match="no file of word vectors"):
        find_vectors("x" * 5_000)


def test_short_lines_before_words_of_other_alphabets_are_text(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("2 2\na 1 2\n東京 3 4\n")
    same(read_vectors(tmp_path / "short"), WordVectors(("a", "東京"), np.array([[1, 2], [3, 4]], "f4")))


FIRST_LINES = {
    "a byte-order mark": "\ufeff2 3\nthe 1 2 3\nof 4 5 6\n",
    "a byte-order mark and no header": "\ufeffthe 1 2 3\nof 4 5 6\n",
    "a first word with a blank": "2 3\nновый город 1 2 3\nof 4 5 6\n",
    "a first word with a no-break space": "2 3\n1\u00a0000 1 2 3\nof 4 5 6\n",
    "a first word with a blank and no header": ". . . 1 2 3\nof 4 5 6\n",
    "a first word of digits and blanks": "2 3\n3 4 5 1 2 3\nof 4 5 6\n",
}


@pytest.mark.parametrize("kind", FIRST_LINES)
def test_first_lines_of_text_are_recognised_as_text(kind: str, tmp_path: Path) -> None:
    text = FIRST_LINES[kind]
    (tmp_path / "vectors.txt").write_text(text, encoding="utf-8")
    first = text.removeprefix("\ufeff").removeprefix("2 3\n").partition(" 1 2 3")[0]
    for limit in (None, 1):
        wanted = WordVectors((first, "of"), np.array([[1, 2, 3], [4, 5, 6]], "f4")).first(limit or 2)
        same(read_vectors(tmp_path / "vectors.txt", limit), wanted)


def test_a_byte_order_mark_before_a_binary_file_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "v.bin").write_bytes(b"\xef\xbb\xbf" + binary(2, 2, record(b"a", 1, 2), record("ж".encode(), 3, 4)))
    same(read_vectors(tmp_path / "v.bin"), WordVectors(("a", "ж"), np.array([[1, 2], [3, 4]], "f4")))


def test_a_first_line_without_numbers_is_not_taken_for_floats(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("2 4\nновый город раз два три четыре\nof 4 5 6 7\n", encoding="utf-8")
    with pytest.raises(RnnError, match="line 2 has a field that is not a number"):
        read_vectors(tmp_path / "v.txt", 1)


def test_bad_words_are_skipped_and_listed_on_request(tmp_path: Path) -> None:
    skipped: list[str] = []
    (tmp_path / "v.txt").write_bytes(b"5 2\na 1 2\ncaf\xe9 1 2\nb 1\nc inf 2\nd 3 4\n")
    read = read_vectors(tmp_path / "v.txt", skipped=skipped)
    same(read, WordVectors(("a", "d"), np.array([[1, 2], [3, 4]], "f4")))
    assert [each.partition(" (")[0] for each in skipped] == [
        "line 3 is not UTF-8",
        "line 4 has 1 numbers after its word, not 2",
        "line 5",
    ]
    (tmp_path / "v.bin").write_bytes(binary(2, 2, record(b"\xff", 1, 2), record(b"b", 3, 4)))
    assert read_vectors(tmp_path / "v.bin", skipped=skipped).words == ("b",)
    assert skipped[-1].startswith("word 1 is not UTF-8")
    (tmp_path / "none.txt").write_bytes(b"1 2\n\xff 1 2\n")
    with pytest.raises(RnnError, match="it holds no word that can be read: line 2 is not UTF-8"):
        read_vectors(tmp_path / "none.txt", skipped=[])


def test_values_of_all_kinds_in_a_binary_file(tmp_path: Path) -> None:
    own = np.random.default_rng(0)
    for number in range(200):
        D = 20 + number % 5  # a few random bytes may all be printable, which any reader takes for text
        values = np.frombuffer(own.bytes(8 * D), "<f4").reshape(2, D).copy()
        values[~np.isfinite(values)] = 10.0
        write_vectors(WordVectors(("first", "b"), values), tmp_path / "any.bin", "word2vec-binary")
        same(read_vectors(tmp_path / "any.bin"), WordVectors(("first", "b"), values))


def test_file_name_determines_the_format() -> None:
    names = {"a.npz": "npz", "a.bin": "word2vec-binary", "a.glove": "glove", "a.txt": "word2vec", "a": "word2vec"}
    assert {name: format_of(Path(name)) for name in names} == names


def test_unknown_words_are_named_with_near_spellings() -> None:
    vectors = WordVectors(("queen", "king", "kings", "Paris"), np.ones((4, 2), "f4"))
    assert vectors.rows(["KING", "queen", "Paris"]) == [1, 0, 3]
    with pytest.raises(UsageError, match=r"^no vector for 'quen': did you mean queen\?; no vector for 'xyz'$"):
        vectors.rows(["king", "quen", "xyz"])


def test_zero_vectors_have_no_direction() -> None:
    unit = WordVectors(("a", "b"), np.array([[0, 0], [3, 4]], "f4")).unit
    np.testing.assert_allclose(unit, [[0, 0], [0.6, 0.8]])


@pytest.mark.skipif(not Path("/dev/full").exists() or os.name != "posix", reason="needs a POSIX system")
def test_write_errors_are_one_line() -> None:
    with pytest.raises(RnnError, match="cannot save"):
        write_vectors(KNOWN, Path("/dev/full/vectors.txt"), "glove")
