"""Decoding options, each declared once with its effect on a model's scores, for flags, server and beam search.

Shapes: B streams, V words. Nothing imports torch before there is a score.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from rnncli.plugins import Registry
from rnncli.settings import option

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-6, 1e6
"""Below the first, only the likeliest token remains, as at 0; above the second, all tokens are equally likely."""


class Past:
    """What one stream has read and written, and which tokens followed each of its (n-1)-grams."""

    def __init__(self, n: int, tokens: Iterable[int] = ()) -> None:
        self.n, self.tokens = n, list[int]()
        self._followers = dict[tuple[int, ...], frozenset[int]]()
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        """Append a token."""
        self.tokens.append(token)
        if 0 < self.n <= len(self.tokens):
            *context, last = self.tokens[-self.n :]
            before = tuple(context)
            self._followers[before] = self._followers.get(before, frozenset()) | {last}

    def grown(self, token: int) -> "Past":
        """Return another past with one more token."""
        other = self.copy()
        other.add(token)
        return other

    def copy(self) -> "Past":
        """Return an independent copy."""
        other = Past(self.n)
        other.tokens, other._followers = self.tokens.copy(), self._followers.copy()
        return other

    @property
    def repeats(self) -> frozenset[int]:
        """The tokens that would complete an n-gram which has already occurred."""
        if not 0 < self.n <= len(self.tokens) + 1:
            return frozenset()
        return self._followers.get(tuple(self.tokens[len(self.tokens) - self.n + 1 :]), frozenset())


Processor = Callable[["Tensor", "Sampling", Sequence[Past]], "Tensor"]
"""Scores (B, V), the values of all options, and each stream's past, if an option looks back -> new scores."""


@dataclass(frozen=True)
class DecodingOption:
    """A numeric decoding option that a user can set, and its effect on a model's scores.

    The default has no effect: its processor is not called. A processor maps logits to logits, or with `probabilities`
    it maps the distribution to rows that sum to 1. Other options' processors read the options that have none.
    """

    default: float  # an int for a whole-number option
    help: str
    process: Processor | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)  # as `rnncli.settings.option` takes them
    probabilities: bool = False
    looks_back: bool = False  # whether the processor reads the pasts
    searches: bool = False  # whether beam search uses it too, on log-probabilities

    def __post_init__(self) -> None:
        if self.searches and self.probabilities:
            raise ValueError("beam search processes no probabilities: process logits")


class Sampling:
    """Values of decoding options, and the processors of those that are not at their defaults.

    Processors of logits that look back run first, then those of other logits, then those of probabilities; each group
    in the order of `DECODING`.
    """

    def __init__(self, **values: float) -> None:
        self._values = {name: each.default for name, each in DECODING.items()} | values
        unknown = self._values.keys() - DECODING.keys()
        if unknown:
            raise TypeError(f"there is no decoding option {min(unknown)!r}")
        used = [each for name, each in DECODING.items() if each.process and self._values[name] != each.default]
        used.sort(key=lambda each: not each.looks_back)
        self.looks_back = any(each.looks_back for each in used)
        self._of_logits = [each.process for each in used if each.process and not each.probabilities]
        self._of_probabilities = [each.process for each in used if each.process and each.probabilities]
        self._of_search = [each.process for each in used if each.process and each.searches]

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __repr__(self) -> str:
        return f"Sampling({', '.join(f'{name}={value}' for name, value in self._values.items())})"

    def past(self, tokens: Iterable[int]) -> Past:
        """Return a stream's past that begins with some tokens."""
        return Past(self["no_repeat"], tokens)

    def probabilities(self, logits: "Tensor", pasts: Sequence[Past]) -> "Tensor":
        """Return the distribution (B, V) after all processors, from logits (B, V)."""
        for process in self._of_logits:
            logits = process(logits, self, pasts)
        probs = logits.softmax(-1)
        for process in self._of_probabilities:
            probs = process(probs, self, pasts)
        return probs

    def searched(self, scores: "Tensor", pasts: Sequence[Past]) -> "Tensor":
        """Return log-probabilities (B, V) after the processors that serve beam search."""
        for process in self._of_search:
            scores = process(scores, self, pasts)
        return scores


def token_probabilities(logits: "Tensor", sampling: Sampling, banned: "Tensor", pasts: Sequence[Past] = ()) -> "Tensor":
    """Return the distribution (B, V) of the next token, from logits (B, V) without the `banned` tokens (N,).

    The options apply in the order of `Sampling`; each cuts what the previous one left, and at least one token remains.
    `pasts` has one entry per stream, for options that look back. The probability of banned tokens is redistributed to
    all others, including END: words near a line's end are rarer, and of the measured methods this one comes closest to
    the length of real lines.
    """
    return sampling.probabilities(logits.index_fill(-1, banned, -float("inf")), pasts)


def draw(probs: "Tensor", generator: "torch.Generator") -> "Tensor":
    """Draw from each row of `probs` (B, V) as `torch.multinomial` does, in half its time: nothing is checked.

    Of exponential clocks whose rates are the probabilities, the first to strike wins (Gumbel 1954).
    """
    import torch

    return (probs / torch.empty_like(probs).exponential_(generator=generator)).argmax(-1)


