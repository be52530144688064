"""What a task is: its settings, how its experiment is built, and what can be done with a trained model of it."""

import dataclasses
import sys
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, get_args, get_type_hints

from rnncli.cells import CELLS
from rnncli.data.corpora import from_stdin
from rnncli.data.text import read_as
from rnncli.errors import UsageError
from rnncli.kernels import BACKENDS
from rnncli.training.settings import TrainingSettings, check_limits, check_used, option, untuned, with_own_defaults

if TYPE_CHECKING:
    from torch import nn

    from rnncli.models.stack import StackShape
    from rnncli.tasks.last_step import LastStep
    from rnncli.training.experiment import Experiment


INITS = ("default", "book")


@dataclass(frozen=True, kw_only=True)
class RecurrentSettings(TrainingSettings):
    """What a user can set of a recurrent net and its training."""

    panel: ClassVar[str] = "Model"
    truncates: ClassVar[bool] = True  # whether backpropagation through its sequences can be cut by --bptt

    cell: str = option(
        "elman",
        f"Recurrent cell: {', '.join(CELLS)}; a variant after a colon (lstm:none).",
        suggest=tuple(CELLS),
        shape=True,
    )
    hidden: str = option("64", "Hidden units of each layer, first layer first: 64 or 64,32.", shape=True)
    activation: str | None = option(
        None, "Nonlinearity of the cell, where it is free: tanh, sigmoid, relu.", shape=True
    )
    learn_h0: bool = option(True, "Learn the first state, or keep it at zero.", shape=True)
    init: str = option(
        "default",
        "First weights: of the task's recipe, or the book's (normal / sqrt(inputs + outputs), biases and states 0)",
        choices=INITS,
    )
    layer_dropout: float = option(0.0, "Dropout between layers.", least=0, most=0.99)
    backend: str = option("auto", "How cells are unrolled.", choices=BACKENDS, resumable=True)

    @property
    def label(self) -> str:
        """What kind of net it is, in a word."""
        return self.cell

    @property
    def sizes(self) -> tuple[int, ...]:
        """Hidden units of each layer; raises UsageError for what is no list of sizes."""
        parts = self.hidden.split(",")
        if not all(part.strip().isdecimal() and 0 < int(part) <= 1_000_000 for part in parts):
            raise UsageError(f"--hidden must be sizes such as 64 or 64,32, not {self.hidden!r}")
        return tuple(int(part) for part in parts)

    @property
    def shape(self) -> "StackShape":
        """The stack of cells that the settings describe."""
        from rnncli.models.stack import StackShape

        return StackShape(self.cell, self.sizes, self.activation, self.learn_h0, self.layer_dropout)

    def draw_first_weights(self, model: "nn.Module") -> None:
        """Draw a fresh net's weights again, where `--init` names others than those that it was built with."""
        if self.init == "book":
            from rnncli.models.first_weights import draw_book_weights

            draw_book_weights(model)


BOOK_TRAINING = {
    "learn_h0": True,
    "init": "book",
    "layer_dropout": 0.0,
    "batch_size": 1,
    "accumulate": 1,
    "optimizer": "sgd",
    "momentum": 0.99,
    "weight_decay": 0.0,
    "average": 0.0,
    "clip": 0.0,
    "bptt": 0,
    "patience": 0,
    "validate_every": 0,
}
"""How the book trains in all of its chapters: SGD with momentum, one whole sequence a step, nothing regularized."""


