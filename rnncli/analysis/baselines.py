"""Simple models on the very same data: what a recurrent net has to beat; `BASELINES` names them by task."""

from collections.abc import Callable, Sequence
from typing import Any

from rnncli.data.tagging import tags_of, words_of
from rnncli.data.vocabulary import Vocabulary
from rnncli.errors import RnnError, UsageError
from rnncli.tasks import poetry_classify, poetry_lm, tag
from rnncli.tasks.base import Trained
from rnncli.tasks.labelling import LabelledOptions

Rows = dict[str, dict[str, Any]]
"""A baseline's name -> its metrics."""


def of_poetry(trained: Trained, options: poetry_lm.EvaluateOptions) -> Rows:
    """N-grams fitted on the model's own training lines, over its own vocabulary, measured on the same lines as it."""
    from rnncli.analysis.ngrams import DISCOUNTS, KneserNeyModel, best_discount, unigram

    vocabulary = Vocabulary(tuple(trained.payload["vocabulary"]))
    training, held_out = (
        [vocabulary.decode(vocabulary.encode(line.words)) for line in lines]
        for lines in (poetry_lm.training_verse(trained).training, poetry_lm.evaluation_lines(trained, options))
    )
    rows = {"unigram": unigram(training, held_out)}
    for discount, why in ((DISCOUNTS[0], "nltk's default"), (best_discount(training), "best on training lines")):
        row = f"Kneser-Ney trigram, discount {discount} ({why})"
        rows[row] = KneserNeyModel(training, discount).metrics(held_out)
    return rows


def of_poetry_classify(trained: Trained, options: LabelledOptions) -> Rows:
    """Simple classifiers on the same folds, each learning from the very texts that the net of the fold learned from.

    Those that can weigh labels do where the net does. Baselines on tags are left out where no tags can be had.
    """
    import torch

    from rnncli.analysis import classical

    classical.require()
    if options.corpus:
        raise UsageError("--baselines are measured on the folds of the training: leave --corpus out")
    divided = poetry_classify.evaluation(trained, options)
    weighted = trained.config.class_weights
    how = ", weighted" if weighted else ""
    texts = divided.data.texts
    inputs: dict[str, tuple[Sequence[Any], classical.Scorer]] = {
        "majority": (texts, classical.majority),
        "naive Bayes, words": (texts, classical.naive_bayes),
        f"linear SVM, characters 1-5{how}": (texts, classical.support_vectors(weighted)),
    }
    found: Rows = {}
    try:
        tags = tags_of([words_of(text) for text in texts])
        inputs["HMM a label, tags"] = tags, classical.hidden_markov
        inputs[f"logistic regression, tags 1-3{how}"] = tags, classical.logistic_regression(weighted)
    except RnnError as error:
        found[f"baselines on tags: {error}"] = {}
    answers, (rows, splits) = divided.answers, poetry_classify.held_out(divided)
    for name, (seen_as, scorer) in inputs.items():
        scores = torch.zeros(*divided.held.shape, len(divided.classes), dtype=torch.double)
        for split in splits.unique().tolist():
            seen = divided.seen(split).tolist()
            asked = rows[splits == split].tolist()
            learned = [seen_as[row] for row in seen], answers[seen].tolist()
            scores[asked, split] = torch.from_numpy(scorer(*learned, [seen_as[row] for row in asked])).double()
        found[name] = poetry_classify.measure(scores, divided)
        if "SVM" in name or "HMM" in name:
            del found[name]["loss"]  # no probabilities
    return found


def of_tag(trained: Trained, options: LabelledOptions) -> Rows:
    """Each word's commonest label, and NLTK's perceptron, learned from the very sentences the net learned from."""
    from rnncli.analysis import classical

    training = [list(zip(*pair, strict=True)) for pair in tag.training_split(trained).training.pairs]
    asked = tag.evaluation_sentences(trained, options)
    known = set(trained.payload["known"])
    new = [word.lower() not in known for words in asked.words for word in words]
    found: Rows = {}
    for name, learn in (("commonest tag", classical.commonest_tag), ("NLTK's perceptron", classical.perceptron)):
        tagger = learn(training)
        hits = [hit == label for words, labels in asked.pairs for hit, label in zip(tagger(words), labels, strict=True)]
        right_of_new = sum(hit for hit, is_new in zip(hits, new, strict=True) if is_new)
        found[name] = {"accuracy": sum(hits) / len(hits), "new_word_accuracy": right_of_new / max(1, sum(new))}
    return found


BASELINES: dict[str, Callable[[Trained, Any], Rows]] = {
    "poetry-lm": of_poetry,
    "poetry-classify": of_poetry_classify,
    "tag": of_tag,
}
