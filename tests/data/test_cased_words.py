"""Tests of the words and marks of verse."""

import pytest

from rnncli.data.cased_words import GLUE, cased_words, join_cased
from rnncli.data.codec import Codec
from rnncli.data.tokenizers import TOKENIZERS
from rnncli.data.vocabulary import END, SPECIALS, Vocabulary


@pytest.mark.parametrize(
    "line",
    [
        "Whose woods these are I think I know.",
        "'Quick!' I slammed to the door -- there's half-past three--and more...",
        "“Well—I—be—” that was all he said, don’t you see? (Two miles it was)",
        '"Whose?" he said; "mine," said she: the brothers\' 1,000 sheep, 3.5 %.',
        "f(x) a_b [x]{y} up...and $5 #1 c'est l'été runnin' 'cross o'er?!!",
        "Grüße, Ωμέγα; नमस्ते दुनिया।",
        "",
    ],
)
def test_a_line_is_restored(line: str) -> None:
    assert "".join(join_cased(cased_words(line))) == line.replace("3.5 %", "3.5%")


def test_tokens_are_words_and_marks() -> None:
    assert cased_words('The sun\'s up: "Go--on," half-way.') == [
        *("The", "sun's", "up", ":", f'"{GLUE}', "Go", f"{GLUE}--{GLUE}", "on", ",", f'{GLUE}"'),
        *("half", f"{GLUE}-{GLUE}", "way", "."),
    ]


def test_blanks_of_a_line_become_one_and_glue_of_a_text_is_dropped() -> None:
    assert cased_words(f"  two \t{GLUE} words\u3000here ") == ["two", "words", "here"]


def test_special_tokens_are_written_as_in_every_word_model() -> None:
    units = TOKENIZERS["cased-words"]
    assert "".join(units.join(["A", "<unknown>", ",", "<end>", f'"{GLUE}', "B"])) == 'A <unk>,\n"B'
    assert units.shown(f'{GLUE}"') == '"'
    assert not {"<start>", "<end>", "<unknown>"} & set(cased_words("<start> <end> <unknown>"))


def test_a_text_continues_the_tokens_before_it() -> None:
    codec = Codec("cased-words", Vocabulary((*SPECIALS, "and", f'"{GLUE}', "Yes")))
    assert "".join(codec.join([3, 4, 5, END, 5])) == 'and "Yes\nYes'
    assert "".join(codec.join([3, 5], after=["Oh", ","])) == " and Yes"
    assert "".join(codec.join([3, 5], after=[f'"{GLUE}'])) == "and Yes"