@dataclass(frozen=True)
class Trained:
    """A model of a task, back from its checkpoint."""

    task: str
    config: Any
    model: "nn.Module"
    header: Mapping[str, Any]  # the checkpoint's: payload, progress, versions
    tensors: Mapping[str, Any]  # what the task kept beside the weights
    source: Path

    @property
    def device(self) -> str:
        """Where it computes: cpu, cuda or mps."""
        return next(self.model.parameters()).device.type

    @property
    def payload(self) -> Mapping[str, Any]:
        """What the task kept in the header."""
        payload: Mapping[str, Any] = self.header["payload"]
        return payload

    def check_readable(self, instead: str = "give --corpus") -> None:
        """Raise UsageError, which says what to do instead, where it learned from standard input: it cannot again."""
        if any(map(from_stdin, (*self.config.corpus, *getattr(self.config, "valid", ())))):
            raise UsageError(f"{self.source} learned from standard input, which cannot be read again: {instead}")

    @contextmanager
    def reading_again(self, instead: str = "give --corpus") -> Iterator[None]:
        """Within this context files are read as they were when it learned from them; raises as `check_readable`."""
        self.check_readable(instead)
        with read_as(self.header.get("reading", 1)):
            yield

    def check_unchanged(self, name: str, fingerprint: str, instead: str = "give --corpus") -> None:
        """Raise UsageError, which says what to do instead, where a text is no longer what it learned from."""
        if fingerprint != self.payload["fingerprint"]:
            raise UsageError(f"{name} is no longer what {self.source} was trained on: {instead}")


@dataclass(frozen=True)
class Action:
    """Something to do with a trained model: the options it takes, and the function that does it."""

    Options: type
    do: Callable[[Trained, Any], Any]
    example: str
    corpus: Callable[[Trained, Any], str] = lambda trained, _: trained.payload["corpus"]  # what it is done to

    def run(self, trained: Trained, options: Any) -> Any:
        """Do it, by the threads and products that suit the net."""
        from rnncli.training.machine import suited_products

        with suited_products(trained.model):
            return self.do(trained, options)


@dataclass(frozen=True)
class Script:
    """The text of a language model by number: what it learned from, and how tokens become text."""

    learned: Callable[[Trained, str], Iterable[Any]]  # arrays of tokens, one after another; as `check_unchanged`
    judged: Callable[[Trained, Any], Iterable[Any]]  # arrays of tokens that `evaluate` measures on with these options
    join: Callable[[Trained, Iterable[int]], Iterator[str]]


@dataclass(frozen=True)
class Task:
    """A task by its name; its functions import torch only when they are called."""

    name: str
    summary: str
    Config: type[RecurrentSettings]
    build: Callable[[Any, str], "Experiment"]  # settings and device -> what the trainer needs
    build_model: Callable[[Any, Mapping[str, Any]], "nn.Module"]  # settings and payload -> an untrained model
    evaluate: Action
    settle: Callable[[Any], Any] = lambda settings: settings  # fills in what depends on the machine: corpora
    uses: Mapping[str, Action] = field(default_factory=dict)  # what else can be done with its models, by verb
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)  # by preset: how its training goes, printed before it
    script: Script | None = None  # of a model that writes
    # what the payload of its checkpoints must hold, and the values allowed there where they are few
    keeps: Mapping[str, Collection[str] | None] = field(default_factory=dict)
    keeps_numbers: tuple[str, ...] = ()  # the same of its tensors beside the weights: whole numbers (N,)
    # what a net that reads forwards makes of a text (or None: of one of the task's own) of at most so many steps
    last_step: "Callable[[Trained, str | None, int], LastStep] | None" = None
    word_vectors: int = 0  # the greater, the sooner its models are asked for word vectors; 0: they have none
    implied_preset: Callable[[Mapping[str, Any]], str | None] = lambda _: None  # what settings call for by themselves

    @property
    def actions(self) -> dict[str, Action]:
        """All that can be done with its models, by verb."""
        return {"evaluate": self.evaluate, **self.uses}


