"""Names that the shell completes: what lists them is imported when it asks."""

from collections.abc import Iterable


def corpus_names() -> Iterable[str]:
    """The names of all corpora."""
    from rnncli.data.corpora import CORPORA

    return CORPORA
