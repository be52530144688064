"""The Brown corpus against NLTK's own reader, and the universal tags against their published counts."""

from collections import Counter
from pathlib import Path

import pytest

from rnncli.data.brown import tagged_sentences, universal
from rnncli.data.corpora import CORPORA, load_corpus
from rnncli.data.sources import NltkData

PUBLISHED = {
    "NOUN": 275_558,
    "VERB": 182_750,
    ".": 147_565,
    "ADP": 144_766,
    "DET": 137_019,
    "ADJ": 83_721,
    "ADV": 56_239,
    "PRON": 49_334,
    "CONJ": 38_151,
    "PRT": 29_829,
    "NUM": 14_874,
    "X": 1_386,
}
"""Tokens of each universal tag in NLTK's Brown corpus."""


@pytest.mark.parametrize(
    ("tag", "expected"),
    [("NN", "NOUN"), ("NN-TL-HL", "NOUN"), ("PPS+BEZ", "PRT"), ("*", "ADV"), ("--", "."), ("FW-NN", "X"), ("??x", ".")],
)
def test_brown_tags_map_to_universal_tags(tag: str, expected: str) -> None:
    assert universal(tag) == expected


@pytest.mark.slow
def test_the_universal_tags_have_their_published_counts(real_corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLTK_DATA", str(real_corpora / "nltk_data"))
    read = CORPORA["brown"].tagged
    assert read is not None
    sentences = read()
    assert Counter(tag for sentence in sentences for _, tag in sentence) == PUBLISHED
    assert len(sentences) == 57_340
    lines = load_corpus("brown").text.split("\n")
    assert lines[0].split() == [word for word, _ in sentences[0]]


def test_sentences_match_nltks_reader(real_corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nltk.corpus.reader import TaggedCorpusReader
    from nltk.data import ZipFilePathPointer
    from nltk.tokenize import LineTokenizer

    folder = real_corpora / "nltk_data"
    monkeypatch.setenv("NLTK_DATA", str(folder))
    monkeypatch.setattr("nltk.data.path", [str(folder)])
    root = ZipFilePathPointer(str(folder / "corpora/brown.zip"), "brown/")
    reader = TaggedCorpusReader(root, ["ca01"], sent_tokenizer=LineTokenizer(), encoding="latin-1")
    theirs = [[(word, tag) for word, tag in sentence] for sentence in reader.tagged_sents()]
    brown = CORPORA["brown"]
    assert isinstance(brown, NltkData)
    assert tagged_sentences(brown.members())[: len(theirs)] == theirs
