"""Analogies, a - b + c = ?, by three metrics, and files of analogy questions.

Shapes: V words, D features, N questions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncli.analysis.vectors import Near
from rnncli.data import toyworld
from rnncli.data.corpora import load_corpus
from rnncli.data.text import lines_of
from rnncli.data.vectors import WordVectors
from rnncli.errors import RnnError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

METRICS = ("euclidean", "cosine", "3cosmul")
BOOK = METRICS[:2]
"""The metrics of the book."""
RESTRICT = 300_000
"""The number of most frequent words among which answers are searched, as in the word2vec programs."""
_VARIANTS = 5
_SCORES_AT_ONCE = 1 << 25


@dataclass(frozen=True)
class Category:
    """Questions of one kind, four words each: the second is to the first as the fourth is to the third."""

    name: str
    questions: list[tuple[str, ...]]

    @property
    def is_syntactic(self) -> bool:
        """Whether they are about grammar; their names in Mikolov's file begin with `gram`."""
        return self.name.startswith("gram")


@dataclass(frozen=True)
class Score:
    """The number of questions, of covered ones (all four words have vectors), and of right answers."""

    name: str
    questions: int
    covered: int
    right: int

    @property
    def metrics(self) -> dict[str, Any]:
        """The numbers as metrics; accuracy is over the covered questions."""
        return {
            "questions": self.questions,
            "covered": self.covered,
            "right": self.right,
            "accuracy": self.right / self.covered if self.covered else None,
            "coverage": self.covered / self.questions if self.questions else None,
        }


def solve(vectors: WordVectors, a: str, b: str, c: str, metric: str, top: int) -> list[Near]:
    """The words that answer a - b + c best, best first, without a, b and c themselves.

    euclidean: the distance to x_a - x_b + x_c; cosine: the similarity with the sum of the unit vectors (3CosAdd);
    3cosmul: cos(w, a) cos(w, c) / cos(w, b), each shifted into 0..1 (Levy and Goldberg 2014). Raises UsageError as
    `WordVectors.rows`, for another metric, and where there are no other words.
    """
    if metric not in METRICS:
        raise UsageError(f"--metric must be one of {', '.join(METRICS)}, not {metric!r}")
    queries = np.array([vectors.rows([a, b, c])])
    scores = _scores(vectors, queries, metric)
    places = _best(scores, queries, top)[0]
    found = [(vectors.words[place], float(scores[0, place])) for place in places if scores[0, place] > -np.inf]
    if not found:
        raise UsageError("there are no words except those of the question: take vectors of more words")
    if metric == "euclidean":
        return [Near(word, float(np.sqrt(max(0.0, -score)))) for word, score in found]
    return [Near(word, score) for word, score in found]


def questions_of(spec: str) -> list[Category]:
    """The questions of toyworld, of a registered corpus or of a file; raises as `load_corpus`."""
    if spec == "toyworld":
        return parse(toyworld.questions(), spec)
    corpus = load_corpus(spec)
    return parse(corpus.text, corpus.origin)


def parse(text: str, origin: str) -> list[Category]:
    """Parse questions: `: name` begins a category, and every other non-blank line has four words.

    Raises RnnError for any other line, and for a text without questions.
    """
    categories = [Category("questions", [])]
    for number, line in enumerate(lines_of(text), start=1):
        words = line.split()
        if line.startswith(":"):
            categories.append(Category(line[1:].strip() or "unnamed", []))
        elif len(words) == 4:
            categories[-1].questions.append(tuple(words))
        elif words:
            raise RnnError(
                f"{origin}: line {number} has {len(words)} words, and a question has four: mend or remove it"
            )
    found = [category for category in categories if category.questions]
    if not found:
        raise RnnError(f"{origin} has no questions: it needs lines of four words, below lines such as `: family`")
    return found


def evaluate(
    vectors: WordVectors, categories: list[Category], metric: str, restrict: int = RESTRICT, fold_case: bool = True
) -> list[Score]:
    """Score every category, then the semantic ones, the syntactic ones and all together.

    Answers are searched among the `restrict` first words. With `fold_case`, spellings that differ only in case are one
    word with the vector of the first of them, as in the word2vec programs. No word of the question can be its answer.
    Questions with a word that has no vector are not covered.
    """
    scores = [
        Score(each.name, len(each.questions), *_counted(check_answers(vectors, each, metric, restrict, fold_case)))
        for each in categories
    ]
    kinds = {
        "semantic": [not each.is_syntactic for each in categories],
        "syntactic": [each.is_syntactic for each in categories],
        "all": [True] * len(categories),
    }
    return scores + [
        _total(name, [s for s, has in zip(scores, chosen, strict=True) if has]) for name, chosen in kinds.items()
    ]


