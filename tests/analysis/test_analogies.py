"""Analogies against gensim, question by question, and against the formulas by hand."""

from pathlib import Path

import numpy as np
import pytest

from rnncli.analysis.analogies import METRICS, Category, check_answers, evaluate, parse, questions_of, solve
from rnncli.data.vectors import WordVectors
from rnncli.errors import RnnError, UsageError

KeyedVectors = pytest.importorskip("gensim.models", reason="waits for gensim, which does not install here").KeyedVectors

generator = np.random.default_rng(2)
STEMS = [f"word{number}" for number in range(60)]
# Noisy parallelograms, so that some answers are right and some wrong; and spellings that differ in case.
_stems, _ends = generator.normal(size=(60, 10)), generator.normal(size=(3, 10))
WORDS = (*(stem + end for stem in STEMS for end in ("", "s", "ed")), "Word0", "WORD1s", "Word2", "word2S")
MATRIX = np.concatenate([(_stems[:, None] + _ends).reshape(-1, 10), _stems[:1], _stems[1:2] + _ends[1], _stems[2:4]])
VECTORS = WordVectors(WORDS, (MATRIX + 0.45 * generator.normal(size=MATRIX.shape)).astype("f4"))
TEXT = (
    "".join(
        f": {name}\n" + "".join(f"{a} {a}{end} {b} {b}{end}\n" for a in STEMS[:25] for b in STEMS[:25] if a != b)
        for name, end in (("plural", "s"), ("gram1-past", "ed"))
    )
    + ": mixed\nword0 word0s nothing nothings\nWord0 word0s WORD1 Word1S\nWORD2 word2s word3 word3s\n"
)


@pytest.fixture(scope="module")
def gensim() -> KeyedVectors:
    theirs = KeyedVectors(10)
    theirs.add_vectors(list(WORDS), VECTORS.matrix)
    return theirs


def theirs_by_category(gensim: KeyedVectors, file: Path, **how: object) -> dict[str, set[tuple[str, ...]]]:
    file.write_text(TEXT, encoding="utf-8")
    _, sections = gensim.evaluate_word_analogies(str(file), **how)
    return {section["section"]: section for section in sections}


@pytest.mark.parametrize("fold_case", [True, False])
@pytest.mark.parametrize("restrict", [300_000, 80])
@pytest.mark.parametrize("at_once", [1 << 25, 1_000])
def test_every_answer_matches_gensim(
    gensim: KeyedVectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fold_case: bool, restrict: int, at_once: int
) -> None:
    monkeypatch.setattr("rnncli.analysis.analogies._SCORES_AT_ONCE", at_once)
    how = {"case_insensitive": fold_case, "restrict_vocab": restrict}
    theirs = theirs_by_category(gensim, tmp_path / "questions.txt", **how)
    categories = parse(TEXT, "here")
    rights = 0
    for category in categories:
        verdicts = check_answers(VECTORS, category, "cosine", restrict, fold_case)
        for verdict, kind in ((True, "correct"), (False, "incorrect")):
            ours = [
                tuple(word.upper() if fold_case else word for word in question)
                for question, each in zip(category.questions, verdicts, strict=True)
                if each is verdict
            ]
            assert ours == theirs[category.name][kind]
            rights += verdict * len(ours)
    total = evaluate(VECTORS, categories, "cosine", restrict, fold_case)[-1]
    assert total.right == rights == len(theirs["Total accuracy"]["correct"])
    assert total.covered == rights + len(theirs["Total accuracy"]["incorrect"])
    assert 0.2 < total.metrics["accuracy"] < 0.98


def test_the_totals_add_up() -> None:
    scores = {score.name: score for score in evaluate(VECTORS, parse(TEXT, "here"), "3cosmul")}
    assert list(scores) == ["plural", "gram1-past", "mixed", "semantic", "syntactic", "all"]
    assert scores["semantic"].questions == 25 * 24 + 3
    assert scores["syntactic"] == scores["gram1-past"].__class__(
        "syntactic", *list(vars(scores["gram1-past"]).values())[1:]
    )
    assert scores["all"].right == scores["semantic"].right + scores["syntactic"].right
    assert scores["mixed"].metrics["coverage"] == pytest.approx(2 / 3)


