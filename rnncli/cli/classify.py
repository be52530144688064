"""`rnn classify`: the label of a text, how sure the model is of it, and which words moved the decision."""

import math
from typing import Any

from rnncli.cli.options import Flags, command_of, with_stdin
from rnncli.cli.screen import AsJson, Device, From, load_model, note, origin, print_json, print_styled, print_text
from rnncli.cli.verb import Verb
from rnncli.tasks import TASKS

METHOD = "erasure"
STRONG = 1.0
"""Nats of log-odds at which a word's colour is full."""

_task = next(task for task in TASKS.values() if "classify" in task.uses)
_action = _task.uses["classify"]


def classify(flags: Flags, source: str | None, device: str, as_json: bool) -> None:
    """Label a text, or every line of a file; the words that moved the decision are coloured."""
    options = _action.Options(**with_stdin(flags))
    _ = options.lines  # refused before a model is loaded
    trained = load_model(source, _task.name, device)
    found = trained.action("classify").run(trained, options)
    labelled = [each for each in found if each.words]
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


def _together(found: list[Any]) -> dict[str, Any]:
    """The label of all texts as one, their log-probabilities summed."""
    sums = {label: sum(math.log(max(each.shares[label], 1e-12)) for each in found) for label in found[0].shares}
    most = max(sums.values())
    shares = {label: math.exp(value - most) for label, value in sums.items()}
    shares = {label: share / sum(shares.values()) for label, share in shares.items()}
    label = max(shares, key=lambda each: shares[each])
    return {"label": label, "probability": shares[label], "probabilities": shares}


def _facts(found: Any) -> dict[str, Any]:
    return {
        "text": found.text,
        "label": found.label,
        "probability": found.probability,
        "probabilities": found.shares,
        "words": [{"word": word, "moved": by} for word, by in found.words],
    }


def _show(found: Any) -> None:
    """The label and its probability, the words coloured by what they did, and the three that did most."""
    if not found.words:
        print_text()
        return
    line = [(f"{found.label} {found.probability:.3f}  ", "bold")]
    for word, by in found.words:
        line += [(word, _colour(by)), (" ", "")]
    most = sorted(found.words, key=lambda moved: -abs(moved.by))[:3]
    line.append(("  " + ", ".join(f"{word} {by:+.2f}" for word, by in most if len(found.words) > 1), "dim"))
    print_styled(line)


def _colour(by: float) -> str:
    """Green for a word that speaks for the label, red for one against it; the more, the stronger."""
    strength = round(80 + 150 * min(1.0, abs(by) / STRONG))
    if abs(by) < 0.05:
        return ""
    return f"bold rgb(0,{strength},60)" if by > 0 else f"bold rgb({strength},40,40)"


VERB = Verb(
    command_of(_action.Options, classify, source=(From, None), device=(Device, "auto"), as_json=(AsJson, False)),
    _action.example,
)
