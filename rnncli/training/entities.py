"""Entities marked by IOB labels, such as B-PER I-PER O: predicted ones compared with gold ones, as conlleval does."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

_IOB = re.compile(r"O|[BIESLU](-.+)?")


class Entity(NamedTuple):
    """Words that belong together, by number from `begin` to before `end`, and the kind of entity."""

    begin: int
    end: int
    kind: str


def is_iob(labels: Iterable[str]) -> bool:
    """Tell whether labels are IOB (1 or 2), IOBES or BILOU: all fit, and some have a kind or appear with O."""
    known = set(labels)
    marks = {label[:1] for label in known}
    fits = all(map(_IOB.fullmatch, known)) and bool(marks & {"B", "I"})
    return fits and (any("-" in label for label in known) or {"O", "B", "I"} <= known)


def entities(labels: Sequence[str]) -> set[Entity]:
    """Find the entities of a sentence.

    An entity begins with B, S or U, and where I, E or L follows an O, another kind, or an entity's end (E, L, S, U). So
    IOB1, where B only separates neighbours of a kind, is read correctly too (Tjong Kim Sang and Buchholz 2000,
    conlleval).
    """
    found = set[Entity]()
    begin, mark_before, kind_before = 0, "O", ""
    for place, label in enumerate([*labels, "O"]):
        mark, _, kind = label.partition("-")
        if mark in "IEL" and mark_before in "BI" and kind == kind_before:
            mark_before = mark
            continue
        if mark_before != "O":
            found.add(Entity(begin, place, kind_before))
        begin, mark_before, kind_before = place, mark, kind
    return found


class Tally(NamedTuple):
    """Counts of gold entities, of predicted ones, and of those that match in extent and kind."""

    right: int
    found: int
    both: int

    @property
    def figures(self) -> dict[str, float]:
        """Precision, recall and their harmonic mean F1; 0 for a division by zero."""
        return {
            "precision": self.both / self.found if self.found else 0.0,
            "recall": self.both / self.right if self.right else 0.0,
            "f1": 2 * self.both / (self.found + self.right) if self.found + self.right else 0.0,
        }


def entity_metrics(right: Sequence[Sequence[str]], given: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Compute precision, recall and F1 of all entities, and the same by kind with counts as `entities`.

    `right` and `given` are the labels of the same sentences.
    """
    right_of, found_of, both_of = Counter[str](), Counter[str](), Counter[str]()
    for answers, guesses in zip(right, given, strict=True):
        wanted, found = entities(answers), entities(guesses)
        for counts, some in ((right_of, wanted), (found_of, found), (both_of, wanted & found)):
            counts.update(entity.kind for entity in some)
    overall = Tally(right_of.total(), found_of.total(), both_of.total()).figures
    tallies = {kind: Tally(right_of[kind], found_of[kind], both_of[kind]) for kind in sorted({*right_of, *found_of})}
    by_kind = {kind: {**tally.figures, "right": tally.right, "found": tally.found} for kind, tally in tallies.items()}
    return {**{f"entity_{name}": value for name, value in overall.items()}, "entities": by_kind}
