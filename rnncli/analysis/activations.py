"""Find units that track features of the text, such as quotation marks, by correlation (Karpathy et al. 2015).

Shapes: T tokens, U units of all states, F features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import normalize

import numpy as np

from rnncli.data.marks import JOINERS, is_mark
from rnncli.errors import UsageError
from rnncli.recording import Recording

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_DIFFERENT = 8
"""Tokens at which a feature must differ from its most frequent value; with fewer, correlations may be accidental."""

QUOTES = {'"': '"', "“": "”", "«": "»", "„": "“", "「": "」", "『": "』"}
OPENING, CLOSING = "([{", ")]}"

VOWELS = frozenset("aeiouαεηιουωаеиоуыэюяєі")
"""Vowels without their marks, of the Latin, Greek and Cyrillic scripts."""


class Unit(NamedTuple):
    """A unit, and the feature of the text that it follows most closely."""

    name: str  # c1:23 is unit 23 of the memory cells of layer 1
    tracks: str  # empty if the text has no feature
    r: float  # Pearson's correlation with it; for yes/no features the point-biserial correlation


@dataclass(frozen=True)
class Ranking:
    """All units by their greatest correlation with a feature, and all correlations."""

    recording: Recording
    features: list[str]

    @cached_property
    def names(self) -> list[str]:
        """The names of the U units, in the order of the states."""
        return [
            f"{state}:{place}" for state, values in self.recording.states.items() for place in range(values.shape[1])
        ]

    @cached_property
    def values(self) -> "NDArray[np.float32]":
        """The value of each unit after each token, (T, U)."""
        return np.concatenate(list(self.recording.states.values()), axis=1)

    @cached_property
    def correlations(self) -> "NDArray[np.float64]":
        """Pearson's r of each unit with each feature, (U, F); 0 for a constant unit."""
        known = features_of(self.recording)
        columns = np.array([known[name] for name in self.features], np.float64).reshape(len(self.features), -1)
        units = _standard(self.values.astype(np.float64))
        found: NDArray[np.float64] = units.T @ _standard(columns.T) / len(units)
        return found

    @cached_property
    def units(self) -> list[Unit]:
        """All units, the greatest correlation first."""
        if not self.features:
            return [Unit(name, "", 0.0) for name in self.names]
        best = np.abs(self.correlations).argmax(1)
        found = [
            Unit(name, self.features[feature], float(row[feature]))
            for name, row, feature in zip(self.names, self.correlations, best, strict=True)
        ]
        return sorted(found, key=lambda unit: -abs(unit.r))

    def best_of(self, feature: str) -> Unit:
        """The unit that follows a feature most closely."""
        column = self.correlations[:, self.features.index(feature)]
        place = int(np.abs(column).argmax())
        return Unit(self.names[place], feature, float(column[place]))

    @property
    def best(self) -> list[Unit]:
        """For each feature the unit that follows it most closely, the greatest correlation first."""
        return sorted(map(self.best_of, self.features), key=lambda unit: -abs(unit.r))

    @property
    def by_feature(self) -> dict[str, list[Unit]]:
        """All units by name, and what they follow: the best unit of each feature first, then the second best, ….

        A unit that is the best for several features follows them all.
        """
        if not self.features:
            return {name: [] for name in self.names}
        found: dict[str, list[Unit]] = {}
        for unit in self.best:
            found.setdefault(unit.name, []).append(unit)
        order = [self.features.index(unit.tracks) for unit in self.best]
        for row in np.abs(self.correlations[:, order]).argsort(0)[::-1]:  # the next best unit of each feature
            for feature, place in zip(order, row, strict=True):
                r = float(self.correlations[place, feature])
                found.setdefault(self.names[place], [Unit(self.names[place], self.features[feature], r)])
        return found

    def unit(self, name: str) -> Unit:
        """A unit by its name; raises UsageError, which gives the range of names, for an unknown one."""
        found = next((unit for unit in self.units if unit.name == name), None)
        if found is None:
            raise UsageError(f"there is no unit {name!r}: they are named {self.names[0]} to {self.names[-1]}")
        return found

    def of(self, unit: Unit) -> "NDArray[np.float32]":
        """The value of a unit after each token, (T,)."""
        return self.values[:, self.names.index(unit.name)]


