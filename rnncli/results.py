"""The results of the verbs for texts: tasks fill them in, the API returns them, the command line prints them."""

import math
from typing import NamedTuple


class Influence(NamedTuple):
    """A word and its influence: the drop of the label's log-odds without it, in nats."""

    word: str
    by: float


class Classified(NamedTuple):
    """A text with its label, the probability of each label, and influential words; a blank line has no label."""

    text: str
    label: str | None
    probs: dict[str, float]
    words: list[Influence]

    @property
    def probability(self) -> float:
        """The probability of the label; NaN without a label."""
        return math.nan if self.label is None else self.probs[self.label]


class Tagged(NamedTuple):
    """A word with its label and the label's probability."""

    word: str
    label: str
    probability: float


class Translation(NamedTuple):
    """A translation with its score and attention."""

    text: str
    log_probability: float  # nats
    score: float  # normalised by length
    tokens: list[str]  # END last
    source_tokens: list[str]  # END last
    attention: list[list[float]]  # weights of each token on each source token; empty without attention
