"""The results of the verbs: tasks fill them in, the API returns them, the command line prints them."""

import math
from collections.abc import Mapping
from html import escape
from typing import NamedTuple


def brief(text: str, width: int = 60) -> str:
    """The beginning of a text, as Python writes it."""
    return repr(text if len(text) <= width else f"{text[: width - 1]}…")


class Evaluation(dict[str, float]):
    """Metrics by name; `details` has what is not a number, such as the confusion matrix, which `[...]` finds too."""

    def __init__(self, metrics: Mapping[str, object]) -> None:
        numbers = {name: math.nan if value is None else value for name, value in metrics.items()}
        super().__init__({name: value for name, value in numbers.items() if isinstance(value, int | float)})
        self.details = {name: value for name, value in metrics.items() if name not in self}

    def __missing__(self, name: str) -> object:
        return self.details[name]

    def __repr__(self) -> str:
        return f"Evaluation({', '.join(f'{name}={value}' for name, value in self._shown().items())})"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{escape(name)}</td><td>{value}</td></tr>" for name, value in self._shown().items())
        return f"<table>{rows}</table>"

    def _shown(self) -> dict[str, str]:
        """The metrics as people read them: counts whole, all others with four digits."""
        return {name: str(value) if isinstance(value, int) else f"{value:.4g}" for name, value in self.items()}


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

    def __repr__(self) -> str:
        return f"Classified({brief(self.text)}, label={self.label!r}, probability={self.probability:.3f})"


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
    unknown: list[str]  # tokens of the source that the model does not know

    def __repr__(self) -> str:
        return f"Translation({brief(self.text)}, score={self.score:.4g}, {len(self.tokens)} tokens)"