def rank(recording: Recording) -> Ranking:
    """Correlate every unit with every feature that varies enough in the text."""
    known = features_of(recording)
    return Ranking(recording, [name for name, values in known.items() if _varies(values)])


def features_of(recording: Recording) -> Mapping[str, Sequence[float]]:
    """The features of each token, (T,) each; a token of several characters has the features of its last one.

    A token that is only a part of a character has the features of that character.
    """
    text, ends, at = recording.text, [], 0
    for part in recording.parts:
        at += len(part)
        ends.append(at - bool(part) - (len(part) - len(part.rstrip("\n")) if part.strip("\n") else 0))
    seen = {name: [column[end] for end in ends] for name, column in _columns(text).items()}
    words = [part.strip() for part in recording.parts]
    whole = any(len(word) > 1 for word in words)
    tokens: dict[str, Sequence[float]] = {
        "length of the token": list(map(len, words)) if whole else [],
        "a capital begins it": [word[:1].isupper() for word in words] if whole else [],
        "place in the text": list(range(len(words))),
    }
    return {**recording.features, **seen, **{name: values for name, values in tokens.items() if values}}


def _columns(text: str) -> dict[str, list[float]]:
    """The features of each character."""
    letters = [_is_in_word(sign) for sign in text]
    after = [*letters[1:], False]
    return {
        "place in the line": _since(text, [sign == "\n" for sign in text]),
        "place in the word": _since(text, [not letter for letter in letters]),
        "end of a word": [float(here and not then) for here, then in zip(letters, after, strict=True)],
        "end of a line": [float(sign == "\n") for sign in text],
        "between words": [float(sign.isspace()) for sign in text],
        "punctuation": [
            float(sign.isprintable() and not (sign.isalnum() or sign.isspace() or is_mark(sign))) for sign in text
        ],
        "capital": [float(sign.isupper()) for sign in text],
        "digit": [float(sign.isdigit()) for sign in text],
        "vowel": [float(normalize("NFD", sign.lower())[0] in VOWELS) for sign in text],
        "inside quotes": _quoted(text),
        "inside brackets": _depth(text),
        "indent": _indent(text),
    }


def _is_in_word(sign: str) -> bool:
    return sign.isalnum() or sign in "'’" or sign in JOINERS or is_mark(sign)


def _since(text: str, begins: Sequence[bool]) -> list[float]:
    """Characters since the last beginning."""
    count, counts = 0, []
    for _, begin in zip(text, begins, strict=True):
        count = 0 if begin else count + 1
        counts.append(float(count))
    return counts


def _quoted(text: str) -> list[float]:
    """Whether a character is inside quotation marks; a blank line closes open ones."""
    until, inside, before = "", [], ""
    for sign in text:
        if until and (sign == until or sign == before == "\n"):
            until = ""
        elif not until and sign in QUOTES:
            until = QUOTES[sign]
        inside.append(float(bool(until)))
        before = sign
    return inside


def _depth(text: str) -> list[float]:
    """The number of open brackets; a blank line closes all."""
    depth, depths, before = 0, [], ""
    for sign in text:
        depth = 0 if sign == before == "\n" else max(0, depth + (sign in OPENING) - (sign in CLOSING))
        depths.append(float(depth))
        before = sign
    return depths


def _indent(text: str) -> list[float]:
    """The leading blanks of each character's line; a tab counts 8."""
    indents: list[float] = []
    for line in text.split("\n"):
        blanks = line[: len(line) - len(line.lstrip(" \t"))]
        indents += [float(len(blanks.expandtabs(8)))] * (len(line) + 1)
    return indents[: len(text)]


def _varies(values: Sequence[float]) -> bool:
    _, counts = np.unique(np.asarray(values), return_counts=True)
    return len(values) - int(counts.max()) >= MIN_DIFFERENT


def _standard(columns: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Scale columns to mean 0 and variance 1; constant columns become 0."""
    centred = columns - columns.mean(0)
    spread = centred.std(0)
    scaled: NDArray[np.float64] = centred / np.where(spread > 1e-7, spread, np.inf)
    return scaled
