"""`rnn score`: the probability of texts under a language model, best first, and the surprisal of each token."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rnncli.cli.actions import Work, command_for, example_of
from rnncli.cli.screen import in_colours, note, origin, print_json, print_styled, print_text
from rnncli.cli.verb import Verb
from rnncli.data.text import visible

if TYPE_CHECKING:
    from rnncli.language.score import Scored

SHADES = ((2.0, "green"), (5.0, ""), (8.0, "yellow"), (12.0, "red"), (math.inf, "bold white on red"))
"""Colours of tokens, each with the surprisal in bits that it ends at."""

MARK = "?"
"""The mark after a token that the model does not know."""


def score(work: Work, as_json: bool) -> None:
    """Score texts, or every line of a file, by a language model: best first, with the surprisal of each token."""
    trained, options = work.trained, work.options
    found: list[Scored] = work.do()
    if as_json:
        print_json({"checkpoint": str(trained.source), "by": options.by, "texts": [_facts(each) for each in found]})
        return
    note(origin(trained))
    ranked = sorted((each for each in found if each.rank), key=lambda each: each.rank or 0)
    _show(ranked, each_token=options.file is None)
    if len(ranked) < len(found):
        without = len(found) - len(ranked)
        note(f"{without:,} of {len(found):,} lines have no word that this model knows, and are left out")


def _facts(scored: "Scored") -> dict[str, Any]:
    return {
        "text": scored.text,
        "rank": scored.rank,
        "log_probability": scored.log_probability,
        "bits": scored.bits,
        "perplexity": scored.perplexity,
        "unknown": scored.unknown,
        "tokens": [token._asdict() for token in scored.tokens],
    }


def _show(ranked: "list[Scored]", each_token: bool) -> None:
    """Print one line per text: on a terminal with coloured tokens, elsewhere with their bits on the next line."""
    coloured = in_colours()
    print_text(f"{'rank':>4}  {'nats':>9}  {'bits':>9}  {'perplexity':>10}  text")
    for scored in ranked:
        figures = f"{scored.rank:>4}  {scored.log_probability:>9.2f}  {scored.bits:>9.2f}  {scored.perplexity:>10.4g}  "
        if coloured:
            print_styled(_in_colours(scored, figures))
            continue
        unknown = f"   unknown: {', '.join(map(visible, scored.unknown))}" if scored.unknown else ""
        print_text(figures + visible(scored.text) + unknown)
        if each_token:
            print_text(
                " " * 6
                + " ".join(f"{visible(each.token)}{MARK * each.unknown}:{each.bits:.1f}" for each in scored.tokens)
            )
    if coloured:
        print_styled(_legend())
    elif each_token:
        print_text(f"after each colon: the bits of the token; {MARK}: unknown to the model")


def _in_colours(scored: "Scored", figures: str) -> Iterator[tuple[str, str]]:
    letters = sum(len(each.token) for each in scored.tokens)
    glue = "" if letters >= len(scored.text) else " "  # words come without the blanks between them
    yield figures, ""
    for place, each in enumerate(scored.tokens):
        yield glue * (place > 0), ""
        yield visible(each.token, keep=" "), _style(each.bits, each.unknown)


def _style(bits: float, unknown: bool = False) -> str:
    colour = next((style for limit, style in SHADES if bits < limit), SHADES[-1][1])
    return f"{colour} underline".strip() if unknown else colour


def _legend() -> Iterator[tuple[str, str]]:
    """The legend of the colours."""
    lower = 0.0
    yield "bits per token: ", ""
    for limit, style in SHADES:
        yield f"{lower:g}-{limit:g}" if limit < math.inf else f"{lower:g} and more", style
        yield "  ", ""
        lower = limit
    yield "unknown", "underline"


VERB = Verb(command_for("score", score), example_of("score"))
