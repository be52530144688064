"""The results of verbs that work on texts: tasks fill them in, the API returns them, the command line prints them."""

import math
from typing import NamedTuple


class Moved(NamedTuple):
    """A word, and how much it moved the decision: nats that the label's log-odds lose without it."""

    word: str
    by: float


class Classified(NamedTuple):
    """A text with its label, the probability of each label, and what moved the decision; of a blank line, none."""

    text: str
    label: str | None
    probs: dict[str, float]
    words: list[Moved]

    @property
    def probability(self) -> float:
        """That of the label; NaN where there is none."""
        return math.nan if self.label is None else self.probs[self.label]


class Tagged(NamedTuple):
    """A word with its label, and the probability of that."""

    word: str
    label: str
    probability: float


class Translation(NamedTuple):
    """A translation, and what it hangs on."""

    text: str
    log_probability: float  # nats
    score: float  # by length
    tokens: list[str]  # END last
    source_tokens: list[str]  # END last
    attention: list[list[float]]  # of each token on each source token; empty without attention
