"""Simple models on the very same data: what a recurrent net has to beat; `BASELINES` names them by task."""

from collections.abc import Callable
from typing import Any

from rnncli.data.vocabulary import Vocabulary
from rnncli.tasks import poetry_lm
from rnncli.tasks.base import Trained

Rows = dict[str, dict[str, float]]
"""A baseline's name -> its metrics."""


def of_poetry(trained: Trained, options: poetry_lm.EvaluateOptions) -> Rows:
    """N-grams fitted on the model's own training lines, over its own vocabulary, measured on the same lines as it."""
    from rnncli.analysis.ngrams import DISCOUNTS, KneserNeyModel, best_discount, unigram

    vocabulary = Vocabulary(tuple(trained.payload["vocabulary"]))
    training, held_out = (
        [vocabulary.decode(vocabulary.encode(line)) for line in lines]
        for lines in (poetry_lm.training_verse(trained).training, poetry_lm.evaluation_lines(trained, options))
    )
    rows = {"unigram": unigram(training, held_out)}
    for discount, why in ((DISCOUNTS[0], "nltk's default"), (best_discount(training), "best on training lines")):
        row = f"Kneser-Ney trigram, discount {discount} ({why})"
        rows[row] = KneserNeyModel(training, discount).metrics(held_out)
    return rows


BASELINES: dict[str, Callable[[Trained, Any], Rows]] = {"poetry-lm": of_poetry}
