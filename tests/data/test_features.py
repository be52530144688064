"""Encoded words and their batches, against plain loops."""

import random

import pytest
import torch

from rnncli.data.batching import IGNORED, built
from rnncli.data.features import Labelled, Lexicon, padded, shared_spellings, spelling

LINES = [["The", "bells", "the", "BELLS"], ["O"], ["never", "the", "raven"]]
TAGS = [["DT", "NNS", "DT", "NNS"], ["UH"], ["RB", "DT", "NN"]]


@pytest.fixture
def lexicon() -> Lexicon:
    return Lexicon.of(LINES, TAGS, min_count=2, max_length=3)


def test_spelling_has_all_ngrams_and_the_whole_word() -> None:
    assert sorted(spelling("cab", 3)) == sorted(["c", "a", "b", "<c", "ca", "ab", "b>", "<ca", "cab", "ab>", "<cab>"])
    assert spelling("I", 5).count("<I>") == 1


def test_words_and_ngrams_need_a_minimum_count(lexicon: Lexicon) -> None:
    assert lexicon.words == ("bells", "the")
    assert lexicon.tags == ("DT", "NN", "NNS", "RB", "UH")
    assert "he>" in lexicon.grams  # The, the, the
    assert "<be" not in lexicon.grams  # only once: BELLS has other letters
    assert "ve" in lexicon.grams  # never, raven


def test_batch_matches_a_plain_loop(lexicon: Lexicon) -> None:
    features = lexicon.encode(LINES, TAGS)
    rows = torch.tensor([2, 0])
    tokens = features.tokens(rows)
    for column, row in enumerate(rows.tolist()):
        for step, (word, tag) in enumerate(zip(LINES[row], TAGS[row], strict=True)):
            number = int(tokens.words[step, column])
            assert number == (lexicon.words.index(word.lower()) + 1 if word.lower() in lexicon.words else 0)
            assert lexicon.tags[int(tokens.tags[step, column]) - 1] == tag
            form = int(tokens.forms[step, column])
            starts = tokens.grams.lengths.cumsum(0) - tokens.grams.lengths
            numbers = tokens.grams.values[starts[form] : starts[form] + tokens.grams.lengths[form]].tolist()
            assert [lexicon.grams[each - 1] for each in numbers] == [g for g in spelling(word, 3) if g in lexicon.grams]
    assert len(tokens.grams.lengths) == 6  # distinct spellings of the two rows


def test_counts_cover_only_the_selected_rows(lexicon: Lexicon) -> None:
    counts = lexicon.encode(LINES, TAGS).counts(torch.tensor([0, 1]))
    assert counts.words.tolist()[1:] == [2, 2]
    for number, gram in enumerate(lexicon.grams, start=1):
        assert counts.grams[number] == sum(spelling(word, 3).count(gram) for line in LINES[:2] for word in line)


def test_unused_tags_and_ngrams_are_not_read() -> None:
    lexicon = Lexicon.of(LINES, [], min_count=1, max_length=0)
    features = lexicon.encode(LINES)
    assert lexicon.grams == lexicon.tags == ()
    assert features.tags.tolist() == [0] * 8
    assert features.grams.lengths.tolist() == [0] * 7


def test_word_labels_align_with_their_words(lexicon: Lexicon) -> None:
    data = Labelled(lexicon.encode(LINES), torch.arange(8), by_word=True)
    batch = data.rows(torch.tensor([1, 2, 0]))
    assert batch.targets.T.tolist() == [[4] + [IGNORED] * 3, [5, 6, 7, IGNORED], [0, 1, 2, 3]]
    assert batch.lengths is not None
    assert batch.lengths.tolist() == [1, 3, 4]
    assert batch.predictions == 8


def test_every_sequence_occurs_once_per_epoch(lexicon: Lexicon) -> None:
    generator = random.Random(1)
    lines = [["the"] * generator.randint(1, 9) for _ in range(50)]
    data = Labelled(lexicon.encode(lines), torch.arange(50), by_word=False)
    for batches in map(built, (data.shuffled(8, 0, 0), data.in_order(8))):
        assert sorted(torch.cat([batch.targets for batch in batches]).tolist()) == list(range(50))


def test_columns_are_padded() -> None:
    assert padded(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 3]), -1).tolist() == [[1, 2], [-1, 3], [-1, 4]]


def test_spellings_keep_only_shared_ngrams() -> None:
    words = ["", "walk", "walks", "walked", "walking", "walker", "oak"]
    values, lengths = shared_spellings(words, 3)
    # five of the words share <wa, wal, alk and their parts; oak shares a and k with them as well
    shared = {gram for gram in spelling("walk", 3) if sum(gram in spelling(word, 3) for word in words) >= 5}
    assert lengths.tolist() == [sum(gram in shared for gram in set(spelling(word, 3))) for word in words]
    assert values.unique().tolist() == list(range(len(shared)))
    assert shared_spellings(["", ""], 3).lengths.tolist() == [0, 0]
