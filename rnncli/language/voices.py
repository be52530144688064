"""Several voices in one model: each corpus has a label, with a trainable vector of its own."""

from typing import Any

from rnncli.errors import UsageError
from rnncli.settings import option
from rnncli.task import Trained


def voices_option() -> Any:
    """The setting that makes each corpus a voice."""
    help = "Each of several corpora is a voice to write in, labelled by its name; or they form one text."
    return option(True, help, legacy_default=False)


def label_number(trained: Trained, label: str | None) -> int | None:
    """The number of a voice by its label; raises UsageError, which lists the known labels, for any other label."""
    known = trained.codec.labels
    if label is None:
        return None
    if not known:
        raise UsageError(f"{trained.source} has no voices: leave --label out")
    if label not in known:
        raise UsageError(f"{trained.source} has no voice {label!r}: its labels are {', '.join(known)}")
    return known.index(label)
