"""The history of a training: its validations, as lists by metric, and their curve."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rnncli.analysis.cards import card, clipped, shown
from rnncli.analysis.curves import of_records
from rnncli.analysis.plots import curve_figure, runs_figure
from rnncli.training.monitoring import less_is_better, shown_metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Record = Mapping[str, float | None]
"""A validation: step, epoch, seconds, lr, train_loss and the metrics; None for a number that is not finite."""


class Choice(NamedTuple):
    """The metric by which the best model is chosen, and the step of that model."""

    monitor: str
    best_step: int


class History(dict[str, list[float | None]]):
    """A dictionary of lists with one entry per validation: `step`, `epoch`, `seconds`, `lr`, `train_loss`, metrics.

    `history["loss"][history.best]` is the loss of the best model; None stands for a number that is not finite.
    """

    def __init__(self, records: Sequence[Record], choice: Choice, *, run: str, task: str) -> None:
        names = dict.fromkeys(name for record in records for name in record)
        super().__init__({name: [record.get(name) for record in records] for name in names})
        self.records, self.run, self.task = tuple(records), run, task
        self.best_step = choice.best_step
        self.metric = shown_metric(choice.monitor, records[-1] if records else {})
        """The metric that people are shown: perplexity for a loss in nats per token."""

    @property
    def best(self) -> int | None:
        """The index of the validation of the best model; None if no validation gave a number."""
        steps = self.get("step", [])
        return steps.index(self.best_step) if self.best_step in steps else None

    def plot(self, *metrics: str, against: str = "steps") -> "Figure":
        """Draw the losses, and accuracy if there is one, or these metrics, against `steps`, `seconds` or `epochs`.

        Returns a figure of matplotlib, with a ring at the best step. Raises UsageError for an unknown metric or axis.
        """
        if not metrics and against == "steps":
            return curve_figure(self.records, title=f"{self.task} · {self.run}", best=self.best_step)
        return runs_figure(
            of_records(self.run, self.task, self.records, self.best_step, metrics, against), across=against
        )

    def __repr__(self) -> str:
        count = len(self.records)
        best = self.best
        if best is None:
            return clipped(f"History({self.task}/{self.run}: {count} validations)")
        value = shown(self[self.metric][best])
        order = "least" if less_is_better(self.metric) else "greatest"
        return clipped(
            f"History({self.task}/{self.run}: {count} validations, {order} {self.metric.replace('_', ' ')} {value} "
            f"at step {self.best_step:,}; {', '.join(self)})",
            200,
        )

    def _repr_html_(self) -> str:
        return card(f"{self.task} · {self.run}", {}, self.plot() if self.records else None)