def check_answers(
    vectors: WordVectors, category: Category, metric: str, restrict: int = RESTRICT, fold_case: bool = True
) -> list[bool | None]:
    """For each question, whether its fourth word is the best answer; None if the question is not covered."""
    vectors = vectors.first(restrict)
    numbers: dict[str, int] = {}
    groups = np.array([numbers.setdefault(_folded(w, fold_case), row) for row, w in enumerate(vectors.words)])
    rows = [[numbers.get(_folded(word, fold_case), -1) for word in words] for words in category.questions]
    verdicts: list[bool | None] = [None] * len(rows)
    covered = [place for place, row in enumerate(rows) if -1 not in row]
    size = max(1, _SCORES_AT_ONCE // len(vectors.words))
    for begin in range(0, len(covered), size):
        places = covered[begin : begin + size]
        queries = np.array([rows[place] for place in places])
        # For a : b = c : d in the file, the answer is b - a + c.
        found = _first_fresh(_scores(vectors, queries[:, [1, 0, 2]], metric), queries[:, :3], groups)
        for place, right in zip(places, found == queries[:, 3], strict=True):
            verdicts[place] = bool(right)
    return verdicts


def _folded(word: str, fold_case: bool) -> str:
    return word.upper() if fold_case else word


def _scores(vectors: WordVectors, queries: "NDArray[np.int64]", metric: str) -> "NDArray[np.float32]":
    """Score each word as an answer to a - b + c, for the rows of a, b and c (N, 3): (N, V), greater is better."""
    a, b, c = queries.T
    X, unit = vectors.matrix, vectors.unit
    scores: NDArray[np.float32]
    if metric == "euclidean":
        target = X[a] - X[b] + X[c]
        squares, own = (np.einsum("nd,nd->n", each, each) for each in (X, target))
        scores = 2 * target @ X.T - squares - own[:, None]
    elif metric == "cosine":
        target = unit[a] - unit[b] + unit[c]
        target /= np.maximum(np.linalg.norm(target, axis=1, keepdims=True), np.float32(1e-30))
        scores = target @ unit.T
    else:
        to_a, to_b, to_c = ((1 + unit[each] @ unit.T) / 2 for each in (a, b, c))
        scores = to_a * to_c / (to_b + np.float32(1e-6))
    return scores


def _best(scores: "NDArray[np.float32]", banned: "NDArray[np.int64]", top: int) -> "NDArray[np.int64]":
    """The indices of the greatest scores (N, top), greatest first; sets the scores of `banned` (N, 3) to -inf."""
    np.put_along_axis(scores, banned, -np.inf, 1)
    top = min(top, scores.shape[1])
    places = np.argpartition(-scores, top - 1, 1)[:, :top]
    order = np.argsort(-np.take_along_axis(scores, places, 1), 1, kind="stable")
    return np.take_along_axis(places, order, 1)


def _first_fresh(
    scores: "NDArray[np.float32]", queries: "NDArray[np.int64]", groups: "NDArray[np.int64]"
) -> "NDArray[np.int64]":
    """The best group of spellings (N,) without the words of the question (N, 3); -1 where there is none.

    Only the few best words are searched, as in gensim; sets the scores of skipped words to -inf.
    """
    np.put_along_axis(scores, queries, -np.inf, 1)
    answers, left = np.full(len(scores), -1), np.arange(len(scores))
    for _ in range(_VARIANTS):
        best = (scores if len(left) == len(scores) else scores[left]).argmax(1)
        found = groups[best]
        fresh = (found[:, None] != queries[left]).all(1)
        answers[left[fresh]] = found[fresh]
        left, best = left[~fresh], best[~fresh]
        scores[left, best] = -np.inf
    return answers


def _counted(verdicts: list[bool | None]) -> Iterator[int]:
    yield sum(verdict is not None for verdict in verdicts)
    yield sum(verdict is True for verdict in verdicts)


def _total(name: str, scores: list[Score]) -> Score:
    return Score(name, *(sum(getattr(each, part) for each in scores) for part in ("questions", "covered", "right")))
