"""The progress bar of a training, on standard error: loss, metric, speed, time left."""

from types import TracebackType
from typing import Any

from rnncli.terminal import Screen, escaped, progress_bar
from rnncli.training.loop import Event, Restarted, Stepped, Trainer, Validated
from rnncli.training.monitoring import shown_metric


class Bar:
    """Shows a trainer's events as they occur; use it in a `with`."""

    def __init__(self, trainer: Trainer, *, shown: bool = True) -> None:
        self.trainer, self.is_shown = trainer, shown
        self.shown: dict[str, str] = {}
        self.bar: Any = None
        self.predictions = 0

    def __enter__(self) -> "Bar":
        progress = self.trainer.progress
        self.bar = progress_bar(self.trainer.planned_steps, "step", done=progress.step, shown=self.is_shown)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()

    def listen(self, event: Event) -> None:
        """Receive an event; the bar limits how often it is drawn."""
        if isinstance(event, Stepped):
            self.predictions += event.predictions
            self.bar.total = self.trainer.planned_steps  # the estimate moves if only a time limit ends the training
            if self.bar.update():
                elapsed = max(1e-9, self.bar.format_dict["elapsed"])
                self.shown["loss"] = f"{event.loss:.3f}"
                self.shown["tok/s"] = f"{self.predictions / elapsed:,.0f}"
                self.bar.set_postfix(self.shown, refresh=False)
        elif isinstance(event, Validated):
            name = shown_metric(self.trainer.experiment.monitor, event.record)
            self.shown["validation " + name] = f"{event.record[name]:.4g}"
            self.bar.set_postfix(self.shown, refresh=False)
        elif isinstance(event, Restarted):
            self.shown["restarts"] = str(event.times)

    def warn(self, text: str) -> None:
        """Print a warning above the bar."""
        self._write(escaped(f"rnn: warning: {text}", one_line=True))

    def write(self, text: str) -> None:
        """Print lines above the bar."""
        self._write(escaped(text))

    def _write(self, text: str) -> None:
        self.bar.write(text, file=Screen())
