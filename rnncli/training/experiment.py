"""What a task hands to the trainer: a model, batches, a loss and its validation, all as plain callables.

Shapes: T steps, B batch, D input, K classes (or V words).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn

from rnncli.data.batching import Batch, Batches
from rnncli.models.stack import States


class Outcome(NamedTuple):
    """What a batch cost: a sum in nats over all that was asked, the states it ended in, and what is to be kept small.

    The penalty is added to the sum for its gradient alone; no figure that people are shown holds it. Both are sums over
    the batch's own sequences: of the parts of a batch, which several processes take, they add up to that of the whole.
    Of R nets that learn apart the sum is one for each, of the shape of `Batch.counts`.
    """

    loss_sum: Tensor  # () or (R,)
    states: States | None
    penalty: Tensor | None = None


Metrics = dict[str, float]


def never_solved(_: Metrics) -> bool:
    """Of a task in which something is always left to learn."""
    return False


@dataclass(frozen=True)
class Experiment:
    """Data, model, loss and metrics of one training.

    A resumed run asks again for the batches of its epoch, and goes on from where it stood.
    """

    model: nn.Module
    batches: Batches
    batches_per_epoch: int
    loss: Callable[[nn.Module, Batch, States | None], Outcome]
    validate: Callable[[nn.Module], Metrics]
    uses_all: bool = False  # every batch reaches every parameter: processes need not look for those that it does not
    after_step: Callable[[Any], None] = lambda _: None  # holds the model's weights where they belong
    independent_parts: Callable[[Any], Iterable[nn.Module]] = lambda model: (model,)  # parts that share no gradient
    about: str = ""  # what the data is, in one line
    monitor: str = "loss"  # the validation metric that tells the best model
    newest_is_best: bool = False  # nothing is chosen by validation: it is to say how good the method is
    solved: Callable[[Metrics], bool] = never_solved  # nothing is left to learn: stop
    hopeless: Callable[[Metrics, int], bool] = lambda _, __: False  # begin again with new weights
    begin: Callable[[], str] = lambda: ""  # where a new run's weights come from, if not from chance; says it
    reset: Callable[[], None] = lambda: None  # draws the new weights
    payload: Mapping[str, Any] = field(default_factory=dict)  # what the checkpoint keeps beside the weights
    tensors: Mapping[str, Tensor] = field(default_factory=dict)  # the same, as tensors
