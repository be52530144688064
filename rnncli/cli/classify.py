"""`rnn classify`: the label of a text, its probability, and the words that moved the decision."""

import math
from typing import Any

from rnncli.cli.actions import Work, command_for, example_of
from rnncli.cli.screen import note, origin, print_json, print_styled, print_text
from rnncli.cli.verb import Verb
from rnncli.results import Classified

METHOD = "erasure"
STRONG = 1.0
"""Nats of log-odds at which a word has its full colour."""


def classify(work: Work, as_json: bool) -> None:
    """Label a text, or every line of a file; the words that moved the decision are coloured."""
    trained = work.trained
    found: list[Classified] = work.do()
    labelled = [each for each in found if each.label is not None]
    together = _together(labelled)
    if as_json:
        texts = [_facts(each) for each in found]
        print_json({"checkpoint": str(trained.source), "method": METHOD, "texts": texts, "together": together})
        return
    note(origin(trained))
    for each in found:
        _show(each)
    if len(labelled) > 1:
        print_text(f"all {len(labelled):,} together: {together['label']} {together['probability']:.3f}")
    note(f"+ and -: nats of log-odds that the label loses without the word ({METHOD})")


def _together(found: list[Classified]) -> dict[str, Any]:
    """The label of all texts together, by the sums of their log-probabilities."""
    sums = {label: sum(math.log(max(each.probs[label], 1e-12)) for each in found) for label in found[0].probs}
    best = max(sums.values())
    odds = {label: math.exp(value - best) for label, value in sums.items()}
    probs = {label: value / sum(odds.values()) for label, value in odds.items()}
    label = max(probs, key=lambda each: probs[each])
    return {"label": label, "probability": probs[label], "probabilities": probs}


def _facts(found: Classified) -> dict[str, Any]:
    return {
        "text": found.text,
        "label": found.label,
        "probability": found.probability,
        "probabilities": found.probs,
        "words": [{"word": word, "moved": by} for word, by in found.words],
    }


def _show(found: Classified) -> None:
    """Print the label, its probability, the words coloured by their effect, and the three with the greatest effect."""
    if found.label is None:
        print_text()
        return
    line = [(f"{found.label} {found.probability:.3f}  ", "bold")]
    for word, by in found.words:
        line += [(word, _colour(by)), (" ", "")]
    strongest = sorted(found.words, key=lambda moved: -abs(moved.by))[:3]
    line.append(("  " + ", ".join(f"{word} {by:+.2f}" for word, by in strongest if len(found.words) > 1), "dim"))
    print_styled(line)


def _colour(by: float) -> str:
    """Green for a word that supports the label, red for a word against it; stronger for a greater effect."""
    strength = round(80 + 150 * min(1.0, abs(by) / STRONG))
    if abs(by) < 0.05:
        return ""
    return f"bold rgb(0,{strength},60)" if by > 0 else f"bold rgb({strength},40,40)"


VERB = Verb(command_for("classify", classify), example_of("classify"))
