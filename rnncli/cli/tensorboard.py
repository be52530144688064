"""The events of a training for TensorBoard: loss, learning rate and validation metrics against steps."""

from pathlib import Path
from types import TracebackType
from typing import Any

from rnncli.cli.screen import warn
from rnncli.training.loop import Event, Stepped, Trainer, Validated, measured

EVERY = 10
"""Steps per point of the training loss; each point is the mean over its steps."""


class Scalars:
    """Writes a trainer's events into a folder; use it in a `with`.

    A resumed run hides what it wrote beyond its checkpoint. A full disk stops the writing, with a warning, but not the
    training.
    """

    def __init__(self, trainer: Trainer, folder: Path) -> None:
        self.trainer, self.folder = trainer, folder
        self.losses: list[float] = []
        self.writer: Any = None

    def __enter__(self) -> "Scalars":
        from torch.utils.tensorboard import SummaryWriter

        try:
            self.writer = SummaryWriter(str(self.folder), purge_step=self.trainer.progress.step + 1)
        except OSError as error:
            self._give_up(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writer is not None:
            try:
                self.writer.close()
            except OSError as trouble:
                self._give_up(trouble)

    def listen(self, event: Event) -> None:
        """Receive an event."""
        progress = self.trainer.progress
        if isinstance(event, Stepped):
            self.losses.append(event.loss)
            if len(self.losses) == EVERY:
                self._write({"train/loss": sum(self.losses) / len(self.losses), "train/lr": progress.lr})
                self.losses.clear()
        elif isinstance(event, Validated):
            self._write({f"validation/{name}": value for name, value in measured(event.record).items()})

    def _write(self, values: dict[str, float]) -> None:
        if self.writer is None:
            return
        try:
            for name, value in values.items():
                self.writer.add_scalar(name, value, self.trainer.progress.step)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.writer = None
        warn(f"nothing more for TensorBoard: cannot write to {self.folder}: {error.strerror or error}")
