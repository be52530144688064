"""What a user can set of any training, with help texts and limits; no torch is needed to read them."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

from rnncli.errors import UsageError
from rnncli.kernels import PRECISIONS

OPTIMIZERS = ("sgd", "rmsprop", "adam", "adamw", "muon", "normuon")
SCHEDULES = ("constant", "exponential", "cosine", "plateau")
DEVICES = ("auto", "cpu", "cuda", "mps")


def option(default: Any, help: str, **limits: Any) -> Any:
    """Declare a dataclass field that a user can set.

    Limits: `choices`, `above` and `below` (exclusive), `least` and `most` (inclusive), and `resumable` for what may
    change when a run is taken up again; `shape` for what a model's weights hang on; `suggest` names values for the
    shell's completion, and `argument` is a field that is given without a flag; `unsaid` is what a checkpoint means that
    was written before the field was there, where that is not the default.
    """
    return dataclasses.field(default=default, metadata={"help": help, **limits})


def retuned(Settings: Any, name: str, default: Any) -> Any:
    """Declare an inherited field anew with another default; its help and limits stay."""
    inherited = next(field for field in dataclasses.fields(Settings) if field.name == name)
    return dataclasses.field(default=default, metadata=inherited.metadata)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How to train: steps, optimizer, schedule, limits, and where."""

    panel: ClassVar[str] = "Training"

    epochs: int = option(
        10, "Passes over the training data; 0: as many as --max-time allows.", least=0, most=10**9, resumable=True
    )
    batch_size: int = option(32, "Sequences a step.", least=1, most=2**31)
    optimizer: str = option("adamw", "What turns gradients into steps.", choices=OPTIMIZERS)
    lr: float = option(1e-3, "Learning rate.", above=0)
    momentum: float = option(0.9, "Momentum of SGD and RMSprop; first beta of Adam.", least=0, below=1)
    beta2: float = option(0.999, "Second beta of Adam.", least=0, below=1)
    weight_decay: float = option(0.0, "Weight decay.", least=0)
    average: float = option(
        0.0, "Decay of a moving average of the weights, which is then validated and kept; 0: none.", least=0, below=1
    )
    schedule: str = option("constant", "How the learning rate moves.", choices=SCHEDULES)
    decay: float = option(0.9999, "exponential: factor an epoch; plateau: factor a drop.", above=0, most=1)
    warmup: float = option(0.0, "cosine: share of the steps that warm up.", least=0, most=1)
    clip: float = option(1.0, "Greatest norm of the gradient; 0: no clipping.", least=0)
    bptt: int = option(0, "Truncate backpropagation to this many steps; 0: whole sequences.", least=0)
    patience: int = option(0, "Validations without gain before stopping (plateau: before a drop); 0: never.", least=0)
    validate_every: int = option(0, "Steps between validations; 0: once an epoch.", least=0)
    max_time: float = option(
        0.0, "Stop after this many seconds of training in all; 0: no limit.", least=0, resumable=True
    )
    save_every: float = option(60.0, "Seconds between saves.", least=0, resumable=True)
    seed: int = option(0, "Seed of everything random.", least=0, most=2**63 - 1)
    precision: str = option(
        "float32", "What products of a large net may round to, on a CPU", choices=PRECISIONS, resumable=True
    )
    device: str = option("auto", "Where to train.", choices=DEVICES, resumable=True)


def check_limits(settings: Any) -> None:
    """Hold every field of a settings dataclass against its declared limits; raises UsageError at the first breach."""
    if getattr(settings, "schedule", None) == "plateau" and not settings.patience:
        raise UsageError("--schedule plateau needs --patience: validations without gain before the learning rate drops")
    if getattr(settings, "epochs", None) == 0 and not settings.max_time:
        raise UsageError("--epochs 0 trains until --max-time is over: give it")
    for field in dataclasses.fields(settings):
        value, limits = getattr(settings, field.name), field.metadata
        flag = "--" + field.name.replace("_", "-")
        if value is None:
            continue
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{flag} must be a finite number, not {value}")
        if "choices" in limits and value not in limits["choices"]:
            raise UsageError(f"{flag} must be one of {', '.join(limits['choices'])}, not {value!r}")
        if "above" in limits and not value > limits["above"]:
            raise UsageError(f"{flag} must be above {limits['above']}, not {value}")
        if "below" in limits and not value < limits["below"]:
            raise UsageError(f"{flag} must be below {limits['below']}, not {value}")
        if "least" in limits and value < limits["least"]:
            raise UsageError(f"{flag} must be at least {limits['least']}, not {value}")
        if "most" in limits and value > limits["most"]:
            raise UsageError(f"{flag} must be at most {limits['most']}, not {value}")
