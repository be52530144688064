"""Decoding options: each is declared once here, with what it makes of a model's scores, for flags, server and search.

Shapes: B streams, V words. Nothing imports torch until a score is there.
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
"""Below the one temperature only the likeliest token is left, as at 0; above the other all are alike."""


class Past:
    """What one stream has read and written, and what followed each of its (n-1)-grams."""

    def __init__(self, n: int, tokens: Iterable[int] = ()) -> None:
        self.n, self.tokens = n, list[int]()
        self._followers = dict[tuple[int, ...], frozenset[int]]()
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        """One token more."""
        self.tokens.append(token)
        if 0 < self.n <= len(self.tokens):
            *context, last = self.tokens[-self.n :]
            before = tuple(context)
            self._followers[before] = self._followers.get(before, frozenset()) | {last}

    def grown(self, token: int) -> "Past":
        """Another past, with one token more."""
        other = self.copy()
        other.add(token)
        return other

    def copy(self) -> "Past":
        """The same, to go on by itself."""
        other = Past(self.n)
        other.tokens, other._followers = self.tokens.copy(), self._followers.copy()
        return other

    @property
    def repeats(self) -> frozenset[int]:
        """The tokens that would end an n-gram which was there already."""
        if not 0 < self.n <= len(self.tokens) + 1:
            return frozenset()
        return self._followers.get(tuple(self.tokens[len(self.tokens) - self.n + 1 :]), frozenset())


Processor = Callable[["Tensor", "Sampling", Sequence[Past]], "Tensor"]
"""Scores (B, V), the values of all options, and the past of each stream, if any option looks back -> other scores."""


@dataclass(frozen=True)
class DecodingOption:
    """A number that a user can set of decoding, and what it makes of a model's scores.

    The default changes nothing: its processor is not called. A processor takes logits and gives logits, or takes the
    `probabilities` that they become and gives rows that sum to 1. Options without a processor are read by the
    processors of others.
    """

    default: float  # an int for an option of whole numbers
    help: str
    process: Processor | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)  # as `rnncli.settings.option` takes them
    probabilities: bool = False
    looks_back: bool = False  # whether the processor reads the pasts
    searches: bool = False  # whether beam search uses it too, on log-probabilities; others only serve drawing

    def __post_init__(self) -> None:
        if self.searches and self.probabilities:
            raise ValueError("beam search has no probabilities to process: process logits")


class Sampling:
    """Values of decoding options, and the processors of those that are not at their defaults.

    Processors of logits that look back act first, then those of other logits, then those of probabilities; each kind
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
        """A stream's past that begins with some tokens."""
        return Past(self["no_repeat"], tokens)

    def probabilities(self, logits: "Tensor", pasts: Sequence[Past]) -> "Tensor":
        """The distribution (B, V) that the processors make of logits (B, V)."""
        for process in self._of_logits:
            logits = process(logits, self, pasts)
        probs = logits.softmax(-1)
        for process in self._of_probabilities:
            probs = process(probs, self, pasts)
        return probs

    def searched(self, scores: "Tensor", pasts: Sequence[Past]) -> "Tensor":
        """Log-probabilities (B, V) after the processors that serve beam search."""
        for process in self._of_search:
            scores = process(scores, self, pasts)
        return scores


def token_probabilities(logits: "Tensor", sampling: Sampling, banned: "Tensor", pasts: Sequence[Past] = ()) -> "Tensor":
    """The distribution (B, V) that the next token is drawn from, given logits (B, V) and the tokens (N,) never to draw.

    The options act in the order that `Sampling` has; each cuts what the one before has left, and one token at least
    always stays. `pasts` is of each stream, for options that look back. What the barred tokens had is shared by all
    others, END too: words nearer to a line's end are rarer, and of measured ways this one comes closest to the length
    of real lines.
    """
    return sampling.probabilities(logits.index_fill(-1, banned, -float("inf")), pasts)


def draw(probs: "Tensor", generator: "torch.Generator") -> "Tensor":
    """Draw from each row of shares (B, V) what `torch.multinomial` draws, in half its time: nothing is checked.

    The first of exponential clocks that run as fast as the shares are large (Gumbel 1954) strikes.
    """
    import torch

    return (probs / torch.empty_like(probs).exponential_(generator=generator)).argmax(-1)


