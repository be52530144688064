"""What a task passes to the trainer: a model, batches, a loss and a validation, all as plain callables.

Shapes: T steps, B batch, D input, K classes (or V words).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn

from rnncli.data.batching import Batch, Batches
from rnncli.models.stack import States


class Outcome(NamedTuple):
    """The cost of a batch: a sum in nats over all targets, the last states, and a penalty to keep small.

    The penalty is added to the sum only for its gradient; no displayed figure includes it. Both are sums over the
    batch's own sequences, so that the parts of a batch, which several processes take, add up to the whole. For R
    independent nets the sum has one entry per net, like `Batch.counts`.
    """

    loss_sum: Tensor  # () or (R,)
    states: States | None
    penalty: Tensor | None = None


OWN_SHAPES = "nearly every batch has a shape of its own"
"""Why the steps of some tasks are not recorded as CUDA graphs."""

Metrics = dict[str, float]


class BestPart(NamedTuple):
    """What `best` holds of a model: the weights that verbs need, and what the payload then says of them."""

    keeps: Callable[[str], bool] = lambda _: True  # of the weights' names; the others only measure, or resume
    payload: Mapping[str, Any] = {}


def never_solved(_: Metrics) -> bool:
    """Tell that a task always has something left to learn."""
    return False


@dataclass(frozen=True)
class Experiment:
    """Data, model, loss and metrics of one training.

    A resumed run requests the batches of its epoch again and continues where it stopped.
    """

    model: nn.Module
    batches: Batches
    batches_per_epoch: int
    loss: Callable[[nn.Module, Batch, States | None], Outcome]
    validate: Callable[[nn.Module], Metrics]
    uses_all: bool = False  # every batch reaches every parameter: processes need not look for unused ones
    no_graphs: str = "the task does not declare that its steps can be recorded"  # why not; empty where they can
    after_step: Callable[[Any], None] = lambda _: None  # keeps the model's weights in their range
    independent_parts: Callable[[Any], Iterable[nn.Module]] = lambda model: (model,)  # parts that share no gradient
    about: str = ""  # describes the data in one line
    monitor: str = "loss"  # the validation metric that selects the best model
    newest_is_best: bool = False  # validation selects nothing: it measures the method
    solved: Callable[[Metrics], bool] = never_solved  # nothing is left to learn: stop
    hopeless: Callable[[Metrics, int], bool] = lambda _, __: False  # restart with new weights
    begin: Callable[[], str] = lambda: ""  # loads a new run's weights if they are not random; describes them
    reset: Callable[[], None] = lambda: None  # draws the new weights
    payload: Mapping[str, Any] = field(default_factory=dict)  # what the checkpoint keeps besides the weights
    tensors: Mapping[str, Tensor] = field(default_factory=dict)  # the same, as tensors
    best_part: BestPart = field(default_factory=BestPart)  # what `best` keeps of the model
