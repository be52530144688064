"""Defaults that follow the size of a text: the smaller it is, the smaller the net, and the more passes over it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rnncli.errors import RnnError
from rnncli.terminal import counted


class SizeClass(NamedTuple):
    """Defaults for texts of fewer than `below` characters."""

    below: float
    defaults: Mapping[str, Any]
    note: str = ""  # what to expect from such a text, printed before training


class Sized(NamedTuple):
    """The size of a text, and what follows from it."""

    characters: int
    defaults: Mapping[str, Any]
    note: str

    def describe(self, settings: Any) -> str:
        """Describe the net and the training that a text of this size gets."""
        sizes = settings.sizes
        units = str(sizes[0]) if len(set(sizes)) == 1 else settings.hidden
        net = f"{counted(len(sizes), 'layer')} of {units} units"
        length = f"{settings.epochs} epochs" if settings.epochs else f"{settings.max_time:g} s"
        return f"{self.characters:,} characters: {net}, {length}"


def sized(classes: Sequence[SizeClass], corpus: Sequence[str]) -> Sized | None:
    """Return the size of a text, and the first class that it fits in; None for a larger text.

    None as well for a text that cannot be read, since reading it for the training reports that, and for shards.
    """
    if not classes:
        return None
    characters = _count(corpus, classes[-1].below)
    if characters is None:
        return None
    found = next((each for each in classes if characters < each.below), None)
    return Sized(characters, found.defaults, found.note) if found else None


def _count(corpus: Sequence[str], limit: float) -> int | None:
    """Count the characters of corpora, to `limit` or a little beyond it; None for shards and unreadable texts."""
    from rnncli.data.corpora import open_corpus
    from rnncli.data.indexed import is_prepared

    count = 0
    try:
        for spec in corpus:
            if is_prepared(spec):
                return None
            for piece in open_corpus(spec).read():
                count += len(piece)
                if count >= limit:
                    return count
    except RnnError:
        return None
    return count
