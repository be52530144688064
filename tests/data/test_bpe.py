"""Byte-pair encoding: merges of the most frequent pairs, exact decoding, and a missing library."""

import sys

import numpy as np
import pytest

from rnncli.data.bpe import bpe_units, learn_bpe
from rnncli.data.units import shown_bytes
from rnncli.errors import RnnError, UsageError


def test_the_most_frequent_pairs_are_joined_first() -> None:
    """Sennrich's own example, with blanks before the words: `es`, then `est`, then `lo` and `low`."""
    text = " low" * 5 + " lower" * 2 + " newest" * 6 + " widest" * 3
    split = bpe_units(learn_bpe([text], 256 + 2)).split
    assert split(" newest") == ["Ġ", "n", "e", "w", "est"]
    whole = bpe_units(learn_bpe([text], 300))
    assert whole.split(" newest low") == ["Ġnewest", "Ġlow"]
    assert list(map(whole.shown, whole.split(" newest low"))) == [" newest", " low"]


def test_any_text_survives_encoding_and_decoding() -> None:
    units = bpe_units(learn_bpe(["the cat sat, früh\n\n am Tag. " * 9], 280))
    generator = np.random.default_rng(0)
    for limit in (0x80, 0x800, 0x10000, 0x110000):
        codes = [code for code in generator.integers(0, limit, 500).tolist() if not 0xD800 <= code < 0xE000]
        text = "".join(map(chr, codes)) + "\n the\tcat \r\n"
        assert "".join(units.join(units.split(text))) == text
    assert units.split("") == []


def test_pieces_of_a_text_do_not_change_the_result() -> None:
    text = "one and two and three and four\n" * 20
    assert learn_bpe([text], 270) == learn_bpe([line + "\n" for line in text.splitlines()], 270)


def test_invalid_vocabulary_size_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--vocab-size 256: bpe starts from 256 bytes and adds to them"):
        learn_bpe(["text"], 256)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(RnnError, match=r"pip install 'rnncli\[bpe\]'"):
        learn_bpe(["text"], 300)


def test_parts_of_characters_are_displayed_as_numbers_between_whole_ones() -> None:
    assert shown_bytes("кé".encode()[1:-1]) == "\\xba\\xc3"
    assert shown_bytes(" к日".encode()[:-1]) == " к\\xe6\\x97"
    assert shown_bytes(b"plain") == "plain"
