"""Which lines are held out for validation: a share of them, every N-th, or N, evenly spread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple

from rnncli.settings import option

ONE_OF = "hold_out", "hold_out_every", "hold_out_count"
"""The settings that say what is held out: at most one of them is not 0."""


class HoldOut(NamedTuple):
    """What to hold out; at most one is not 0."""

    share: float = 0.0
    every: int = 0
    number: int = 0

    def __bool__(self) -> bool:
        return any(self)

    def __str__(self) -> str:
        flags = (f"--hold-out {self.share:g}", f"--hold-out-every {self.every}", f"--hold-out-count {self.number}")
        return next((flag for flag, value in zip(flags, self, strict=True) if value), flags[0])

    @property
    def settings(self) -> dict[str, Any]:
        """The same as settings."""
        return dict(zip(ONE_OF, self, strict=True))

    def share_of(self, total: int) -> Fraction:
        """The share of `total` lines, exactly as it is written: 0.1 is a tenth."""
        if self.every:
            return Fraction(1, self.every)
        return Fraction(self.number, max(1, total)) if self.number else Fraction(repr(float(self.share)))

    def rows(self, total: int) -> list[int]:
        """The lines held out of `total`, by number from 0, evenly spread."""
        return spread([1] * total, self.share_of(total))

    def told(self, what: str) -> str:
        """The lines, in words: one line in 10."""
        if self.every:
            return f"one {what} in {self.every}"
        return f"{self.number:,} {what}s" if self.number else f"{self.share * 100:g} % of the {what}s"


def spread(sizes: Sequence[int], share: Fraction) -> list[int]:
    """The groups, by number from 0, that hold a share of all items, evenly spread; `sizes` counts each group's items.

    A group is held out if at most the share of all items so far is held out after it: with groups of one item and a
    share of 1/N, every N-th.
    """
    seen, held, chosen = 0, 0, []
    for place, size in enumerate(sizes):
        seen += size
        if held + size <= share * seen:
            held += size
            chosen.append(place)
    return chosen


def hold_out_option(default: float, help: str, *, whole: str = "") -> Any:
    """Declare the share that is held out; a whole number is meant for the setting `whole`, as it was before."""
    return option(default, help, least=0, below=1, instead_of=ONE_OF, **({"whole": whole} if whole else {}))


@dataclass(frozen=True, kw_only=True)
class HoldOutSettings:
    """Settings of a task that holds out lines of what it reads."""

    panel: ClassVar[str] = "Validation"

    hold_out: float = hold_out_option(
        0.1, "Share held out for validation, evenly spread; 0: none.", whole="hold_out_every"
    )
    hold_out_every: int = option(0, "Hold out every N-th one instead; 0: not.", least=0, instead_of=ONE_OF, expert=True)
    hold_out_count: int = option(0, "Hold out N instead; 0: not.", least=0, instead_of=ONE_OF, expert=True)

    @property
    def held_out(self) -> HoldOut:
        """The held-out lines; `hold_out_count` and `hold_out_every` take precedence over the share."""
        share = 0.0 if self.hold_out_every or self.hold_out_count else self.hold_out
        return HoldOut(share, self.hold_out_every, self.hold_out_count)

    def without_same(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Changes without those that hold out the same lines: one line in 10 is a tenth of the lines."""
        by_line = "whole" in type(self).__dataclass_fields__["hold_out"].metadata
        before, after = self.held_out, HoldOut(*(changes.get(name, 0) for name in ONE_OF))
        is_same = by_line and not (before.number or after.number) and before.share_of(1) == after.share_of(1)
        return {name: value for name, value in changes.items() if not (is_same and name in ONE_OF)}
