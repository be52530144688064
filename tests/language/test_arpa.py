"""The ARPA format, read back by a reader of its own: probabilities, sums over the vocabulary, names of tokens."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from support.arpa import log_prob, nats, read_arpa
from support.sequences import HELD_OUT, TRAINING, V, some_sequences

from rnncli.data.vocabulary import END, START
from rnncli.language.arpa import arpa_text, written_token
from rnncli.language.ngrams import KneserNey

pytestmark = pytest.mark.no_backend

TOKENS = ["<start>", "<end>", "<unknown>", *(f"w{number}" for number in range(3, V))]


def names(sequences: list[list[int]]) -> list[list[str]]:
    known = {END: "</s>", 2: "<unk>"}
    return [[known.get(number, TOKENS[number]) for number in each] for each in sequences]


@pytest.mark.parametrize("discount", [None, 0.4])
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_a_reader_of_the_file_gives_the_loss_of_the_model(order: int, discount: float | None) -> None:
    model = KneserNey(TRAINING, order, V, discount)
    read, grams = read_arpa("".join(arpa_text(model, TOKENS)))
    assert read == order
    unseen = [[2, 5, END]] if discount is None else []  # UNKNOWN is not in the training sequences
    held_out = [*HELD_OUT, *unseen, [7, 7, 7, 8]]  # the last has no END
    loss = nats(order, grams, names(held_out))
    assert loss == pytest.approx(model.metrics(held_out)["loss"], rel=1e-7)


@pytest.mark.parametrize("discount", [None, 0.4])
def test_the_probabilities_after_every_history_of_the_file_sum_to_one(discount: float | None) -> None:
    model = KneserNey(some_sequences(15, seed=3), 4, V, discount)
    order, grams = read_arpa("".join(arpa_text(model, TOKENS)))
    words = [word for (word,) in (gram for gram in grams if len(gram) == 1) if word != "<s>"]
    assert len(words) == V - 1
    histories = [(), *(gram for gram in grams if len(gram) < order), ("w3", "w4", "<unk>")]
    assert len(histories) > 100
    for history in histories:
        assert sum(10 ** log_prob(grams, history, word) for word in words) == pytest.approx(1, abs=1e-7), history


def test_every_n_gram_has_its_beginning_and_its_end_in_the_file_as_kenlm_requires() -> None:
    _, grams = read_arpa("".join(arpa_text(KneserNey(TRAINING, 4, V), TOKENS)))
    for gram in grams:
        for part in (gram[:-1], gram[1:]):
            assert not part or part in grams, gram
        assert "<s>" not in gram[1:]
        assert all(value <= 0 for value in grams[gram])
    assert grams["<s>",][0] == -99


def test_streams_open_once_and_may_hold_ends() -> None:
    stream = list(itertools.chain.from_iterable(TRAINING))
    model = KneserNey([np.array(stream[:60]), np.array(stream[60:])], 3, V)
    order, grams = read_arpa("".join(arpa_text(model, TOKENS)))
    held_out = list(itertools.chain.from_iterable(HELD_OUT))
    assert nats(order, grams, names([held_out])) == pytest.approx(model.metrics([held_out])["loss"], rel=1e-7)


def test_tokens_have_no_white_space_and_stay_different() -> None:
    tokens = [
        " ",
        "\n",
        "\t",
        "\x85",
        "\u2003",
        "\\",
        "\\u0020",
        " the",
        "<s>",
        "</s>",
        "<unk>",
        "a",
        "é",
        "👍🏽",
        "<S>",
    ]
    written = [written_token(token) for token in tokens]
    assert len({*written, "<s>", "</s>", "<unk>"}) == len(tokens) + 3
    assert all(len(each.split()) == 1 for each in written)
    assert written[:3] == ["\\u0020", "\\u000a", "\\u0009"]
    assert written[8:] == ["\\u003cs>", "\\u003c/s>", "\\u003cunk>", "a", "é", "👍🏽", "<S>"]


def test_frost_has_the_same_perplexity_in_the_file(real_corpora: Path) -> None:
    from rnncli.data.holding_out import HoldOut
    from rnncli.data.verse import read_verse
    from rnncli.data.vocabulary import Vocabulary

    verse = read_verse([str(real_corpora / "robert_frost.txt")], HoldOut(every=10), "verse-words")
    vocabulary = Vocabulary.of((line.words for line in verse.training), min_count=2)
    training, held_out = (
        [[*vocabulary.encode(line.words), END] for line in lines] for lines in (verse.training, verse.held_out)
    )
    model = KneserNey(training, 5, len(vocabulary))
    order, grams = read_arpa("".join(arpa_text(model, vocabulary.tokens)))
    special = {START: "<s>", END: "</s>", 2: "<unk>"}
    words = [[special.get(number) or written_token(vocabulary.tokens[number]) for number in each] for each in held_out]
    assert math.exp(nats(order, grams, words)) == pytest.approx(model.metrics(held_out)["perplexity"], rel=1e-6)
