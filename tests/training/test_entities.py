"""Entities in IOB, counted as conlleval does, against its published figures and by hand."""

import pytest

from rnncli.training.entities import Tally, entities, entity_metrics, is_iob


def test_equals_the_published_figures_of_conlleval() -> None:
    """The sample on the page of the CoNLL-2000 task: 459 phrases, 539 found, 371 of them right."""
    figures = Tally(right=459, found=539, both=371).figures
    assert {name: round(100 * value, 2) for name, value in figures.items()} == {
        "precision": 68.83,
        "recall": 80.83,
        "f1": 74.35,
    }


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("B-X I-X O B-X", [(0, 2, "X"), (3, 4, "X")]),
        ("I-X I-X O I-Y", [(0, 2, "X"), (3, 4, "Y")]),  # IOB1: I begins after O
        ("I-X B-X I-X", [(0, 1, "X"), (1, 3, "X")]),  # and B separates neighbours of a kind
        ("B-X I-Y I-Y", [(0, 1, "X"), (1, 3, "Y")]),  # another kind begins another entity
        ("I-Y B-X", [(0, 1, "Y"), (1, 2, "X")]),
        ("B-X E-X S-X B-Y I-Y E-Y", [(0, 2, "X"), (2, 3, "X"), (3, 6, "Y")]),  # IOBES
        ("B-X L-X U-Y U-Y I-Y", [(0, 2, "X"), (2, 3, "Y"), (3, 4, "Y"), (4, 5, "Y")]),  # BILOU
        ("E-X I-X", [(0, 1, "X"), (1, 2, "X")]),
        ("B I O I B", [(0, 2, ""), (3, 4, ""), (4, 5, "")]),
        ("B-NP-SBJ I-NP-SBJ O", [(0, 2, "NP-SBJ")]),
        ("O O", []),
    ],
)
def test_entities_begin_and_end_at_the_right_words(labels: str, expected: list[tuple[int, int, str]]) -> None:
    assert sorted(entities(labels.split())) == expected


def test_only_whole_entities_of_the_right_kind_count() -> None:
    """By hand: both PER are found; neither ORG is, one for its kind and one for its end."""
    right = ["B-PER I-PER O B-ORG", "B-PER B-ORG I-ORG"]
    given = ["B-PER I-PER O B-LOC", "B-PER B-ORG O"]
    found = entity_metrics(*([line.split() for line in lines] for lines in (right, given)))
    assert (found["entity_precision"], found["entity_recall"], found["entity_f1"]) == (0.5, 0.5, 0.5)
    assert found["entities"] == {
        "LOC": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "right": 0, "found": 1},
        "ORG": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "right": 2, "found": 1},
        "PER": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "right": 2, "found": 2},
    }


def test_equals_the_example_of_seqeval() -> None:
    """Its README has F1 0.50 for these two sentences."""
    right = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    given = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    assert entity_metrics(right, given)["entity_f1"] == 0.5


def test_iob_labels_are_recognised() -> None:
    for labels in ("O B-X I-X", "O I-X", "B-X I-X", "O B I", "O B-X S-X E-X"):
        assert is_iob(labels.split()), labels
    for labels in ("DET NOUN", "O X", "B I", "NN B-X", "O S", "O", "I"):
        assert not is_iob(labels.split()), labels