def _penalized(logits: "Tensor", sampling: Sampling, pasts: Sequence[Past]) -> "Tensor":
    """Divide the logits of what stands in the window by the penalty; negative ones are multiplied, to sink as well.

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
    """Scores (B, V) with -inf for what would end an n-gram of the stream's past; untouched where nothing were left.

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
    """Logits over the temperature, at most 0, so that no temperature overflows; at 0 only the likeliest is left."""
    temperature: float = sampling["temperature"]
    if temperature < MIN_TEMPERATURE:
        best = logits.argmax(-1, keepdim=True)
        return logits.new_full(logits.shape, -float("inf")).scatter_(-1, best, 0.0)
    return (logits - logits.amax(-1, keepdim=True)) / min(temperature, MAX_TEMPERATURE)


def _top(logits: "Tensor", sampling: Sampling, _: Sequence[Past]) -> "Tensor":
    """Leave the k greatest logits of each row, and what equals the least of them; Fan et al. 2018, arXiv:1805.04833."""
    k = sampling["top_k"]
    if k >= logits.shape[-1]:
        return logits
    smallest = logits.topk(k, dim=-1).values[:, -1:]
    return logits.masked_fill(logits < smallest, -float("inf"))


def _nucleus(probs: "Tensor", sampling: Sampling, _: Sequence[Past]) -> "Tensor":
    """Leave the likeliest words of each row that together reach p, and share it all among them.

    Holtzman et al. 2020, arXiv:1904.09751.
    """
    import torch

    p = sampling["top_p"]
    if p >= 1:
        return probs
    ordered, places = probs.sort(dim=-1, descending=True)
    beyond = ordered.cumsum(-1) - ordered >= p
    beyond[:, 0] = False
    ordered = ordered.masked_fill(beyond, 0.0)
    kept = torch.zeros_like(probs).scatter_(-1, places, ordered)
    return kept / kept.sum(-1, keepdim=True)


def _likely(probs: "Tensor", sampling: Sampling, _: Sequence[Past]) -> "Tensor":
    """Leave the words of each row that have at least p times the share of the likeliest one.

    Nguyen et al. 2024, arXiv:2407.01082.
    """
    kept = probs.masked_fill(probs < sampling["min_p"] * probs.amax(-1, keepdim=True), 0.0)
    return kept / kept.sum(-1, keepdim=True)


DECODING: Registry[DecodingOption] = Registry(
    "rnncli.decoding",
    DecodingOption,
    {
        "temperature": DecodingOption(
            1.0, "Below 1: safer; above: bolder; 0: always the likeliest.", _tempered, {"least": 0}
        ),
        "top_k": DecodingOption(0, "Draw from the k likeliest only; 0: from all.", _top, {"least": 0}),
        "top_p": DecodingOption(
            0.0,
            "Draw from the likeliest that together reach p; 0: from all.",
            _nucleus,
            {"least": 0, "most": 1},
            probabilities=True,
        ),
        "min_p": DecodingOption(
            0.0,
            "Draw from those at least p times as likely as the likeliest.",
            _likely,
            {"least": 0, "most": 1},
            probabilities=True,
        ),
        "repetition_penalty": DecodingOption(
            1.0, "Above 1: what the window holds becomes less likely.", _penalized, {"above": 0}, looks_back=True
        ),
        "repetition_window": DecodingOption(64, "Tokens that the penalty looks back.", limits={"least": 1}),
        "no_repeat": DecodingOption(
            0,
            "No so many tokens in a row are written twice; 0: they may be.",
            _without_repeats,
            {"least": 0},
            looks_back=True,
            searches=True,
        ),
    },
)
"""The options by name, in the order in which help and the live page show them; `top_k` is the flag `--top-k`."""

C = TypeVar("C")


def with_decoding(Options: type[C]) -> type[C]:
    """Declare a field for each decoding option in a class that becomes a dataclass; used below `@dataclass`."""
    fields = {name: each for name, each in DECODING.items() if not hasattr(Options, name)}
    Options.__annotations__ = {**Options.__annotations__, **{name: type(each.default) for name, each in fields.items()}}
    for name, each in fields.items():
        setattr(Options, name, option(each.default, each.help, **each.limits))
    return Options
