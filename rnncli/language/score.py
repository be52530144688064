"""What all language models share that score texts: how likely a text is, and how surprising each of its tokens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rnncli.data.texts import GivenTexts
from rnncli.data.vocabulary import SPECIALS, UNKNOWN
from rnncli.errors import RnnError, UsageError
from rnncli.language.voices import label_number
from rnncli.settings import option
from rnncli.task import Action, Trained

EXAMPLE = 'rnn score "i love dogs and cats" "dogs love cats and i"'
RANKINGS = ("perplexity", "probability")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(GivenTexts):
    """What to score, and which text is the best."""

    label: str | None = option(None, "Score in this voice, of a model that learned several.")
    by: str = option(
        "perplexity", "Rank by perplexity a token, or by the probability of the whole text", choices=RANKINGS
    )


class Surprise(NamedTuple):
    """A token of a text, and how surprising it is after all before it."""

    token: str
    bits: float  # -log2 p
    unknown: bool = False  # the model does not know it: the bits are those of UNKNOWN


class Scored(NamedTuple):
    """How likely a text is to a model."""

    text: str
    tokens: list[Surprise]  # a sentence's END among them
    log_probability: float  # nats
    rank: int | None  # 1: the best of all that were given; None: no token is left of it

    @property
    def bits(self) -> float:
        """-log2 of the text's probability."""
        return -self.log_probability / math.log(2)

    @property
    def perplexity(self) -> float:
        """Exp of the nats a token; NaN where there is no token."""
        from rnncli.training.metrics import perplexity

        return perplexity(-self.log_probability / len(self.tokens)) if self.tokens else math.nan

    @property
    def unknown(self) -> list[str]:
        """The tokens that the model does not know, each once."""
        return list(dict.fromkeys(each.token for each in self.tokens if each.unknown))


def score(trained: Trained, options: ScoreOptions) -> list[Scored]:
    """Score texts in the order given; a line of a file without a token has no rank, and NaN for its figures.

    Raises UsageError for such a text that was given by itself, and as `GivenTexts.lines` and `label_number`; RnnError
    for a model whose scores are not numbers.
    """
    from rnncli.models.scoring import surprisals

    label, codec = label_number(trained, options.label), trained.codec
    split = [(text, codec.split(text)) for text in options.lines]
    for place, (_, tokens) in enumerate(split, start=1):
        if not tokens and options.file is None:
            raise UsageError(f"there is no word in text {place}")
    texts = [(text, tokens, [*codec.vocabulary.encode(tokens), *codec.closing]) for text, tokens in split if tokens]
    if not texts:
        raise UsageError(f"there is no word in {options.file}")
    costs = surprisals(trained.model, [[codec.opening, *numbers] for _, _, numbers in texts], label)
    scored = [
        _scored(text, [codec.units.shown(token) for token in tokens], numbers, nats.tolist())
        for (text, tokens, numbers), nats in zip(texts, costs, strict=True)
    ]
    if any(math.isnan(each.log_probability) for each in scored):
        raise RnnError(f"{trained.source} gives scores that are not numbers: nothing can be ranked by them")
    badness = [each.perplexity if options.by == "perplexity" else each.bits for each in scored]
    order = sorted(range(len(scored)), key=lambda place: badness[place])
    for rank, place in enumerate(order, start=1):
        scored[place] = scored[place]._replace(rank=rank)
    following = iter(scored)
    return [next(following) if tokens else Scored(text, [], math.nan, None) for text, tokens in split]


def _scored(text: str, tokens: Sequence[str], numbers: Sequence[int], nats: Sequence[float]) -> Scored:
    written = [*tokens, *(SPECIALS[number] for number in numbers[len(tokens) :])]
    surprises = [
        Surprise(token, cost / math.log(2), number == UNKNOWN)
        for token, number, cost in zip(written, numbers, nats, strict=True)
    ]
    return Scored(text, surprises, -math.fsum(nats), rank=None)


SCORE = Action(ScoreOptions, score, EXAMPLE)
"""The action `score` of all language models."""