def resolve(
    task: Task, flags: Mapping[str, Any], preset: str | None = None, file: Path | None = None
) -> RecurrentSettings:
    """Put a task's settings together: its defaults, then the preset, then the TOML file, then the flags given.

    Where they name a model to start from, its shape replaces the defaults. Defaults tuned for one optimizer or schedule
    do not serve another, which starts from its own.

    Raises UsageError for a preset, a key or a value that does not exist, and for a setting given that changes nothing.
    """
    given = ({} if file is None else _read_toml(file, task.Config)) | unswitched(task.Config, flags)
    preset = preset or task.implied_preset(given)
    if preset is not None and preset not in task.presets:
        known = ", ".join(task.presets) or "none"
        raise UsageError(f"{task.name} has no preset {preset!r}: it has {known}")
    values: dict[str, Any] = {each.name: each.default for each in dataclasses.fields(task.Config)}
    starts = bool(given.get("init_from"))
    if starts:
        from rnncli.tasks.starting import shape_of

        if given.get("init", "default") != "default":
            raise UsageError("--init-from and --init both say what the first weights are: leave one of them out")
        values |= shape_of(task.name, given["init_from"])
    for layer in (task.presets[preset] if preset else {}, given):
        values = with_own_defaults(values, layer)
    settings = task.Config(**values | ({"init": "default"} if starts else {}))
    check_limits(settings)
    check_used(settings, given)
    if settings.bptt and not task.Config.truncates:
        raise UsageError(f"{task.name} reads whole sequences: leave --bptt out")
    return settings


def remarks_on(task: Task, settings: RecurrentSettings, preset: str | None) -> list[str]:
    """What to tell of settings: what to expect of a preset where they are all its own, and what it is not tuned for."""
    preset = preset or task.implied_preset(dataclasses.asdict(settings))
    stated = task.presets[preset] if preset else {}
    own = preset and all(getattr(settings, name) == value for name, value in stated.items())
    tuned = {each.name: each.default for each in dataclasses.fields(task.Config)} | dict(stated)
    remarks = [task.notes.get(preset, "") if own and preset else "", untuned(settings, tuned)]
    return [remark for remark in remarks if remark]


def plain(settings: Any) -> dict[str, Any]:
    """Settings as plain values, for a checkpoint's header."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(settings).items()
    }


def unswitched(Config: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values in which true and false stand for the choices of a setting that is a switch as well."""
    switches = {each.name: each.metadata["switch"] for each in dataclasses.fields(Config) if "switch" in each.metadata}
    return {
        name: switches[name][value] if name in switches and isinstance(value, bool) else value
        for name, value in values.items()
    }


def from_plain(Config: type[Any], values: Mapping[str, Any]) -> Any:
    """Settings back from a checkpoint's header, without those that this version does not know.

    Raises UsageError for a value of the wrong type.
    """
    fields = dataclasses.fields(Config)
    unsaid = {each.name: each.metadata["unsaid"] for each in fields if "unsaid" in each.metadata}
    kinds, names = get_type_hints(Config), {each.name for each in fields}
    known = unswitched(Config, {name: value for name, value in values.items() if name in names})
    stored = {name: as_kind(value, kinds[name], f"setting {name}") for name, value in known.items()}
    return Config(**{**unsaid, **Config.upgrade(stored)})


def _read_toml(file: Path, Config: type[RecurrentSettings]) -> dict[str, Any]:
    """Settings from a TOML file of `name = value` lines, dashes or underscores; raises UsageError."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"cannot read --config {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {file} is not TOML: {error}") from None
    kinds = get_type_hints(Config)
    values = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in {each.name for each in dataclasses.fields(Config)}:
            raise UsageError(f"--config {file}: there is no setting {key!r}")
        value = unswitched(Config, {name: value})[name]
        size = kinds[name] is str and type(value) is int
        values[name] = as_kind(str(value) if size else value, kinds[name], f"--config {file}: {key}")
    return values


def as_kind(value: Any, kind: Any, where: str) -> Any:
    """A value of TOML or JSON as a field's type: a whole number serves as a float, one string as a list of one.

    Raises UsageError, which says where it stands, for a value of another type.
    """
    if NoneType in get_args(kind):
        if value is None:
            return None
        kind = next(each for each in get_args(kind) if each is not NoneType)
    if kind is float and type(value) is int and abs(value) <= sys.float_info.max:
        return float(value)
    if kind == tuple[str, ...]:
        listed = value if isinstance(value, list) else [value]
        if all(isinstance(item, str) for item in listed):
            return tuple(listed)
    elif type(value) is kind:
        return value
    wanted = {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "text")
    raise UsageError(f"{where} must be {wanted}, not {value!r}")
