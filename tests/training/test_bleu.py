"""BLEU by sacrebleu: the tokenizer of each script, and the scores of a perfect translation."""

import sys

import pytest
import sacrebleu

from rnncli.errors import RnnError
from rnncli.training import bleu
from rnncli.training.bleu import score_translations, tokenizer_of

CHINESE = ["我喜欢北京的秋天。", "他昨天去了学校。"]
THAI = ["ฉันไปโรงเรียนเมื่อวานนี้"]
JAPANESE = ["私は昨日学校に行きました。"]


@pytest.mark.parametrize(
    ("references", "tokenizer"),
    [
        (CHINESE, "zh"),
        (["iPhone 发布会在 Cupertino"], "zh"),
        (THAI, "char"),
        (["a dog runs in the snow"], "13a"),
        (["1987-03-03"], "13a"),
    ],
)
def test_tokenizer_follows_the_script(references: list[str], tokenizer: str) -> None:
    assert tokenizer_of(references) == tokenizer
    found = score_translations(references, references)
    assert found.scores == pytest.approx({"bleu": 100, "chrf": 100})
    assert f"tok:{tokenizer}|" in found.signatures["bleu"]


@pytest.mark.parametrize(("there", "tokenizers"), [(True, ["ja-mecab", "ko-mecab"]), (False, ["char", "13a"])])
def test_mecab_is_used_where_installed(monkeypatch: pytest.MonkeyPatch, there: bool, tokenizers: list[str]) -> None:
    monkeypatch.setattr(bleu, "installed", lambda *_modules: there)
    assert [tokenizer_of(JAPANESE), tokenizer_of(["나는 어제 학교에 갔습니다"])] == tokenizers
    if not there:
        monkeypatch.setitem(sys.modules, "MeCab", None)
        with pytest.raises(RnnError, match=r"--bleu-tokenize ja-mecab needs MeCab, .*: pip install 'sacrebleu\[ja\]'"):
            score_translations(JAPANESE, JAPANESE, "ja-mecab")


def test_scores_equal_sacrebleu() -> None:
    found = ["我喜欢上海的春天。", "他昨天去学校了。"]
    expected = sacrebleu.corpus_bleu(found, [CHINESE], tokenize="zh").score
    assert score_translations(found, CHINESE).scores["bleu"] == pytest.approx(expected)
    assert 0 < expected < 100
    assert score_translations(CHINESE, CHINESE, "13a").scores["bleu"] == sacrebleu.corpus_bleu(CHINESE, [CHINESE]).score
