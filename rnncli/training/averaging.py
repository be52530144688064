"""Averages of weights over a training, which predict better than the last step's weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rnncli.models.outline import check_alike


class MovingAverage:
    """An exponential moving average of parameters (Polyak and Juditsky 1992): a = decay a + (1 - decay) w per step.

    After n steps the decay is at most (1 + n) / (10 + n), so that the first weights are soon forgotten.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = parameters, decay
        self.values = [parameter.detach().clone() for parameter in parameters]

    def weight(self, steps: int) -> float:
        """Return the weight of the parameters as they are after `steps` steps."""
        return 1.0 - min(self.decay, (1 + steps) / (10 + steps)) if steps > 1 else 1.0

    @torch.no_grad()
    def update(self, weight: float | Tensor) -> None:
        """Include the parameters with a weight."""
        for value, parameter in zip(self.values, self.parameters, strict=True):
            value.lerp_(parameter, weight)

    @contextmanager
    def in_place(self) -> Iterator[list[Tensor]]:
        """Replace the parameters by their averages while inside; yield the replaced values."""
        self._swap()
        try:
            yield self.values
        finally:
            self._swap()

    def restore(self, unaveraged: Sequence[Tensor]) -> None:
        """Take the parameters as averages, and give them the values that training continues from.

        Raises ValueError for values of other shapes or types.
        """
        for place, (parameter, value) in enumerate(zip(self.parameters, unaveraged, strict=True)):
            check_alike(f"learned.{place}", value, parameter)
        self._swap()
        for parameter, value in zip(self.parameters, unaveraged, strict=True):
            parameter.data = value.to(parameter.device, copy=True)

    def _swap(self) -> None:
        for place, parameter in enumerate(self.parameters):
            parameter.data, self.values[place] = self.values[place], parameter.data


@contextmanager
def averaged(average: MovingAverage | None) -> Iterator[list[Tensor]]:
    """Do as `MovingAverage.in_place`; without an average nothing changes, and the list is empty."""
    if average is None:
        yield []
        return
    with average.in_place() as unaveraged:
        yield unaveraged
