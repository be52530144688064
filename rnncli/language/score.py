"""Score texts by a language model: the probability of a text, and the surprisal of each of its tokens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rnncli.data.texts import GivenTexts
from rnncli.data.vocabulary import SPECIALS, UNKNOWN
from rnncli.errors import RnnError, UsageError
from rnncli.language.voices import label_number
from rnncli.results import brief
from rnncli.settings import option
from rnncli.task import Action, Trained

EXAMPLE = 'rnn score "i love dogs and cats" "dogs love cats and i"'
RANKINGS = ("perplexity", "probability")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(GivenTexts):
    """The texts to score, and how to rank them."""

    label: str | None = option(None, "Score in this voice, for a model with several.")
    by: str = option(
        "perplexity", "Rank by perplexity per token, or by the probability of the whole text", choices=RANKINGS
    )


class Surprise(NamedTuple):
    """A token of a text, and its surprisal given all tokens before it."""

    token: str
    bits: float  # -log2 p
    unknown: bool = False  # whether the model does not know it; the bits are then those of UNKNOWN


class Scored(NamedTuple):
    """The score of a text."""

    text: str
    tokens: list[Surprise]  # including a sentence's END
    log_probability: float  # nats
    rank: int | None  # 1: the best of the texts; None: it has no token

    @property
    def bits(self) -> float:
        """-log2 of the text's probability."""
        return -self.log_probability / math.log(2)

    @property
    def perplexity(self) -> float:
        """Exp of the mean nats per token; NaN without tokens."""
        from rnncli.training.metrics import perplexity

        return perplexity(-self.log_probability / len(self.tokens)) if self.tokens else math.nan

    def __repr__(self) -> str:
        return f"Scored({brief(self.text)}, bits={self.bits:.2f}, perplexity={self.perplexity:.2f}, rank={self.rank})"

    @property
    def unknown(self) -> list[str]:
        """The distinct tokens that the model does not know."""
        return list(dict.fromkeys(each.token for each in self.tokens if each.unknown))


def score(trained: Trained, options: ScoreOptions) -> list[Scored]:
    """Score texts in the order given; a line of a file without a token has no rank, and its figures are NaN.

    Raises UsageError for any other text without a token, and as `GivenTexts.lines` and `label_number`; RnnError
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
        raise RnnError(
            f"{trained.source} gives scores that are not numbers: train it again, or load another checkpoint"
        )
    costs_by_rank = [each.perplexity if options.by == "perplexity" else each.bits for each in scored]
    order = sorted(range(len(scored)), key=lambda place: costs_by_rank[place])
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
