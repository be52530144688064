"""Words and tags: NLTK's own, stored, cached, or missing."""

from pathlib import Path

import pytest
from nltk.tokenize import word_tokenize

from rnncli.data import tagging
from rnncli.data.corpora import load_corpus
from rnncli.data.splitting import words_of
from rnncli.data.tagging import tags_of
from rnncli.errors import RnnError


@pytest.fixture
def tagger(home: Path, real_corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLTK_DATA", str(real_corpora / "nltk_data"))
    tagging._perceptron.cache_clear()


@pytest.mark.parametrize("line", ["O no! It isn't rear'd, is it?", 'He said "wait" (twice).', "plain"])
def test_words_match_nltks(line: str) -> None:
    assert words_of(line) == word_tokenize(line, preserve_line=True)


def test_stored_tags_need_no_tagger(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NLTK_DATA", raising=False)
    line = load_corpus("hillside").text.splitlines()[0]
    assert tags_of([words_of(line)])[0][:4] == ["EX", "VBZ", "DT", "NN"]
    assert not (home / "data").exists()


def test_a_missing_tagger_is_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NLTK_DATA", raising=False)
    monkeypatch.setenv("HOME", str(home))
    tagging._perceptron.cache_clear()
    with pytest.raises(RnnError, match=r"^nltk-tagger is not downloaded: run `rnn data get nltk-tagger`"):
        tags_of([["never", "stored"]])


def test_stored_tags_match_the_tagger(tagger: None) -> None:
    for voice in ("hillside", "nocturne"):
        lines = [words_of(line) for line in load_corpus(voice).text.splitlines() if line.strip()]
        tag = tagging._perceptron().tag
        assert tags_of(lines) == [[label for _, label in tag(line)] for line in lines]


def test_tags_are_cached_on_disk(tagger: None, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nltk.tag.perceptron import PerceptronTagger

    lines = [["a", "wholly", "new", "line"], ["and", "one", "more"]]
    first = tags_of(lines)
    calls = []
    original = PerceptronTagger.tag
    monkeypatch.setattr(PerceptronTagger, "tag", lambda self, words: calls.append(words) or original(self, words))
    assert tags_of(lines) == first
    assert not calls
    (file,) = (home / "data/tags").iterdir()
    file.write_text("NN\n")  # damaged: tagged again, and repaired
    assert tags_of(lines) == first
    assert calls == lines
    assert tags_of(lines[::-1]) == first[::-1]


def test_unwritable_cache_is_ignored(tagger: None, home: Path) -> None:
    (home / "data").write_text("a file stands here")
    assert tags_of([["the", "wall"], ["a", "wall"]]) == [["DT", "NN"], ["DT", "NN"]]


def test_words_with_blanks_are_not_confused_with_others(tagger: None) -> None:
    assert list(map(len, tags_of([["New York", "is"], ["New", "York", "is"]]))) == [2, 3]
