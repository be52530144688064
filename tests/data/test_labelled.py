"""Labelled texts and sentences: every way to give them, and errors for invalid ones."""

from pathlib import Path

import pytest

from rnncli.data.labelled import read_labelled, read_tagged
from rnncli.errors import RnnError, UsageError


@pytest.fixture(autouse=True)
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_corpora_give_labels_and_lines_give_texts(here: Path) -> None:
    (here / "a.txt").write_text("one line\n\n  two lines \nthree\n")
    (here / "b.txt").write_text("vier\nfuenf\n")
    found = read_labelled(["a.txt", "Beta=b.txt"])
    assert found.texts == ["one line", "two lines", "three", "vier", "fuenf"]
    assert found.labels == ["a", "a", "a", "Beta", "Beta"]
    assert found.places == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    first, second, third, *other = found.stanzas
    assert first != second == third != other[0] == other[1]
    assert found.classes == ["a", "Beta"]


def test_case_and_punctuation_do_not_distinguish_texts(here: Path) -> None:
    (here / "a.txt").write_text("The wall, again!\nthe wall again\n...\n!!!\nother\n")
    (here / "b.txt").write_text("x\ny\n")
    found = read_labelled(["a.txt", "b.txt"])
    assert found.distinct().texts == ["The wall, again!", "...", "!!!", "other", "x", "y"]
    assert found.first_of_each(2).texts == ["The wall, again!", "the wall again", "x", "y"]
    assert found.fingerprint != found.distinct().fingerprint


def test_table_has_labels_in_a_column(here: Path) -> None:
    (here / "t.csv").write_text('label,text\ngood,"fine, truly\nfine"\nbad,awful\ngood,\nbad,poor\ngood,nice\n')
    found = read_labelled(["t.csv"])
    assert list(zip(found.labels, found.texts, strict=True)) == [
        ("good", "fine, truly fine"),
        ("bad", "awful"),
        ("bad", "poor"),
        ("good", "nice"),
    ]
    (here / "u.tsv").write_text("mood\twords\ngood\tfine\nbad\tawful\ngood\tnice\nbad\tpoor\n")
    assert read_labelled(["u.tsv"], "words", "mood").labels == ["good", "bad", "good", "bad"]


@pytest.mark.parametrize(
    ("files", "specs", "words"),
    [
        ({"a.txt": "one\ntwo\n"}, ["a.txt"], "a has only one label, 'a': give --corpus twice"),
        ({"a.txt": "one\ntwo\n", "b.txt": "one"}, ["a.txt", "b.txt"], "has only one text with the label 'b'"),
        ({"a.json": '[{"a": 1},\n{"b": 2}]'}, ["a.json"], r"'a': a.json is read as plain text, .* \.jsonl \(`jq -c "),
        ({"t.csv": "a,b\n1,2\n"}, ["t.csv"], r"'text', its first line, read as the header, has a, b: name one by"),
        ({"t.csv": "text,label\n"}, ["t.csv"], "t has no rows with a text in them"),
        ({"t.csv": "text,label\nfine,\n"}, ["t.csv"], r"t.csv, line 2: this row has no label"),
        ({"t.csv": "text,label\nx,y\n", "b.txt": "b"}, ["t.csv", "b.txt"], "has its labels in a column"),
    ],
)
def test_data_without_two_labels_is_refused(here: Path, files: dict[str, str], specs: list[str], words: str) -> None:
    for name, text in files.items():
        (here / name).write_text(text)
    with pytest.raises(RnnError, match=words):
        read_labelled(specs)


@pytest.mark.parametrize("mark", ["\t", " "])
def test_columns_of_words_and_labels(here: Path, mark: str) -> None:
    rows = ["-DOCSTART- -X-", "", "the x DET", "cat y NOUN", "", "", "# z PUNCT", "sleeps w VERB"]
    (here / "c.conll").write_text("\n".join(row.replace(" ", mark) for row in rows))
    found = read_tagged(["c.conll"])
    assert found.words == [["the", "cat"], ["#", "sleeps"]]
    assert found.labels == [["DET", "NOUN"], ["PUNCT", "VERB"]]


def test_a_line_without_a_label_is_named(here: Path) -> None:
    (here / "c.conll").write_text("the DET\n\ncat\n")
    with pytest.raises(RnnError, match=r"^c.conll, line 3: 'cat' is not a word and its label$"):
        read_tagged(["c.conll"])


def test_columns_without_a_word_are_refused(here: Path) -> None:
    (here / "c.conll").write_text("-DOCSTART- -X-\n\n")
    with pytest.raises(RnnError, match=r"^c.conll has no word with a label$"):
        read_tagged(["c.conll"])


def test_a_corpus_without_labels_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NLTK_DATA", raising=False)
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(
        UsageError, match=r"shakespeare has no labels for its words: take hillside, nocturne, .*brown, or a file"
    ):
        read_tagged(["shakespeare"])
    with pytest.raises(RnnError, match=r"^brown is not downloaded: run `rnn data get brown`"):
        read_tagged(["brown"])


def test_the_embedded_voices_have_their_tags() -> None:
    found = read_tagged(["hillside", "nocturne"])
    assert len(found.words) == 713
    assert all(len(words) == len(labels) for words, labels in found.pairs)
    assert found.labels[0][:4] == ["EX", "VBZ", "DT", "NN"]


def test_the_books_files_have_2005_distinct_lines(home: Path, real_corpora: Path) -> None:
    (home / "data").symlink_to(real_corpora)
    found = read_labelled(["frost", "poe"])
    assert (len(found.texts), len(found.distinct().texts)) == (2154, 2005)
    assert found.distinct().labels.count("poe") == 573
