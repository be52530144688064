"""The baselines of a language model: n-grams of what it learned from, measured on what the model is."""

from collections.abc import Callable, Sequence
from typing import Any

from rnncli.task import Rows, Script, Trained

MOST_TOKENS = 10_000_000
"""That n-grams are fitted on: they are held in memory."""


def ngrams(
    script: Script, *orders: int, of_letters: Sequence[int] = (), discounts: bool = False
) -> Callable[[Trained, Any], Rows]:
    """The baselines of a task with this text: n-grams of these orders, by the model's own numbers and vocabulary.

    `of_letters` are orders for models of single characters or bytes, in addition; `discounts` adds trigrams with one
    discount for all counts, nltk's default and the best on the training text. They raise as `Script.learned`.
    """

    def measured(trained: Trained, options: Any) -> Rows:
        from rnncli.language.ngrams import DISCOUNTS, KneserNey, best_discount

        training, held_out = _fitting(script, trained), list(script.judged(trained, options))
        size = len(trained.payload["vocabulary"])
        letters = of_letters if trained.payload["tokenizer"] in ("char", "bytes") else ()
        rows = {
            "unigram" if order == 1 else f"modified Kneser-Ney {order}-gram": KneserNey(training, order, size)
            for order in (*orders, *letters)
        }
        if discounts:
            best = best_discount(training, 3, size)
            for discount, why in ((DISCOUNTS[0], "nltk's default"), (best, "best on training lines")):
                row = f"Kneser-Ney trigram, discount {discount} ({why})"
                rows[row] = KneserNey(training, 3, size, discount)
        return {row: model.metrics(held_out) for row, model in rows.items()}

    return measured


def _fitting(script: Script, trained: Trained) -> list[Any]:
    """What a model learned from, by its own numbers: all of it, or the tokens that fit in memory."""
    found, left = [], MOST_TOKENS
    for ids in script.learned(trained, "leave --baselines out"):
        found.append(ids[:left])
        left -= len(found[-1])
        if not left:
            break
    return found
