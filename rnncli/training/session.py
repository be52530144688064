"""A session of training: drives the loop, keeps its run on disk, and obeys signals."""

import shlex
import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor

from rnncli.errors import Interrupted, RnnError
from rnncli.training import distributed
from rnncli.training.checkpoint import Checkpoint, to_bytes
from rnncli.training.interrupts import noted_interrupts
from rnncli.training.loop import Event, Listener, NotFinite, Stepped, Trainer, Validated
from rnncli.training.machine import is_out_of_memory, keep_freed_memory, matmul_policy
from rnncli.training.runs import Run

PARTS_OF_A_STEP: Mapping[Hashable, str] = {
    "gradients": "the forward and backward passes",
    "update": "the optimizer's step",
}
"""The keys of a trainer's graphs, in words."""

State = tuple[dict[str, Any], dict[str, Tensor]]
"""The contents of a checkpoint: its header, and its tensors by name."""

STOPPED = "stopped by a callback"
"""Why a run ended whose listener asked for it."""


class Session:
    """One session of a run: from its start or a checkpoint until it finishes or is interrupted.

    `identity` goes into every checkpoint besides the trainer's own state: task, config, and what the task keeps.
    """

    def __init__(self, trainer: Trainer, run: Run, identity: Mapping[str, Any]) -> None:
        self.trainer, self.run, self.identity = trainer, run, identity
        self._pending_best: State | None = None  # serialized when it is written
        self._saved_at = time.monotonic()
        self._warn: Callable[[str], None] = lambda _: None
        self._warned: set[str] = set()
        self._stop_requested = False  # by a listener
        self._metrics_whole = True  # if false, the next save rewrites the file

    def resume(self, found: Checkpoint, restoring: AbstractContextManager[None] | None = None) -> None:
        """Continue from a checkpoint of this run, bit for bit; later lines of the metrics file are discarded.

        What fails within `restoring` is the checkpoint's fault.
        """
        with restoring or nullcontext():
            self.trainer.restore(found.header, found.tensors)
        self.trainer.progress.finished = ""
        self.run.write_metrics(self.trainer.progress.history)

    def train(self, listen: Listener, warn: Callable[[str], None]) -> None:
        """Train to the end and pass every event to `listen`; a failed intermediate save goes to `warn`.

        If `listen` returns True, the training ends as after its last step: validated, saved, and resumable. If it
        raises, the run is saved first. Raises Interrupted after a signal (everything is saved; the text says how to
        resume), and RnnError when the loss is not finite, memory runs out (the state before that step is saved) or the
        last save fails.
        """
        self._warn = warn
        keep_freed_memory()
        suited = matmul_policy(self.trainer.model, self.trainer.settings.precision)
        with suited, noted_interrupts() as interrupts:
            self.trainer.shared_values = lambda: (
                interrupts.received,
                self._stop_requested,
                time.monotonic() - self._saved_at,
            )
            try:
                for event in self.trainer.events():
                    if isinstance(event, Validated):
                        self._note(event)
                    self._tell(listen, event)
                    if isinstance(event, Stepped):
                        self._tell_of_graphs()
                        number, stop, waited = self.trainer.shared_maxima or self.trainer.shared_values()
                        if number:
                            self._stop(int(number))
                        if stop:
                            self.trainer.stop_reason = STOPPED
                        if waited >= self.trainer.settings.save_every:
                            self._save()
            except NotFinite:
                self._save_for_good()  # the state before that step is valid
                raise
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise RnnError(
                    f"memory ran out: {self._saved_whole()}; or try a smaller --batch-size, and --accumulate to keep "
                    "the sequences of a step"
                ) from None
            self.save()

    def _tell(self, listen: Listener, event: Event) -> None:
        """Pass an event on, and note a wish to stop, which several processes share with the next step."""
        try:
            self._stop_requested |= listen(event) is True
        except BaseException:
            if distributed.world() == 1:
                self.save()
            raise
        if self._stop_requested and distributed.world() == 1:
            self.trainer.stop_reason = STOPPED

    def save(self) -> None:
        """Write the newest state, and the best one where it is not on disk yet; all processes take part."""
        newest, progress = self._state(), self.trainer.progress
        # The best one first: if killed in between, a resumed run finds it. At the best step the newest state has the
        # same weights, and also records how the run ended.
        self._save_best(newest if progress.best_step == progress.step != progress.restarted else None)
        self.run.save(to_bytes(*newest))
        self._saved_at = time.monotonic()
        if not self._metrics_whole:
            self._mend_metrics()

    def _mend_metrics(self) -> None:
        try:
            self.run.write_metrics(self.trainer.progress.history)
            self._metrics_whole = True
        except RnnError as error:
            self._warn_once(str(error))

    def _tell_of_graphs(self) -> None:
        """Warn of a part of a step that turned out not to be recordable."""
        for part, reason in self.trainer.graphs.refused.items():
            self._warn_once(f"no CUDA graph of {PARTS_OF_A_STEP[part]}: {reason}")

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._warn(text)

    def _save_for_good(self) -> None:
        """Save, and wait until all have saved: when one process of several ends, the others are ended too."""
        self.save()
        distributed.maxima(0)

    def _note(self, event: Validated) -> None:
        if event.improved:
            header, tensors = self._model_of(self._state())
            self._pending_best = header, {name: value.detach().clone() for name, value in tensors.items()}
        if self._metrics_whole:
            try:
                self.run.append_metrics(self.trainer.progress.history)
            except RnnError as error:  # half a line may have been written
                self._metrics_whole = False
                self._warn_once(f"{error}; training continues, and a later save rewrites the file")

    def _save(self) -> None:
        try:
            self.save()
        except RnnError as error:
            self._warn_once(f"{error}; training continues")
            self._saved_at = time.monotonic()

    def _save_best(self, at_best: State | None = None) -> None:
        if self._pending_best is not None:
            self.run.save_best(to_bytes(*(self._model_of(at_best) if at_best else self._pending_best)))
            self._pending_best = None

    def _stop(self, number: int) -> None:
        self._save_for_good()
        raise Interrupted(f"stopped and {self._saved}", number)

    @property
    def _saved(self) -> str:
        """Text: what was saved, and how to continue."""
        again = f"rnn train {self.run.task} --resume --name {shlex.quote(self.run.name)}"
        return f"saved at step {self.trainer.progress.step}: `{again}` continues from here"

    def _saved_whole(self) -> str:
        """Save what can be saved after a step or a validation failed, and return a text that says what.

        Several processes save together, and the others do not know of the failure: there, the previous saves remain.
        """
        try:
            if self.trainer.whole and distributed.world() == 1:
                self.save()
                return self._saved
            self._save_best()
        except (RuntimeError, MemoryError) as error:  # a save takes memory too
            if not is_out_of_memory(error):
                raise
        return "the last save remains, and --resume continues from there"

    def _state(self) -> State:
        values, tensors = self.trainer.snapshot()
        kept = {f"task.{name}": value for name, value in self.trainer.experiment.tensors.items()}
        return {**self.identity, **values}, tensors | kept

    def _model_of(self, state: State) -> State:
        """Return the part of a state that verbs need: no optimizer, no random state, no weights that only measure."""
        header, tensors = state
        part = self.trainer.experiment.best_part
        weights = {name for name in tensors if name.startswith("model.") and part.keeps(name.removeprefix("model."))}
        kept = {name: value for name, value in tensors.items() if name in weights or name.startswith("task.")}
        return {**header, "payload": {**header.get("payload", {}), **part.payload}}, kept
