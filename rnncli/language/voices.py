"""Several voices in one model: what the tasks share that give each corpus a learned vector of its own."""

from typing import Any

from rnncli.errors import UsageError
from rnncli.settings import option
from rnncli.task import Trained


def voices_option() -> Any:
    """The setting that says whether corpora are told apart."""
    help = "Of several corpora, each by its name is a voice to write in; or they are one text."
    return option(True, help, unsaid=False)


def label_number(trained: Trained, label: str | None) -> int | None:
    """The number of a voice by its label; raises UsageError, which names those that there are, for any other."""
    known = trained.codec.labels
    if label is None:
        return None
    if not known:
        raise UsageError(f"{trained.source} learned no voices apart: leave --label out")
    if label not in known:
        raise UsageError(f"{trained.source} knows no voice {label!r}: its labels are {', '.join(known)}")
    return known.index(label)
