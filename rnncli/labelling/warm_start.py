"""`--init-from`: a net that labels starts from the token vectors and the layers of a language model."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from rnncli.cells.outside import outside_cell
from rnncli.errors import UsageError
from rnncli.labelling.inputs import TokenInputs
from rnncli.restoring import Keeps, rebuild
from rnncli.task import Task
from rnncli.warm_start import Start, check_same, open_start, shape_settings, some_of, take_start

TaskOf = Callable[[Mapping[str, Any], Path], Task]
"""The task that a checkpoint's header names; the file is for errors."""

Settings = TypeVar("Settings", bound=Any)


def inherited_shape(task_of: TaskOf, source: str) -> dict[str, Any]:
    """Return the settings that a language model determines, and its path; raises as `open_start`.

    Raises UsageError for a model of another kind.
    """
    start = open_start(source, lambda header, file: _declared(task_of, header, file))
    return {**_inherited(start), "init_from": str(start.file)}


def _inherited(start: Start) -> dict[str, Any]:
    """A language model reads forwards, by its own tokens."""
    names = ("cell", "hidden", "activation", "learn_h0", "block")
    shape = {name: value for name, value in shape_settings(start.config).items() if name in names}
    return {**shape, "features": ("tokens",), "bidirectional": False, "word_size": start.config.embedding}


def _declared(task_of: TaskOf, header: Mapping[str, Any], file: Path) -> tuple[type, Keeps]:
    task = task_of(header, file)
    if task.token_access is None:
        raise UsageError(f"{file} is a model of {task.name}: --init-from takes a language model")
    return task.Config, task.keeps


def resolve_start(config: Settings, task_of: TaskOf) -> Settings:
    """Make the path of the language model absolute; raises UsageError if a setting does not fit it.

    Also raises UsageError for `--features tokens` without such a model.
    """
    if config.init_from is None:
        if "tokens" in config.features:
            raise UsageError("--features tokens reads the tokens of a language model: add --init-from")
        return config
    start = open_start(config.init_from, lambda header, file: _declared(task_of, header, file))
    check_same(config, start, _inherited(start))
    return replace(config, init_from=str(start.file))


def start_model(config: Any, task_of: TaskOf) -> Start | None:
    """Return the language model that the settings start from, or None; for a resumed run, its own checkpoint."""
    if config.init_from is None:
        return None

    def declared(header: Mapping[str, Any], file: Path) -> tuple[type, Keeps]:
        task = task_of(header, file)
        return task.Config, task.keeps

    return take_start(config.init_from, declared)


def token_part(start: Start) -> dict[str, Any]:
    """The part of a checkpoint's payload that says how texts are read: the language model's codec, without voices."""
    codec = start.codec
    return {**replace(codec, labels=()).payload, "opening": start.payload.get("opening", codec.opening)}


def copy_encoder(start: Start, task_of: TaskOf, nets: Sequence[Any]) -> None:
    """Copy the language model's token vectors, as it reads them, and its layers into nets; raises as `rebuild`.

    A resumed run, which starts from its own checkpoint, is left as it is: its weights are restored later.
    """
    import torch

    task = task_of(start.found.header, start.file)
    if task.token_access is None:
        return
    cell = start.config.cell
    model: Any = rebuild(task, start.found, start.file, cell if outside_cell(cell) else None).model
    with torch.no_grad():
        vectors = model.read(torch.arange(len(start.payload["vocabulary"])))
        for net in nets:
            net.reader.embedding.weight.copy_(vectors)
            net.stack.load_state_dict(model.stack.state_dict())


def start_note(start: Start, inputs: TokenInputs, tokens: Iterable[str]) -> str:
    """A note on the language model, and on the tokens of the training texts that it does not know."""
    new = inputs.codec.unknown(tokens)
    known = f"starts from {start.file}: {len(inputs.codec.vocabulary):,} known tokens"
    return f"{known}, {len(new):,} new ones, read as UNKNOWN: {some_of(new)}" if new else f"{known}, no new ones"
