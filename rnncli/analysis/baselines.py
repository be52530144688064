"""Simple models on the very same data: what a recurrent net has to beat; `BASELINES` names them by task."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rnncli.data.splitting import words_of
from rnncli.data.tagging import tags_of
from rnncli.errors import RnnError, UsageError
from rnncli.labelling.settings import LabelledOptions
from rnncli.task import Trained
from rnncli.tasks import TASKS, char_lm, poetry_classify, poetry_lm, tag, wiki_lm
from rnncli.training.entities import entity_metrics, is_iob

Rows = dict[str, dict[str, Any]]
"""A baseline's name -> its metrics."""


MOST_TOKENS = 10_000_000
"""That n-grams are fitted on: they are held in memory."""


def of_poetry(trained: Trained, options: poetry_lm.EvaluateOptions) -> Rows:
    """N-grams of words, line by line."""
    from rnncli.analysis.ngrams import DISCOUNTS, KneserNey, best_discount

    training, held_out = _learned(trained), poetry_lm.judged_tokens(trained, options)
    rows = _ngrams(trained, training, held_out, (1, 3))
    size = len(trained.payload["vocabulary"])
    best = best_discount(training, 3, size)
    for discount, why in ((DISCOUNTS[0], "nltk's default"), (best, "best on training lines")):
        row = f"Kneser-Ney trigram, discount {discount} ({why})"
        rows[row] = KneserNey(training, 3, size, discount).metrics(held_out)
    return rows


def of_prose(trained: Trained, options: wiki_lm.EvaluateOptions) -> Rows:
    """N-grams of words, sentence by sentence."""
    return _ngrams(trained, _learned(trained), wiki_lm.judged_tokens(trained, options), (1, 3, 5))


def of_characters(trained: Trained, options: char_lm.EvaluateOptions) -> Rows:
    """N-grams of whatever tokens the model reads, over running text."""
    orders = (1, 3, 5, 7) if trained.payload["tokenizer"] in ("char", "bytes") else (1, 3, 5)
    return _ngrams(trained, _learned(trained), char_lm.judged_tokens(trained, options), orders)


def _learned(trained: Trained) -> list[Any]:
    """What a language model learned from, by its own numbers: all of it, or the tokens that fit in memory."""
    script = TASKS[trained.task].script
    assert script is not None, f"{trained.task} reads no text"
    found, left = [], MOST_TOKENS
    for ids in script.learned(trained, "leave --baselines out"):
        found.append(ids[:left])
        left -= len(found[-1])
        if not left:
            break
    return found


def _ngrams(trained: Trained, training: Sequence[Any], held_out: Sequence[Any], orders: Sequence[int]) -> Rows:
    """N-grams fitted on what the model learned from, over its own vocabulary, measured on what it is."""
    from rnncli.analysis.ngrams import KneserNey

    size = len(trained.payload["vocabulary"])
    names = {order: "unigram" if order == 1 else f"modified Kneser-Ney {order}-gram" for order in orders}
    return {name: KneserNey(training, order, size).metrics(held_out) for order, name in names.items()}


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
        if classical.has_hmm():
            inputs["HMM a label, tags"] = tags, classical.hidden_markov
        else:
            found["HMM a label, tags: hmmlearn is not installed"] = {}
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
        given = list(map(learn(training), asked.words))
        hits = [
            hit == label for pair in zip(given, asked.labels, strict=True) for hit, label in zip(*pair, strict=True)
        ]
        right_of_new = sum(hit for hit, is_new in zip(hits, new, strict=True) if is_new)
        found[name] = {"accuracy": sum(hits) / len(hits), "new_word_accuracy": right_of_new / max(1, sum(new))}
        if is_iob(trained.payload["classes"]):
            found[name] |= entity_metrics(asked.labels, given)
    return found


BASELINES: dict[str, Callable[[Trained, Any], Rows]] = {
    "poetry-lm": of_poetry,
    "wiki-lm": of_prose,
    "char-lm": of_characters,
    "poetry-classify": of_poetry_classify,
    "tag": of_tag,
}


def beside(trained: Trained, options: Any, metrics: Mapping[str, Any]) -> Rows:
    """The baselines of a task, measured on what its model was, with the bits a character that its metrics have."""
    rows = BASELINES[trained.task](trained, options)
    if "bits_per_char" in metrics:  # all are asked for the same tokens
        rows = {
            name: {**row, "bits_per_char": row["loss"] * metrics["bits_per_char"] / metrics["loss"]}
            for name, row in rows.items()
        }
    return rows
