"""The baselines of a language model: n-grams fitted on its training text and measured on its evaluation text."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rnncli.task import Rows, TokenAccess, Trained

MAX_TOKENS = 10_000_000
"""Maximum number of tokens that n-grams are fitted on, because they are held in memory."""


@dataclass(frozen=True)
class NGrams:
    """N-grams of several orders over the model's token ids.

    `char_orders` are additional orders for models of characters or bytes. `discounts` adds trigrams with a single
    discount: nltk's default, and the best on the training text.
    """

    orders: tuple[int, ...] = (1, 3, 5)
    char_orders: tuple[int, ...] = ()
    discounts: bool = False

    def measure(self, text: TokenAccess, trained: Trained, options: Any) -> Rows:
        """Fit them on a model's training text, and measure them on its evaluation text.

        Raises as `TokenAccess.training_arrays`.
        """
        from rnncli.language.ngrams import DISCOUNTS, KneserNey, best_discount

        training = within_memory(text.training_arrays(trained, "leave --baselines out"))
        held_out = list(text.measured_arrays(trained, options))
        size = len(trained.payload["vocabulary"])
        letters = self.char_orders if trained.payload["tokenizer"] in ("char", "bytes") else ()
        rows = {
            "unigram" if order == 1 else f"modified Kneser-Ney {order}-gram": KneserNey(training, order, size)
            for order in (*self.orders, *letters)
        }
        if self.discounts:
            best = best_discount(training, 3, size)
            for discount, why in ((DISCOUNTS[0], "nltk's default"), (best, "best on training lines")):
                row = f"Kneser-Ney trigram, discount {discount} ({why})"
                rows[row] = KneserNey(training, 3, size, discount)
        return {row: model.metrics(held_out) for row, model in rows.items()}


def within_memory(arrays: Iterable[Any]) -> list[Any]:
    """Arrays of tokens: all of them, or the first `MAX_TOKENS` tokens."""
    found, left = [], MAX_TOKENS
    for ids in arrays:
        found.append(ids[:left])
        left -= len(found[-1])
        if not left:
            break
    return found
