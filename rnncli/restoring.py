"""From a checkpoint to a model: what it holds is checked first, and what cannot be used is one line about the file."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from rnncli.data.vocabulary import SPECIALS
from rnncli.errors import RnnError
from rnncli.extras import installed
from rnncli.settings import check_limits, from_plain
from rnncli.task import Task

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from rnncli.training.checkpoint import Checkpoint

MAX_REASON = 200
"""Characters of an error that are shown; it may quote what the file holds."""

Keeps = Mapping[str, Collection[str] | None]
"""Parts of a payload by name, each with the values allowed where they are few."""

LAYOUT = {"rnn": str, "config": dict, "monitor": str, "payload": dict, "progress": dict}
"""What every header holds beside the schema and the task."""


@contextmanager
def usable(source: "Path", what: str) -> Iterator[None]:
    """Raise CheckpointError about the file where something is rebuilt inside from what it holds, and that fails."""
    from rnncli.training.checkpoint import CheckpointError
    from rnncli.training.machine import is_out_of_memory

    try:
        yield
    except CheckpointError:
        raise
    except (RnnError, AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) and error.args else str(error)
        reason = " ".join(reason.split())
        if len(reason) > MAX_REASON:
            reason = f"{reason[:MAX_REASON]}…"
        raise CheckpointError(
            f"{source} holds {what} that this version cannot use: {reason}; load another checkpoint, or train again"
        ) from error


class Rebuilt(NamedTuple):
    """What a checkpoint holds."""

    config: Any
    model: "nn.Module"  # its weights are the checkpoint's tensors


def rebuild(task: Task, found: "Checkpoint", source: "Path") -> Rebuilt:
    """Check all of a task's checkpoint but its state of training, and build its model on the CPU.

    Nothing is built, and no memory taken, before names and shapes of the weights agree with the settings. Raises
    CheckpointError for contents that this version cannot use.
    """
    from dataclasses import replace

    from rnncli.models.outline import outline, take_weights
    from rnncli.training.loop import below

    header = found.header
    config = check_header(task.Config, task.keeps, header, source)
    with usable(source, "contents"):
        _check_numbers(task, below("task", found.tensors))
    weights = below("model", found.tensors)
    with usable(source, "weights"):
        anywhere = replace(config, backend="auto")  # the one it was trained with may need what is not here
        most = 2 * len(weights) + 16  # so that a few that are missing are named
        model = outline(lambda: task.build_model(anywhere, header["payload"]), most)
        take_weights(model, weights)
    return Rebuilt(config, model)


def check_header(Config: type, keeps: Keeps, header: Mapping[str, Any], source: "Path") -> Any:
    """The settings in a checkpoint's header; raises CheckpointError where any part of it cannot be used."""
    from rnncli.training.loop import Progress

    with usable(source, "a header"):
        for part, kind in LAYOUT.items():
            if type(header.get(part)) is not kind:
                raise ValueError(f"{part} is {'of the wrong type' if part in header else 'missing'}")
    with usable(source, "progress"):
        Progress.of(header["progress"])
    with usable(source, "settings"):
        config = from_plain(Config, header["config"])
        check_limits(config)
        if not (getattr(config, "corpus", True) or getattr(config, "source", None)):  # pairs have files instead
            raise ValueError("corpus is missing")
    with usable(source, "contents"):
        _check_payload(keeps, header["payload"])
    return config


def _check_payload(keeps: Keeps, payload: Mapping[str, Any]) -> None:
    """Raise ValueError where a part of what a task keeps in the header is missing, or of the wrong kind."""
    keeps = {"corpus": None, **keeps}
    for name in keeps:
        if name not in payload:
            raise ValueError(f"{name} is missing")
    for name, is_right in KINDS.items():
        if name in payload and not is_right(payload[name]):
            raise ValueError(f"{name} is of the wrong kind")
    for name, values in keeps.items():
        if values is not None and payload[name] not in values:
            raise ValueError(f"{name} is {payload[name]!r}")
    if payload.get("tokenizer") in ("bytes", "bpe"):
        _check_bytes(payload)


def _check_bytes(payload: Mapping[str, Any]) -> None:
    """Raise RnnError or ValueError where tokens do not stand for bytes; a bpe is read where its library is here."""
    from rnncli.data.codec import Codec

    if payload["tokenizer"] == "bytes" or installed("tokenizers"):
        shown = Codec.of(payload).units.shown
        for token in payload["vocabulary"]:
            shown(token)


def _check_numbers(task: Task, tensors: "Mapping[str, Tensor]") -> None:
    for name in task.keeps_numbers:
        numbers = tensors[name]
        if numbers.dim() != 1 or numbers.is_floating_point() or numbers.is_complex():
            raise ValueError(f"task.{name} is no list of whole numbers")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_words(value: Any) -> bool:
    """Whether it is a list of different texts that can be printed."""
    if not isinstance(value, list) or not all(map(_is_text, value)) or len(set(value)) != len(value):
        return False
    try:
        "".join(value).encode()
    except UnicodeEncodeError:  # half a pair of surrogates
        return False
    return True


def _are_labels(value: Any) -> bool:
    return _are_words(value) and bool(value)


def _is_vocabulary(value: Any) -> bool:
    return _are_words(value) and len(value) > len(SPECIALS) and tuple(value[: len(SPECIALS)]) == SPECIALS


def _is_lexicon(value: Any) -> bool:
    if not isinstance(value, dict) or not all(_are_words(value.get(name)) for name in ("tags", "words", "grams")):
        return False
    longest = value.get("longest")
    return type(longest) is int and 0 <= longest <= MAX_GRAM


MAX_GRAM = 20
"""Characters of an n-gram, which --char-ngrams allows as well."""

KINDS: Mapping[str, Callable[[Any], bool]] = {
    "corpus": _is_text,
    "fingerprint": _is_text,
    "tokenizer": _is_text,
    "bpe": _is_text,
    "vocabulary": _is_vocabulary,
    "labels": _are_labels,
    "classes": _are_labels,
    "known": _are_words,
    "lexicon": _is_lexicon,
}
"""What a part of the header's payload is, in all tasks."""
