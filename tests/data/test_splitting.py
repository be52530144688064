"""Sentences are split into words as in a training file, even words that NLTK splits."""

import pytest

from rnncli.data.splitting import kept_whole, split_at_blanks, split_like, words_of

TWEETS = [["i", "cannot", "see", "#goal", "@name", "."], ["AT&T", "can't", "go", ":)"]]
TREEBANK = [["I", "ca", "n't", "pay", "50", "%", "of", "US$", "5"], ["#", "5", "can", "not", "do", "."]]


def test_words_that_nltk_splits_stay_as_in_the_training_file() -> None:
    assert kept_whole(TWEETS) == ["#a", ":)", "@a", "a&a", "a'a", "cannot"]
    assert kept_whole(TREEBANK) == ["a$"]
    assert kept_whole([words_of("it's 5% (or so), \"cannot\" she said; #1 won't.")]) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("they cannot reach #other_1.", ["they", "cannot", "reach", "#other_1", "."]),
        ('@you said "it isn\'t here" :)', ["@you", "said", "``", "it", "isn't", "here", "''", ":)"]),
        ("the dog, R&D, can not.", ["the", "dog", ",", "R&D", ",", "can", "not", "."]),
        ("", []),
    ],
)
def test_text_is_split_like_the_training_file(text: str, words: list[str]) -> None:
    assert split_like(text, kept_whole(TWEETS)) == words
    assert split_like(text, []) == words_of(text)


def test_a_long_text_without_blanks_is_split_in_time_that_grows_with_its_length() -> None:
    text = "a," * 5_000
    assert split_like(text, kept_whole(TWEETS)) == ["a", ","] * 5_000


def test_more_frequent_way_of_splitting_wins() -> None:
    """A form that is whole once and split twice is split; whole twice and split once, it stays whole."""
    once, twice = [["#one"]], [["#", "two"], ["#", "three"]]
    assert kept_whole(once + twice) == []
    assert kept_whole([*once, ["#four"], twice[0]]) == ["#a"]


def test_tokenized_words_are_separated_only_by_blanks_and_tabs() -> None:
    assert split_at_blanks("  can't\t#go 10\xa0000 end. ") == ["can't", "#go", "10\xa0000", "end."]
