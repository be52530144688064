"""The user's settings of any training and of a recurrent net; reading them needs no torch."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rnncli.cells import BUILT_IN, CELLS, CLASSIC, label_of
from rnncli.errors import UsageError
from rnncli.kernels import ACTIVATIONS, BACKENDS, FORMER_BACKENDS, PRECISIONS
from rnncli.models import BLOCKS
from rnncli.settings import DEVICES, flag_of, option
from rnncli.training.optimizers import OPTIMIZERS
from rnncli.training.schedules import SCHEDULES

if TYPE_CHECKING:
    from torch import nn

    from rnncli.models.stack import StackShape

INITS = ("default", "book")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How to train: steps, optimizer, schedule, limits, and device."""

    panel: ClassVar[str] = "Training"
    fast_precision: ClassVar[Mapping[str, str]] = {}  # `--precision auto` by device; elsewhere float32

    epochs: int = option(10, "Passes over the data; 0: until --max-time.", least=0, most=10**9, resumable=True)
    batch_size: int = option(32, "Sequences that are read at once.", least=1, most=2**31)
    accumulate: int = option(
        1,
        "Batches per step: the same steps as N times --batch-size, in the memory of one batch.",
        least=1,
        most=2**31,
        expert=True,
    )
    optimizer: str = option("adamw", "Optimizer.", choices=OPTIMIZERS)
    lr: float = option(1e-3, "Learning rate.", above=0)
    momentum: float = option(0.9, "Momentum of SGD, RMSprop and Muon's matrices.", least=0, below=1, expert=True)
    beta1: float = option(0.9, "First beta of Adam, AdamW and Muon's other parameters.", least=0, below=1, expert=True)
    beta2: float = option(0.999, "Second beta of the same.", least=0, below=1, expert=True)
    weight_decay: float = option(
        0.0, "Weight decay; SGD, RMSprop and Adam add it to the gradient (L2).", least=0, expert=True
    )
    average: float = option(
        0.0,
        "Decay of a moving average of the weights, which is then validated and kept; 0: none.",
        least=0,
        below=1,
        expert=True,
    )
    schedule: str = option("constant", "How the learning rate moves.", choices=tuple(SCHEDULES), expert=True)
    decay: float = option(
        0.9999, "exponential: per-epoch factor; plateau: per-drop factor.", above=0, most=1, expert=True
    )
    warmup: float = option(0.0, "cosine, slanted: share of the steps that warm up.", least=0, most=1, expert=True)
    lr_ratio: float = option(32.0, "slanted: the greatest learning rate over the least.", least=1, expert=True)
    layer_decay: float = option(
        1.0,
        "Divide the learning rate by this from each layer to the one below (ULMFiT: 2.6); 1: one rate.",
        least=1,
        expert=True,
    )
    unfreeze_every: int = option(
        0,
        "Epochs after which one more layer is trained, from the output down (ULMFiT: 1); 0: all from the start.",
        least=0,
        expert=True,
    )
    clip: float = option(1.0, "Greatest norm of the gradient; 0: no clipping.", least=0, expert=True)
    bptt: int = option(0, "Truncate backpropagation to this many steps; 0: whole sequences.", least=0, expert=True)
    patience: int = option(
        0, "Validations without gain before stopping (plateau: before a drop); 0: never.", least=0, expert=True
    )
    validate_every: int = option(0, "Steps between validations; 0: once per epoch.", least=0, expert=True)
    max_time: float = option(0.0, "Seconds of training at most; 0: no limit.", least=0, resumable=True)
    save_every: float = option(60.0, "Seconds between saves.", least=0, resumable=True, expert=True)
    seed: int = option(0, "Seed of everything random.", least=0, most=2**63 - 1)
    precision: str = option(
        "auto",
        "Precision of a large net's matrix products; auto: the fastest that keeps the task's loss.",
        choices=PRECISIONS,
        resumable=True,
        legacy_default="float32",
        expert=True,
    )
    graphs: str = option(
        "auto",
        "Record training steps as CUDA graphs, and replay them; auto: on CUDA, where it is possible.",
        choices=("auto", "off", "on"),
        switch=("off", "on"),
        resumable=True,
        expert=True,
    )
    device: str = option("auto", "Where to train.", choices=DEVICES, resumable=True)

    @property
    def step_size(self) -> int:
        """Sequences per step."""
        return self.batch_size * self.accumulate

    @classmethod
    def upgrade(cls, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Convert settings from a checkpoint to this version's terms.

        Before `beta1` existed, `momentum` was also the first beta, and Muon's matrices had a fixed momentum.
        """
        if "beta1" in stored or "momentum" not in stored:
            return dict(stored)
        kind = OPTIMIZERS.get(stored.get("optimizer", ""))
        fixed = {"momentum": kind.settings["momentum"]} if kind and kind.orthogonal else {}
        return {**stored, "beta1": stored["momentum"], **fixed}


@dataclass(frozen=True, kw_only=True)
class RecurrentSettings(TrainingSettings):
    """The user's settings of a recurrent net and its training."""

    panel: ClassVar[str] = "Model"
    truncates: ClassVar[bool] = True  # whether --bptt can truncate backpropagation through its sequences

    cell: str = option(
        "elman",
        f"{', '.join(CLASSIC)}, {len(BUILT_IN) - len(CLASSIC)} others (docs/cells.md), or PATH.py:Class.",
        suggest=CELLS,
        shape=True,
    )
    hidden: str = option("64", "Hidden units by layer: 64 or 64,32.", shape=True)
    activation: str | None = option(
        None,
        f"Nonlinearity of the cell, where it is free: {', '.join(ACTIVATIONS)}.",
        shape=True,
        expert=True,
    )
    learn_h0: bool = option(True, "Learn the first state, or keep it at zero.", shape=True, expert=True)
    init: str = option(
        "default",
        "Initial weights: the task's own, or the book's (normal / sqrt(inputs + outputs), biases and states 0)",
        choices=INITS,
        expert=True,
    )
    layer_dropout: float = option(0.0, "Dropout between layers.", least=0, most=0.99, expert=True)
    block: str = option(
        "none",
        "Around each layer: none, or a residual block, for deep nets (norm, cell, gate, projection, skip connection).",
        choices=BLOCKS,
        shape=True,
        expert=True,
    )
    backend: str = option(
        "auto", "How to unroll the cells.", choices=BACKENDS, renamed=FORMER_BACKENDS, resumable=True, expert=True
    )
    recompute: bool = option(
        False,
        "Keep only states, and compute the rest again in the backward pass: less memory, more time.",
        resumable=True,
        expert=True,
    )

    @property
    def needs_corpus(self) -> bool:
        """Whether no text is named to train on, so that the task's own corpus is used."""
        return not getattr(self, "corpus", True)

    @property
    def label(self) -> str:
        """The kind of net, in a word."""
        return label_of(self.cell)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Hidden units of each layer; raises UsageError for anything but a list of sizes."""
        parts = self.hidden.split(",")
        if not all(part.strip().isdecimal() and 0 < int(part) <= 1_000_000 for part in parts):
            raise UsageError(f"--hidden must be sizes such as 64 or 64,32, not {self.hidden!r}")
        return tuple(int(part) for part in parts)

    @property
    def shape(self) -> "StackShape":
        """The stack of cells that the settings describe."""
        from rnncli.models.stack import StackShape

        shape = StackShape(self.cell, self.sizes, self.activation, self.learn_h0, self.layer_dropout)
        return dataclasses.replace(shape, block=self.block, recompute=self.recompute)

    @property
    def texts(self) -> dict[str, tuple[str, ...]]:
        """The texts that its settings name, by setting."""
        named = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.metadata.get("text")}
        return {name: (value,) if isinstance(value, str) else tuple(value or ()) for name, value in named.items()}

    @property
    def lost_texts(self) -> dict[str, str]:
        """Absolute paths of texts where nothing is any more, one for each setting that has one."""
        from rnncli.data.corpora import is_lost, unlabelled

        return {name: unlabelled(spec) for name, specs in self.texts.items() for spec in specs if is_lost(spec)}

    @staticmethod
    def absolute(spec: str) -> str:
        """Return a spec of the same text that is valid in any folder."""
        from rnncli.data.corpora import absolute_spec

        return absolute_spec(spec)

    def draw_first_weights(self, model: "nn.Module") -> None:
        """Draw a new net's weights again, where `--init` names others than those it was built with."""
        if self.init == "book":
            from rnncli.models.first_weights import draw_book_weights

            draw_book_weights(model)


BOOK_TRAINING = {
    "learn_h0": True,
    "init": "book",
    "layer_dropout": 0.0,
    "block": "none",
    "batch_size": 1,
    "accumulate": 1,
    "optimizer": "sgd",
    "momentum": 0.99,
    "weight_decay": 0.0,
    "average": 0.0,
    "layer_decay": 1.0,
    "unfreeze_every": 0,
    "clip": 0.0,
    "bptt": 0,
    "patience": 0,
    "validate_every": 0,
}
"""How the book trains in all chapters: SGD with momentum, one whole sequence per step, no regularization."""


KINDS: Mapping[str, Mapping[str, Any]] = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
"""The settings that name a kind, with the table of the settings that each kind uses."""


def with_own_defaults(values: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """Override settings by others; an optimizer or schedule that differs from before brings its own defaults."""
    changed = dict(values)
    for setting, kinds in KINDS.items():
        kind = kinds.get(layer.get(setting, values[setting]))
        if kind and kind is not kinds[values[setting]]:
            changed |= kind.settings
    return changed | dict(layer)


def unused(settings: TrainingSettings) -> dict[str, str]:
    """Return the settings that the optimizer or the schedule ignores: their name -> `optimizer` or `schedule`."""
    return {
        name: setting
        for setting, kinds in KINDS.items()
        for kind in kinds.values()
        for name in set(kind.settings) - set(kinds[getattr(settings, setting)].settings)
    }


def check_used(settings: TrainingSettings, given: Iterable[str]) -> None:
    """Raise UsageError for a setting that was given but that the optimizer or the schedule does not use."""
    ignored = unused(settings)
    for each in given:
        if setting := ignored.get(each):
            name, flag = getattr(settings, setting), flag_of(each)
            used = ", ".join(map(flag_of, KINDS[setting][name].settings))
            which = f", which uses {used}" if used else ""
            raise UsageError(f"{flag} changes nothing with --{setting} {name}{which}: leave {flag} out")


def default_owner(Settings: type, name: str) -> str:
    """Return `optimizer` or `schedule`, where its kinds define a setting's default, since the tuned kind lacks it."""
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    for setting, kinds in KINDS.items():
        users = [each for each, kind in kinds.items() if name in kind.settings]
        if setting in defaults and users and defaults[setting] not in users:
            return setting
    return ""


def untuned(settings: TrainingSettings, tuned: Mapping[str, Any]) -> str:
    """Say which optimizer or schedule is not the tuned one, and its values; empty where both are tuned."""
    said = []
    for setting, kinds in KINDS.items():
        name = getattr(settings, setting)
        if name != tuned[setting]:
            values = ", ".join(f"{flag_of(each)} {getattr(settings, each):g}" for each in kinds[name].settings)
            used = f" with {values}" if values else ""
            said.append(f"{setting} {name}{used}: the task's own defaults are for {tuned[setting]}")
    return "; ".join(said)
