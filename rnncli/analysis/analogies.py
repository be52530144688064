"""Analogies, a - b + c = ?, one at a time or thousands of them, by three metrics; and files of questions.

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
"""The distances that the book shows."""
RESTRICT = 300_000
"""Words that questions are asked among, as in the word2vec programs: the commonest of a long list."""
_VARIANTS = 5
_SCORES_AT_ONCE = 1 << 25


@dataclass(frozen=True)
class Category:
    """Questions of one kind: four words each, the second to the first as the fourth to the third."""

    name: str
    questions: list[tuple[str, ...]]

    @property
    def is_syntactic(self) -> bool:
        """Whether they ask for grammar; Mikolov's file names those `gram…`."""
        return self.name.startswith("gram")


@dataclass(frozen=True)
class Score:
    """How many questions there are, how many are covered (all four words have vectors), and how many were right."""

    name: str
    questions: int
    covered: int
    right: int

    @property
    def metrics(self) -> dict[str, Any]:
        """The same as metrics; accuracy is over the covered questions."""
        return {
            "questions": self.questions,
            "covered": self.covered,
            "right": self.right,
            "accuracy": self.right / self.covered if self.covered else None,
            "coverage": self.covered / self.questions if self.questions else None,
        }


def solve(vectors: WordVectors, a: str, b: str, c: str, metric: str, top: int) -> list[Near]:
    """What a - b + c comes to: the best words first, the three asked about left out.

    euclidean: the distance to x_a - x_b + x_c; cosine: the similarity with the sum of the unit vectors (3CosAdd);
    3cosmul: cos(w, a) cos(w, c) / cos(w, b), all moved into 0..1 (Levy and Goldberg 2014). Raises UsageError as
    `WordVectors.rows`, for another metric, and where there are no other words.
    """
    if metric not in METRICS:
        raise UsageError(f"--metric must be one of {', '.join(METRICS)}, not {metric!r}")
    asked = np.array([vectors.rows([a, b, c])])
    scores = _scores(vectors, asked, metric)
    places = _best(scores, asked, top)[0]
    found = [(vectors.words[place], float(scores[0, place])) for place in places if scores[0, place] > -np.inf]
    if not found:
        raise UsageError("there is no word but those asked about: take vectors of more words")
    if metric == "euclidean":
        return [Near(word, float(np.sqrt(max(0.0, -score)))) for word, score in found]
    return [Near(word, score) for word, score in found]


def questions_of(spec: str) -> list[Category]:
    """The questions of toyworld's own relations, of a registered corpus or of a file; raises as `load_corpus`."""
    if spec == "toyworld":
        return parse(toyworld.questions(), spec)
    corpus = load_corpus(spec)
    return parse(corpus.text, corpus.origin)


def parse(text: str, origin: str) -> list[Category]:
    """Questions from text: `: name` begins a category, every other line that is not blank has four words.

    Raises RnnError for any other line, and where there is no question.
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
        raise RnnError(f"{origin} holds no question: lines of four words, below lines such as `: family`")
    return found


def evaluate(
    vectors: WordVectors, categories: list[Category], metric: str, restrict: int = RESTRICT, fold_case: bool = True
) -> list[Score]:
    """How many questions come out right: every category, then the semantic, the syntactic and all together.

    Answers are sought among the `restrict` first words. With `fold_case` spellings that differ in case alone are one
    word, the first of them having its vector, and none of those asked about can be the answer, as in the word2vec
    programs. Questions with a word that has no vector are not covered.
    """
    scores = [
        Score(each.name, len(each.questions), *_counted(judge(vectors, each, metric, restrict, fold_case)))
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


def judge(
    vectors: WordVectors, category: Category, metric: str, restrict: int = RESTRICT, fold_case: bool = True
) -> list[bool | None]:
    """For each question whether its fourth word comes out first, or None where it is not covered."""
    vectors = vectors.first(restrict)
    numbers: dict[str, int] = {}
    groups = np.array([numbers.setdefault(_folded(w, fold_case), row) for row, w in enumerate(vectors.words)])
    rows = [[numbers.get(_folded(word, fold_case), -1) for word in words] for words in category.questions]
    verdicts: list[bool | None] = [None] * len(rows)
    covered = [place for place, row in enumerate(rows) if -1 not in row]
    size = max(1, _SCORES_AT_ONCE // len(vectors.words))
    for begin in range(0, len(covered), size):
        places = covered[begin : begin + size]
        asked = np.array([rows[place] for place in places])
        # The file's a : b = c : d asks for b - a + c.
        found = _first_fresh(_scores(vectors, asked[:, [1, 0, 2]], metric), asked[:, :3], groups)
        for place, right in zip(places, found == asked[:, 3], strict=True):
            verdicts[place] = bool(right)
    return verdicts


def _folded(word: str, fold_case: bool) -> str:
    return word.upper() if fold_case else word


def _scores(vectors: WordVectors, asked: "NDArray[np.int64]", metric: str) -> "NDArray[np.float32]":
    """How well each word answers a - b + c, for the rows of a, b and c (N, 3): (N, V), the greater the better."""
    a, b, c = asked.T
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
    """The places of the greatest scores (N, top), greatest first; the barred ones (N, 3) are made -inf."""
    np.put_along_axis(scores, banned, -np.inf, 1)
    top = min(top, scores.shape[1])
    places = np.argpartition(-scores, top - 1, 1)[:, :top]
    order = np.argsort(-np.take_along_axis(scores, places, 1), 1, kind="stable")
    return np.take_along_axis(places, order, 1)


def _first_fresh(
    scores: "NDArray[np.float32]", asked: "NDArray[np.int64]", groups: "NDArray[np.int64]"
) -> "NDArray[np.int64]":
    """The best group of spellings (N,) that none of the words asked about (N, 3) is of; -1 where there is none.

    Looked for among the few best words, as gensim does; the scores of those passed over are made -inf.
    """
    np.put_along_axis(scores, asked, -np.inf, 1)
    answers, left = np.full(len(scores), -1), np.arange(len(scores))
    for _ in range(_VARIANTS):
        best = (scores if len(left) == len(scores) else scores[left]).argmax(1)
        found = groups[best]
        fresh = (found[:, None] != asked[left]).all(1)
        answers[left[fresh]] = found[fresh]
        left, best = left[~fresh], best[~fresh]
        scores[left, best] = -np.inf
    return answers


def _counted(verdicts: list[bool | None]) -> Iterator[int]:
    yield sum(verdict is not None for verdict in verdicts)
    yield sum(verdict is True for verdict in verdicts)


def _total(name: str, scores: list[Score]) -> Score:
    return Score(name, *(sum(getattr(each, part) for each in scores) for part in ("questions", "covered", "right")))