@pytest.mark.filterwarnings("ignore:Call to deprecated `init_sims`")  # gensim's own
@pytest.mark.parametrize(("metric", "method"), [("cosine", "most_similar"), ("3cosmul", "most_similar_cosmul")])
def test_answers_and_scores_match_gensim(gensim: KeyedVectors, metric: str, method: str) -> None:
    for a, b, c in (generator.choice(WORDS, 3, replace=False).tolist() for _ in range(60)):
        ours = solve(VECTORS, a, b, c, metric, 10)
        theirs = getattr(gensim, method)(positive=[a, c], negative=[b], topn=10)
        assert [near.word for near in ours] == [word for word, _ in theirs]
        np.testing.assert_allclose([near.score for near in ours], [score for _, score in theirs], rtol=1e-4)


def test_euclidean_matches_a_distance_by_hand() -> None:
    for a, b, c in (generator.choice(len(WORDS), 3, replace=False) for _ in range(60)):
        target = VECTORS.matrix[a].astype(float) - VECTORS.matrix[b] + VECTORS.matrix[c]
        distances = np.linalg.norm(VECTORS.matrix - target, axis=1)
        distances[[a, b, c]] = np.inf
        ours = solve(VECTORS, WORDS[a], WORDS[b], WORDS[c], "euclidean", 4)
        assert [near.word for near in ours] == [WORDS[place] for place in distances.argsort()[:4]]
        np.testing.assert_allclose([near.score for near in ours], np.sort(distances)[:4], rtol=1e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_perfect_parallelogram_is_solved_without_the_words_of_the_question(metric: str) -> None:
    vectors = WordVectors(
        ("man", "woman", "king", "queen", "bread"),
        np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1], [1, -1, -1]], "f4"),
    )
    found = solve(vectors, "king", "man", "woman", metric, 50)
    assert found[0].word == "queen"
    assert {near.word for near in found} == {"queen", "bread"}
    assert solve(vectors, "King", "man", "woman", metric, 1)[0].word == "queen"


def test_another_metric_is_refused() -> None:
    with pytest.raises(UsageError, match="--metric must be one of euclidean, cosine, 3cosmul, not 'manhattan'"):
        solve(VECTORS, *WORDS[:3], "manhattan", 1)


def test_nothing_covered_has_no_accuracy() -> None:
    (score, *_) = evaluate(VECTORS, [Category("x", [("a", "b", "c", "d")])], "cosine")
    assert (score.covered, score.metrics["accuracy"], score.metrics["coverage"]) == (0, None, 0)


def test_two_words_in_all_leave_no_answer() -> None:
    vectors = WordVectors(("a", "b"), np.eye(2, dtype="f4"))
    with pytest.raises(UsageError, match="there are no words except those of the question"):
        solve(vectors, "a", "b", "a", "cosine", 5)
    assert check_answers(vectors, Category("x", [("a", "b", "a", "b")]), "cosine") == [False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (": family\nking queen man\n", "line 2 has 3 words, and a question has four"),
        (": family\n\n", "has no questions"),
        ("hello\n", "line 1 has 1 words"),
    ],
)
def test_invalid_files_of_questions_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "questions.txt").write_text(text)
    with pytest.raises(RnnError, match=message):
        questions_of(str(tmp_path / "questions.txt"))


def test_questions_without_a_category(tmp_path: Path) -> None:
    (tmp_path / "questions.txt").write_text("a b c d\r\n:\nb a d c\n")
    assert questions_of(str(tmp_path / "questions.txt")) == [
        Category("questions", [("a", "b", "c", "d")]),
        Category("unnamed", [("b", "a", "d", "c")]),
    ]


def test_mikolov_s_questions(home: Path, real_corpora: Path) -> None:
    (home / "data").symlink_to(real_corpora)
    categories = questions_of("questions-words")
    assert len(categories) == 14
    assert sum(len(category.questions) for category in categories) == 19_544
    assert sum(len(category.questions) for category in categories if category.is_syntactic) == 10_675
