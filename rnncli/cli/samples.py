"""What a language model writes while it trains: a few lines, now and then, above the progress bar."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rnncli.task import Trained
from rnncli.training.averaging import averaged
from rnncli.training.loop import Event, Validated

if TYPE_CHECKING:
    from rnncli.api import Training

SAMPLES = 5
"""Samples of a training, by default."""


class Samples:
    """Writes samples of the model at validations: at every N-th, or about five times in all.

    They are drawn by a generator of their own, so the training is the same without them.
    """

    def __init__(self, training: "Training", every: int | None, write: Callable[[str], None]) -> None:
        self.training, self.write = training, write
        settings, experiment = training.trainer.settings, training.trainer.experiment
        validations = training.trainer.planned_steps // (settings.validate_every or experiment.batches_per_epoch)
        self.every = max(1, validations // SAMPLES) if every is None else every

    def listen(self, event: Event) -> None:
        """Write a sample after every N-th validation."""
        progress = self.training.trainer.progress
        if isinstance(event, Validated) and self.every and len(progress.history) % self.every == 0:
            self.write(f"--- step {progress.step:,}\n{self._sample().rstrip()}")

    def _sample(self) -> str:
        """Draw a sample, with the weights that validation measured, and a seed that depends on the step only."""
        training = self.training
        trainer, experiment = training.trainer, training.experiment
        trained = Trained(
            training.task.name,
            training.config,
            trainer.model,
            {"payload": experiment.payload},
            experiment.tensors,
            training.run.folder,
        )
        action = training.task.actions["generate"]
        Options: Any = action.Options
        options = Options(**Options.sample, seed=trainer.progress.step)
        with averaged(trainer.average):
            return "\n".join(action.run(trained, options).texts)
