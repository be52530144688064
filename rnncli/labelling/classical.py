"""The classifiers and taggers of `rnn evaluate --baselines`, which are not neural networks.

Most are scikit-learn's, which the extra `baselines` installs.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnncli.errors import RnnError
from rnncli.extras import need
from rnncli.labelling.hidden_markov import fit, log_likelihoods, random_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

Lines = Sequence[Sequence[str]]
Scorer = Callable[[Any, Sequence[int], Any], "NDArray[np.float64]"]
"""Learns from N texts and their label ids, and scores N' other texts: (N', K), greater is likelier."""


class Baseline(NamedTuple):
    """A simple classifier: its name, the texts as it reads them, and its scorer.

    Without a scorer, the name says what is missing.
    """

    name: str
    texts: Sequence[Any] = ()
    scorer: Scorer | None = None
    has_probabilities: bool = True


def baseline_classifiers(texts: Sequence[str], weighted: bool) -> Iterator[Baseline]:
    """Yield the classifiers for comparison; with `weighted`, those that support it give rare labels more weight.

    Classifiers of tags are left out if the tagger is unavailable. Raises RnnError if scikit-learn is not installed.
    """
    from rnncli.data.splitting import words_of
    from rnncli.data.tagging import tags_of

    need("sklearn", what="--baselines", extra="baselines")
    how = ", weighted" if weighted else ""
    yield Baseline("majority", texts, majority)
    yield Baseline("naive Bayes, words", texts, naive_bayes)
    yield Baseline(f"linear SVM, characters 1-5{how}", texts, support_vectors(weighted), has_probabilities=False)
    try:
        tags = tags_of([words_of(text) for text in texts])
    except RnnError as error:
        yield Baseline(f"baselines on tags: {error}")
        return
    yield Baseline("HMM per label, tags", tags, hidden_markov, has_probabilities=False)
    yield Baseline(f"logistic regression, tags 1-3{how}", tags, logistic_regression(weighted))


def majority(training: Sequence[Any], labels: Sequence[int], others: Sequence[Any]) -> "NDArray[np.float64]":
    """Label every text with the commonest label."""
    del training
    counts = np.bincount(labels).astype(float)
    return np.tile(np.log(counts / counts.sum()), (len(others), 1))


def naive_bayes(training: Sequence[str], labels: Sequence[int], others: Sequence[str]) -> "NDArray[np.float64]":
    """Multinomial naive Bayes over lower-case words."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    from rnncli.data.tokenizers import verse_words

    model = make_pipeline(CountVectorizer(analyzer=lambda text: verse_words(text) or [text]), MultinomialNB()).fit(
        training, labels
    )
    return np.asarray(model.predict_log_proba(others))


def logistic_regression(weighted: bool) -> Scorer:
    """Logistic regression over n-grams of one to three tags; with `weighted`, rare labels weigh more."""

    def scores(training: Lines, labels: Sequence[int], others: Lines) -> "NDArray[np.float64]":
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        grams = CountVectorizer(analyzer=lambda line: _grams(line, 3))
        model = make_pipeline(
            grams, LogisticRegression(max_iter=2000, class_weight="balanced" if weighted else None)
        ).fit(training, labels)
        return np.asarray(model.predict_log_proba(others))

    return scores


def support_vectors(weighted: bool) -> Scorer:
    """A linear support vector machine over n-grams of one to five characters (tf-idf)."""

    def scores(training: Sequence[str], labels: Sequence[int], others: Sequence[str]) -> "NDArray[np.float64]":
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline
        from sklearn.svm import LinearSVC

        grams = TfidfVectorizer(analyzer="char", ngram_range=(1, 5), sublinear_tf=True, lowercase=False)
        model = make_pipeline(grams, LinearSVC(class_weight="balanced" if weighted else None)).fit(training, labels)
        margins = np.asarray(model.decision_function(others))
        return np.stack([-margins, margins], axis=1) if margins.ndim == 1 else margins

    return scores


def hidden_markov(training: Lines, labels: Sequence[int], others: Lines) -> "NDArray[np.float64]":
    """One hidden Markov model of the tags per label, fitted by expectation-maximization, with label priors.

    Tags that do not occur in training share one additional symbol.
    """
    numbers = {tag: number for number, tag in enumerate(sorted({tag for line in training for tag in line}), start=1)}
    start = random_model(states=5, symbols=len(numbers) + 1, seed=0)

    def numbered(lines: Lines) -> list[list[int]]:
        return [[numbers.get(tag, 0) for tag in line] for line in lines]

    columns = []
    for label, prior in enumerate(np.bincount(labels) / len(labels)):
        own = [line for line, its in zip(training, labels, strict=True) if its == label]
        columns.append(log_likelihoods(fit(start, numbered(own)), numbered(others)) + np.log(prior))
    return np.array(columns).T


def _grams(line: Sequence[str], max_n: int) -> list[str]:
    return [" ".join(line[at : at + n]) for n in range(1, max_n + 1) for at in range(len(line) - n + 1)]


def commonest_tag(training: list[list[tuple[str, str]]]) -> Callable[[Sequence[str]], list[str]]:
    """A tagger that gives each word its most frequent label, and unknown words the most frequent label overall."""
    counts: dict[str, Counter[str]] = {}
    for sentence in training:
        for word, label in sentence:
            counts.setdefault(word, Counter())[label] += 1
    best = {word: its.most_common(1)[0][0] for word, its in counts.items()}
    fallback = sum(counts.values(), Counter[str]()).most_common(1)[0][0]
    return lambda words: [best.get(word, fallback) for word in words]


def perceptron(training: list[list[tuple[str, str]]]) -> Callable[[Sequence[str]], list[str]]:
    """NLTK's averaged perceptron tagger, trained from scratch in five passes."""
    import random

    from nltk.tag.perceptron import PerceptronTagger

    tagger: Any = PerceptronTagger(load=False)
    random.seed(0)  # it shuffles with the global generator
    tagger.train([list(sentence) for sentence in training], nr_iter=5)
    return lambda words: [label for _, label in tagger.tag(list(words))]