def _penalized(logits: "Tensor", sampling: Sampling, pasts: Sequence[Past]) -> "Tensor":
    """Divide the logits of tokens in the window by the penalty; multiply negative ones, so that they sink too.

    Keskar et al. 2019, arXiv:1909.05858.
    """
    import torch

    penalty, window = sampling["repetition_penalty"], sampling["repetition_window"]
    cells = [(row, token) for row, past in enumerate(pasts) for token in set(past.tokens[-window:])]
    if not cells:
        return logits
    rows, tokens = torch.tensor(cells, device=logits.device).T
    seen = logits[rows, tokens]
    return logits.index_put((rows, tokens), torch.where(seen > 0, seen / penalty, seen * penalty))


def _without_repeats(scores: "Tensor", _: Sampling, pasts: Sequence[Past]) -> "Tensor":
    """Set scores (B, V) to -inf where a token would repeat an n-gram of the past; keep a row that would be empty.

    Paulus et al. 2017, arXiv:1705.04304.
    """
    import torch

    cells = [(row, token) for row, past in enumerate(pasts) for token in past.repeats]
    if not cells:
        return scores
    rows, tokens = torch.tensor(cells, device=scores.device).T
    cut = scores.index_put((rows, tokens), scores.new_tensor(-torch.inf))
    return cut.where((cut > -torch.inf).any(-1, keepdim=True), scores)


def _tempered(logits: "Tensor", sampling: Sampling, _: Sequence[Past]) -> "Tensor":
    """Divide logits by the temperature, shifted to at most 0 to avoid overflow; at 0 only the likeliest remains."""
    temperature: float = sampling["temperature"]
    if temperature < MIN_TEMPERATURE:
        best = logits.argmax(-1, keepdim=True)
        return logits.new_full(logits.shape, -float("inf")).scatter_(-1, best, 0.0)
    return (logits - logits.amax(-1, keepdim=True)) / min(temperature, MAX_TEMPERATURE)


def _top(logits: "Tensor", sampling: Sampling, _: Sequence[Past]) -> "Tensor":
    """Keep the k greatest logits of each row, and ties with the smallest of them; Fan et al. 2018, arXiv:1805.04833."""
    k = sampling["top_k"]
    if k >= logits.shape[-1]:
        return logits
    smallest = logits.topk(k, dim=-1).values[:, -1:]
    return logits.masked_fill(logits < smallest, -float("inf"))


def _nucleus(probs: "Tensor", sampling: Sampling, _: Sequence[Past]) -> "Tensor":
    """Keep the likeliest words of each row that together reach p, and renormalise.

    Holtzman et al. 2020, arXiv:1904.09751.
    """
    import torch

    p = sampling["top_p"]
    if p >= 1:
        return probs
    ordered, places = probs.sort(dim=-1, descending=True)
    beyond = ordered.cumsum(-1) - ordered >= p
    beyond[:, :1].zero_()
    ordered = ordered.masked_fill(beyond, 0.0)
    kept = torch.zeros_like(probs).scatter_(-1, places, ordered)
    return kept / kept.sum(-1, keepdim=True)


def _likely(probs: "Tensor", sampling: Sampling, _: Sequence[Past]) -> "Tensor":
    """Keep the words of each row with at least p times the likeliest one's probability, and renormalise.

    Nguyen et al. 2024, arXiv:2407.01082.
    """
    kept = probs.masked_fill(probs < sampling["min_p"] * probs.amax(-1, keepdim=True), 0.0)
    return kept / kept.sum(-1, keepdim=True)


DECODING: Registry[DecodingOption] = Registry(
    "rnncli.decoding",
    DecodingOption,
    {
        "temperature": DecodingOption(
            1.0, "Below 1: safer; above 1: bolder; 0: always the likeliest token.", _tempered, {"least": 0}
        ),
        "top_k": DecodingOption(0, "Draw only from the k likeliest tokens; 0: from all.", _top, {"least": 0}),
        "top_p": DecodingOption(
            0.0,
            "Draw from the likeliest tokens that together reach p; 0: from all.",
            _nucleus,
            {"least": 0, "most": 1},
            probabilities=True,
        ),
        "min_p": DecodingOption(
            0.0,
            "Draw from tokens at least p times as likely as the likeliest.",
            _likely,
            {"least": 0, "most": 1},
            probabilities=True,
        ),
        "repetition_penalty": DecodingOption(
            1.0, "Above 1: tokens in the window become less likely.", _penalized, {"above": 0}, looks_back=True
        ),
        "repetition_window": DecodingOption(64, "Length of the penalty's window, in tokens.", limits={"least": 1}),
        "no_repeat": DecodingOption(
            0,
            "Never repeat N tokens in a row; 0: allow repeats.",
            _without_repeats,
            {"least": 0},
            looks_back=True,
            searches=True,
        ),
    },
)
"""The options by name, in the order of help and live page; `top_k` is the flag `--top-k`."""

C = TypeVar("C")


def with_decoding(Options: type[C]) -> type[C]:
    """Add a field for each decoding option to a class that becomes a dataclass; used below `@dataclass`."""
    fields = {name: each for name, each in DECODING.items() if not hasattr(Options, name)}
    Options.__annotations__ = {**Options.__annotations__, **{name: type(each.default) for name, each in fields.items()}}
    for name, each in fields.items():
        setattr(Options, name, option(each.default, each.help, **each.limits))
    return Options
