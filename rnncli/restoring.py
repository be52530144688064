"""Restore a model from a checkpoint: check the contents first, and report unusable ones in one line."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from rnncli.data.marks import shorten
from rnncli.data.vocabulary import SPECIALS
from rnncli.errors import RnnError
from rnncli.extras import installed
from rnncli.settings import check_limits, from_plain
from rnncli.task import Task

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from rnncli.cells.base import Cell
    from rnncli.training.checkpoint import Checkpoint

MAX_REASON = 200
"""Maximum number of characters shown of an error, which may quote the file's contents."""

Keeps = Mapping[str, Collection[str] | None]
"""Parts of a payload by name, each with the allowed values, or None for any."""

LAYOUT = {"rnn": str, "config": dict, "monitor": str, "payload": dict, "progress": dict}
"""The parts of every header and their types, except the schema and the task."""

MAX_GRAM = 20
"""The longest n-gram, in characters, that `--char-ngrams` allows."""


@contextmanager
def usable(source: "Path", what: str) -> Iterator[None]:
    """Turn errors while a part of the file is restored into a CheckpointError that names the file."""
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
        reason = shorten(" ".join(reason.split()), MAX_REASON)
        raise CheckpointError(
            f"{source} holds {what} that this version cannot use: {reason}; load another checkpoint, or train again"
        ) from error


class Rebuilt(NamedTuple):
    """A checkpoint's settings and model."""

    config: Any
    model: "nn.Module"  # its weights are the checkpoint's tensors


def rebuild(task: Task, found: "Checkpoint", source: "Path", cell: "str | type[Cell[Any]] | None" = None) -> Rebuilt:
    """Check a task's checkpoint, except its training state, and build its model on the CPU.

    Allocates the model only after names and shapes of the weights agree with the settings. `cell` names the code of a
    cell from outside again. Raises CheckpointError for contents that this version cannot use, and as `cell_again`.
    """
    from dataclasses import replace

    from rnncli.cells.outside import cell_again
    from rnncli.models.outline import outline, take_weights
    from rnncli.training.loop import below

    header = found.header
    config = check_header(task.Config, task.keeps, header, source)
    with usable(source, "contents"):
        _check_numbers(task, below("task", found.tensors))
    config = replace(config, cell=cell_again(config.cell, header, cell, source))
    weights = below("model", found.tensors)
    with usable(source, "weights"):
        anywhere = replace(config, backend="auto")  # the backend of the training may not work on this machine
        enough = 2 * len(weights) + 16  # more than there are, so that missing ones are named
        model = outline(lambda: task.build_model(anywhere, header["payload"]), enough)
        take_weights(model, weights)
    return Rebuilt(config, model)


def check_header(Config: type, keeps: Keeps, header: Mapping[str, Any], source: "Path") -> Any:
    """The settings in a checkpoint's header; raises CheckpointError if any part of it cannot be used."""
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
        if not (getattr(config, "corpus", True) or getattr(config, "source", None)):  # translate may have two files
            raise ValueError("corpus is missing")
    with usable(source, "contents"):
        _check_payload(keeps, header["payload"])
    return config


def _check_payload(keeps: Keeps, payload: Mapping[str, Any]) -> None:
    """Raise ValueError if a part that the task stores in the header is missing or of the wrong kind."""
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
    """Raise RnnError or ValueError for tokens that are not bytes; a BPE is checked only with its library."""
    from rnncli.data.codec import Codec

    if payload["tokenizer"] == "bytes" or installed("tokenizers"):
        shown = Codec.of(payload).units.shown
        for token in payload["vocabulary"]:
            shown(token)


def _check_numbers(task: Task, tensors: "Mapping[str, Tensor]") -> None:
    for name in task.keeps_numbers:
        numbers = tensors[name]
        if numbers.dim() != 1 or numbers.is_floating_point() or numbers.is_complex():
            raise ValueError(f"task.{name} is not a list of whole numbers")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_words(value: Any) -> bool:
    """Whether it is a list of distinct texts that can be encoded."""
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
    max_length = value.get("longest")
    return type(max_length) is int and 0 <= max_length <= MAX_GRAM


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
"""The parts of a payload that all tasks share, and a check of the value of each."""
