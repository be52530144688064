"""A reader's features of words, against the same by hand."""

import pytest
import torch

from rnncli.data.features import Lexicon, spelling
from rnncli.models.reader import ReaderShape, TokenReader

LINES = [["The", "bells", "the", "BELLS"], ["never", "the"]]
TAGS = [["DT", "NNS", "DT", "NNS"], ["RB", "DT"]]
ROWS = torch.tensor([0, 1])


@pytest.fixture
def lexicon() -> Lexicon:
    return Lexicon.of(LINES, TAGS, min_count=1, max_length=3)


def test_features_are_concatenated(lexicon: Lexicon) -> None:
    reader = TokenReader(lexicon, ReaderShape(("tags", "words", "chars"), 5, 4)).eval()
    x = reader(lexicon.encode(LINES, TAGS).tokens(ROWS))
    assert x.shape == (4, 2, reader.output_size) == (4, 2, 4 + 5 + 4)
    assert reader.words is not None
    assert reader.grams is not None
    for row, (line, tags) in enumerate(zip(LINES, TAGS, strict=True)):
        for step, (word, tag) in enumerate(zip(line, tags, strict=True)):
            tag_part, word_part, char_part = x[step, row].split([4, 5, 4])
            assert tag_part.tolist() == [float(number == lexicon.tags.index(tag) + 1) for number in range(4)]
            torch.testing.assert_close(word_part, reader.words.weight[lexicon.words.index(word.lower()) + 1])
            numbers = [lexicon.grams.index(gram) + 1 for gram in spelling(word, 3)]
            by_hand = reader.grams.weight[numbers].sum(0) / len(numbers) ** 0.5
            torch.testing.assert_close(char_part, by_hand)


def test_unseen_words_and_ngrams_are_unknown(lexicon: Lexicon) -> None:
    """Words and n-grams that occur only in the second line count as absent."""
    reader = TokenReader(lexicon, ReaderShape(("words", "chars"), 5, 4)).eval()
    features = lexicon.encode(LINES)
    reader.learn(features.counts(torch.tensor([0])), min_count=2)
    x = reader(features.tokens(torch.tensor([1])))
    assert reader.words is not None
    assert reader.grams is not None
    torch.testing.assert_close(x[0, 0, :5], reader.words.weight[0])
    torch.testing.assert_close(x[1, 0, :5], reader.words.weight[lexicon.words.index("the") + 1])
    met = [gram for line in LINES[:1] for word in line for gram in spelling(word, 3)]
    known = [lexicon.grams.index(gram) + 1 for gram in spelling("never", 3) if met.count(gram) >= 2]
    torch.testing.assert_close(x[0, 0, 5:], reader.grams.weight[known].sum(0) / len(known) ** 0.5)


def test_ngram_dropout_keeps_the_mean(lexicon: Lexicon) -> None:
    torch.manual_seed(0)
    reader = TokenReader(lexicon, ReaderShape(("chars",), 5, 4, char_dropout=0.5))
    tokens = lexicon.encode(LINES).tokens(ROWS)
    mean = torch.stack([reader(tokens) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, reader.eval()(tokens), atol=0.02, rtol=0)
