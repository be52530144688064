"""Letters keep their combining marks: in tokens, in shortened texts, and where a token is displayed on its own."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from rnncli.data.bpe import bpe_units, learn_bpe
from rnncli.data.codec import Codec
from rnncli.data.marks import is_mark, shorten
from rnncli.data.text import read_as, visible
from rnncli.data.tokenizers import UNITS
from rnncli.data.vocabulary import SPECIALS, Vocabulary

pytestmark = pytest.mark.no_backend

STRESSED = "Стари́к ви́дит ло́дку у реки́.\n"
WORDS = {  # text: its words, as a reader of the language counts them
    STRESSED: ["Стари́к", " ви́дит", " ло́дку", " у", " реки́", ".", "\n"],
    "किताब हिन्दी में है।": ["किताब", " हिन्दी", " में", " है", "।"],
    "سَلَامٌ می\u200cروم": ["سَلَامٌ", " می\u200cروم"],
    "ἡ θα\u0301λασσα": ["ἡ", " θα\u0301λασσα"],
    "I ❤️ tea": ["I", " ❤️", " tea"],
}


@pytest.mark.parametrize("text", WORDS)
def test_words_and_merges_of_bpe_keep_marks_with_their_letters(text: str) -> None:
    assert UNITS["word"].split(text) == WORDS[text]
    units = bpe_units(learn_bpe([text * 40], 600))
    if not text.endswith("\n"):
        assert list(map(units.shown, units.split(text))) == WORDS[text]  # every word is frequent, and becomes one token
    assert "".join(units.join(units.split(text))) == text


def test_bpe_of_text_without_marks_is_that_of_gpt2() -> None:
    """The splitting of Hugging Face's own ByteLevel, so that tokens of texts without marks stay the same."""
    text = "Don't we'll  it's 1,234.5\t(früh) naïve — «да» 日本語!\n\n  x_1 " * 30
    former = Tokenizer(models.BPE())
    former.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    former.train_from_iterator([text], trainer)
    assert bpe_units(learn_bpe([text], 300)).split(text) == former.encode(text).tokens


@pytest.mark.parametrize("reading", [1, 2])
def test_words_of_former_runs_end_at_marks(reading: int) -> None:
    with read_as(reading):
        codec = Codec("word", Vocabulary(SPECIALS))
    assert codec.split("реки\u0301.") == ["реки", "\u0301", "."]
    assert Codec.of(codec.payload).units == codec.units


def test_lone_mark_is_displayed_on_a_dotted_circle() -> None:
    assert [visible(token) for token in ("\u0301", "и\u0301", "े", "\u0301к", "")] == [
        "◌\u0301",
        "и\u0301",
        "◌े",
        "◌\u0301к",
        "",
    ]
    assert visible("\u0301", keep=" ") == "\u0301"  # a part of a text follows its letter


@pytest.mark.parametrize(
    ("text", "shortened"),
    [
        ("abcdef", "abcd…"),
        ("abcd", "abcd"),
        ("abcи\u0301x", "abc…"),
        ("abक्षिx", "ab…"),
        ("abc👍\U0001f3fdx", "abc…"),
        ("ab👩\u200d👧\u200d👦", "ab…"),
        ("\u0301" * 6, "\u0301" * 4 + "…"),
    ],
)
def test_a_text_is_shortened_between_letters(text: str, shortened: str) -> None:
    assert shorten(text, 4) == shortened
    assert is_mark("\u0301")
    assert not is_mark("x")
