"""The training loop of every task. It yields events; the caller logs, draws and saves."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rnncli.data.batching import Batch, LazyBatch
from rnncli.errors import RnnError
from rnncli.kernels.precision import forward_pass, training_precision
from rnncli.models.outline import check_alike, check_finite, check_weights
from rnncli.models.stack import States, detach, join_rows, rows_of
from rnncli.training import distributed
from rnncli.training.averaging import MovingAverage, averaged
from rnncli.training.experiment import Experiment, Metrics, never_solved
from rnncli.training.monitoring import less_is_better
from rnncli.training.optimizers import make_optimizer, optimizer_tensors, restore_optimizer
from rnncli.training.randomness import random_state, restore_random_state
from rnncli.training.schedules import Position, learning_rate
from rnncli.training.settings import TrainingSettings

MIN_SCALE, MAX_SCALE = 1.0, 2.0**127
"""Limits of the loss scale: at the minimum or below, a gradient that is not finite is not float16's fault; the scale
itself is a float32."""


@dataclass
class Progress:
    """Where a run stands: everything except weights, optimizer and random generators."""

    epoch: int = 0
    index: int = 0  # batches of this epoch that are done
    step: int = 0
    validated: int = 0  # the step of the last validation
    best: float | None = None
    best_step: int = 0
    stale: int = 0  # validations since the best one, or since the last drop of the learning rate
    drops: int = 0
    restarts: int = 0
    restarted: int = 0  # the step of the last restart
    seconds: float = 0.0
    stepping: float = 0.0  # of these seconds, those in steps and not in validations
    skipped: int = 0  # steps without effect: a scaled gradient exceeded float16
    predictions: int = 0  # targets of all steps
    lr: float = 0.0  # of the last step
    loss_sum: float = 0.0  # of the training steps since the last validation
    count: int = 0
    finished: str = ""  # why the run ended; empty while it has not
    history: list[dict[str, Any]] = field(default_factory=list)  # a record per validation, as in metrics.jsonl

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Progress":
        """Read it from a checkpoint; raises ValueError where a part is missing, unknown or of the wrong type."""
        kinds = {each.name: each.type for each in fields(cls)}
        for name in (kinds.keys() ^ stored.keys()) - {"stepping", "skipped"}:  # which older checkpoints lack
            raise ValueError(f"{name} is {'missing' if name in kinds else 'unknown'}")
        for name, value in stored.items():
            if not _is_progress(value, kinds[name]):
                raise ValueError(f"{name} is {value!r}")
        return cls(**stored)


def _is_progress(value: Any, kind: Any) -> bool:
    """Tell whether a JSON value can be a part of `Progress` of that type."""
    if kind is int:
        return type(value) is int and 0 <= value < 2**63
    if kind is float:
        return _is_number(value) and math.isfinite(value)
    if kind is str:
        return isinstance(value, str)
    if kind == float | None:
        return value is None or _is_number(value)
    return isinstance(value, list) and all(map(is_record, value))


def is_record(value: Any) -> bool:
    """Tell whether a JSON value can be a validation's record: numbers by name, some of them null."""
    if not isinstance(value, dict) or not all(_is_number(each) or each is None for each in value.values()):
        return False
    when = [value.get(name) for name in ("step", "epoch", "seconds")]
    return all(each is not None and math.isfinite(each) for each in when)


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def measured(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of a validation's record, without its time and the state of training."""
    others = ("step", "epoch", "seconds", "train_loss", "lr")
    return {name: value for name, value in record.items() if name not in others}


class NotFinite(RnnError):
    """A loss or a gradient is infinite or NaN; the trainer is in the state before that step."""


class Stepped(NamedTuple):
    """A training step was taken."""

    loss: float  # nats per prediction
    predictions: int  # targets of the batch


class Validated(NamedTuple):
    """The model was validated, and is the best so far or not."""

    record: dict[str, Any]
    improved: bool


class Restarted(NamedTuple):
    """The experiment discarded its weights and drew new ones."""

    times: int


Event = Stepped | Validated | Restarted


class Gathered(NamedTuple):
    """The results of a step's forward and backward passes in this process, for each independent part.

    The gradients are those of the loss sums over `divisors`, which equal the counts only where those are known in
    advance.
    """

    sums: list[Tensor]  # nats, () each; a single one where the parts share one loss sum
    counts: list[float]  # targets, one entry per sum
    divisors: list[float]  # one entry per sum


class Trainer:
    """Trains an experiment step by step; between any two events it can be saved, and later restored bit for bit."""

    def __init__(self, experiment: Experiment, settings: TrainingSettings) -> None:
        self.experiment, self.settings, self.model = experiment, settings, experiment.model
        self.trainable = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.parts = [list(part.parameters()) for part in experiment.independent_parts(self.model)]
        self.optimizer = make_optimizer(self.model, settings)
        self.average = MovingAverage(self.trainable, settings.average) if settings.average else None
        self.progress = Progress()
        self.carried: States | None = None
        self.rows = 0  # of the last batch, over all processes
        self.whole = True  # weights, optimizer and progress are consistent; false during an optimizer step
        uses_all = experiment.uses_all and not settings.bptt  # only the first window uses a first state
        self.loss = distributed.parallel(self.model, experiment.loss, uses_all=uses_all)
        self.shared_values: Callable[[], tuple[float, ...]] = tuple  # sent to other processes at each step
        self.shared_maxima: list[float] = []  # maxima over all processes; empty for a single one
        self.clock = 0.0  # seconds that several processes agree on
        self.device = next(self.model.parameters()).device.type
        self.scaler = torch.amp.GradScaler(self.device) if settings.precision == "float16" else None

    def begin_average(self) -> None:
        """Start the average of the weights from their current values, where weights are averaged."""
        if self.average:
            self.average.update(0)

    @property
    def planned_steps(self) -> int:
        """The steps of all epochs; where only time ends the training, the number that fits, by the speed so far."""
        if self.settings.epochs:
            return self.settings.epochs * self.experiment.batches_per_epoch
        if not self.progress.seconds:
            return self.experiment.batches_per_epoch  # unknown so far
        return round(self.progress.step * max(1.0, self.settings.max_time / self.progress.seconds))

    @property
    def may_end_early(self) -> bool:
        """Whether the training may end before its planned steps, other than by --max-time."""
        patient = self.settings.patience and self.settings.schedule != "plateau"
        return bool(patient) or self.experiment.solved is not never_solved

    def events(self) -> Iterator[Event]:
        """Train until there is a reason to stop, and yield every event; then `progress.finished` holds the reason."""
        progress = self.progress
        batches = self._rest_of_epoch()
        while True:
            if self._validation_due():
                yield self._validate()
                if not self._reason_to_stop() and self._hopeless():
                    yield self._restart()
            elif reason := self._reason_to_stop():
                progress.finished = reason
                return
            elif (batch := next(batches, None)) is not None:
                yield self.take_step(batch)
            else:
                progress.epoch, progress.index = progress.epoch + 1, 0
                batches = self._rest_of_epoch()

    def _rest_of_epoch(self) -> Iterator[Batch | LazyBatch]:
        return iter(self.experiment.batches(self.progress.epoch, self.progress.index))

    def take_step(self, batch: Batch | LazyBatch) -> Stepped:
        """Take one optimizer step; nothing changes when the loss or its gradient is not finite.

        Where the loss is scaled, a gradient that is not finite is skipped with its batch, and the scale is halved.
        """
        began, progress = time.perf_counter(), self.progress
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        distributed.seed_by_rank(self.settings.seed, progress.step)
        if batch.continues and self.carried is not None and self.rows != batch.rows:
            raise RnnError(f"the run was saved with {self.rows} sequences per batch, not {batch.rows}: start a new run")
        with training_precision():
            gathered, states = self._backward(batch)
        value, count, skipped = self._clip(gathered)
        at = Position(progress.step, progress.epoch, self.planned_steps, progress.drops)
        progress.lr = learning_rate(self.settings, at)
        for group in self.optimizer.param_groups:
            group["lr"] = progress.lr
        self.whole = False
        if not skipped:
            self.optimizer.step()
            self.experiment.after_step(self.model)
        if self.scaler:
            self.scaler.update()
        self.carried, self.rows = states, batch.rows
        progress.index += 1
        progress.step += 1
        progress.skipped += skipped
        if self.average and not skipped:
            self.average.update(progress.step - progress.restarted)
        self.whole = True
        progress.loss_sum += value * count
        progress.count += count
        progress.predictions += count
        spent = time.perf_counter() - began
        progress.seconds += spent
        progress.stepping += spent
        return Stepped(value, count)

    def _backward(self, batch: Batch | LazyBatch) -> tuple[Gathered, States | None]:
        """Accumulate the gradients of the batch's loss, piece by piece of our sequences, each window by window.

        Returns the last states of our sequences too. Processes reduce the gradients once, at the last window.
        """
        pieces = distributed.our_pieces(batch.rows, self.settings.accumulate)
        known = len(pieces) == 1 and distributed.world() == 1
        ended: list[States | None] = []
        sums: Tensor | None = None
        counts: Tensor | None = None
        divisors: list[float] = []
        for piece in pieces:
            part = distributed.take(batch, piece)
            counts = part.counts if counts is None else counts + part.counts
            divisors = divisors or self._divisors(counts, batch.rows, known=known)
            states = self._carried(piece, pieces[0].start) if batch.continues else None
            windows = list(part.windows(self.settings.bptt))
            for window in windows:
                last = piece is pieces[-1] and window is windows[-1]
                with distributed.reducing(self.loss, now=last):
                    loss_sum, states = self._window(window, states, divisors)
                sums = loss_sum if sums is None else sums + loss_sum
            ended.append(states)
        assert sums is not None
        assert counts is not None
        whole = [states for states in ended if states is not None]
        flat = [float(count) for count in counts.reshape(-1).tolist()]
        return Gathered(list(sums.reshape(-1)), flat, divisors), join_rows(whole) if whole else None

    def _window(self, window: Batch, states: States | None, divisors: list[float]) -> tuple[Tensor, States | None]:
        """Accumulate the gradient of a window; return its loss sums and its last states."""
        with forward_pass(self.device):
            outcome = self.loss(window, states)
        sums = outcome.loss_sum.reshape(-1)
        aim = torch.stack([each / divisor for each, divisor in zip(sums, divisors, strict=True)]).sum()
        if outcome.penalty is not None:
            aim = aim + outcome.penalty / divisors[0]
        aim = aim * distributed.world()  # DistributedDataParallel takes the mean
        (self.scaler.scale(aim) if self.scaler else aim).backward()
        return outcome.loss_sum.detach(), None if outcome.states is None else detach(outcome.states)

    def _divisors(self, counts: Tensor, rows: int, *, known: bool) -> list[float]:
        """Return the divisors of the loss sums before the backward pass: the counts, where they are known.

        Otherwise a power of two near the usual counts, the same in all processes, which only keeps gradients in range.
        Where independent parts share one loss, each gets its part of the count.
        """
        parts = 1 if counts.dim() else len(self.parts)
        if known:
            return [max(1, count) / parts for count in counts.reshape(-1).tolist()]
        progress = self.progress
        usual = progress.predictions / progress.step if progress.step else rows
        return [2.0 ** round(math.log2(max(1.0, usual / len(self.parts))))] * counts.numel()

    def _carried(self, piece: slice, start: int) -> States | None:
        """Return the states from which some of our sequences continue; ours begin with number `start` of the batch."""
        if self.carried is None or piece.start == piece.stop:
            return self.carried
        return rows_of(self.carried, slice(piece.start - start, piece.stop - start))

    def _clip(self, gathered: Gathered) -> tuple[float, int, bool]:
        """Make each part's gradient that of its mean loss, and clip it to the allowed norm (Pascanu et al. 2013).

        Returns the loss of all as a number, the number of targets, and whether the step must be skipped. Raises
        NotFinite.
        """
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        norms = [
            torch.nn.utils.get_total_norm([each.grad for each in part if each.grad is not None]) for part in self.parts
        ]
        numbers = torch.stack([*gathered.sums, *norms]).tolist()
        sums, sizes = numbers[: len(gathered.sums)], numbers[len(gathered.sums) :]
        sums, counts = self._agree(sums, gathered.counts)
        means = [total / max(1.0, count) for total, count in zip(sums, counts, strict=True)]
        value = sum(means) / len(means)
        parts = len(self.parts) // len(means)
        factors = [
            divisor * parts / max(1.0, count) for divisor, count in zip(gathered.divisors, counts, strict=True)
        ] * parts
        sizes = [size * factor for size, factor in zip(sizes, factors, strict=True)]
        skipped = self._check(value, sizes)
        for part, norm, size, factor in zip(self.parts, norms, sizes, factors, strict=True):
            self._scale(part, norm, size, factor)
        return value, round(sum(counts)), skipped

    def _agree(self, sums: list[float], counts: list[float]) -> tuple[list[float], list[float]]:
        """Add up the sums and counts of all processes: a step's only message besides the gradients."""
        shared_maxima = distributed.gather(*sums, *counts, self.progress.seconds, *self.shared_values())
        totals = [sum(each) for each in zip(*shared_maxima, strict=True)]
        if len(shared_maxima) > 1:
            self.clock, *self.shared_maxima = [max(each) for each in zip(*shared_maxima, strict=True)][2 * len(sums) :]
        return totals[: len(sums)], totals[len(sums) : 2 * len(sums)]

    def _check(self, value: float, sizes: list[float]) -> bool:
        """Tell whether the step must be skipped, since a scaled gradient exceeds float16; raises NotFinite."""
        bad = next((size for size in sizes if not math.isfinite(size)), 0.0)
        finite = math.isfinite(value) and math.isfinite(bad)
        if math.isfinite(value) and not finite and self.scaler and self.scaler.get_scale() > MIN_SCALE:
            return True
        if not finite:
            if self.scaler:
                self.scaler.update(self.scaler.get_scale())  # forgets the step, keeps the scale
            progress = self.progress
            what = f"the loss is {value}" if not math.isfinite(value) else f"the gradient's norm is {bad}"
            raise NotFinite(
                f"{what} at batch {progress.index + 1} of epoch {progress.epoch + 1} (step {progress.step + 1}): "
                "training stopped before that step; try a lower --lr or a smaller --clip"
            )
        return False

    def _scale(self, part: list[nn.Parameter], norm: Tensor, size: float, factor: float) -> None:
        """Multiply a part's gradient, of that norm, by a factor, and clip the result, of that size."""
        clip = self.settings.clip
        clipped = 0.0 < clip < size
        if factor != 1.0:
            for each in part:
                if each.grad is not None:
                    each.grad.mul_(factor * (clip / (size + 1e-6) if clipped else 1.0))
        elif clipped:
            torch.nn.utils.clip_grads_with_norm_(part, clip, norm)

    def _validation_due(self) -> bool:
        progress, every = self.progress, self.settings.validate_every
        if progress.validated == progress.step:
            return False
        due = progress.step % every == 0 if every else progress.index == 0
        return due or bool(self._reason_to_stop())

    def _validate(self) -> Validated:
        """Measure the model, record whether it is the best so far, and let a plateau lower the learning rate."""
        began, progress = time.perf_counter(), self.progress
        self.model.eval()
        with torch.no_grad(), averaged(self.average):
            measured: Metrics = self.experiment.validate(self.model)
        metrics = distributed.from_first(lambda: measured)  # so that all processes decide alike
        value = metrics[self.experiment.monitor]
        gain = value if less_is_better(self.experiment.monitor) else -value
        better = math.isfinite(gain) and (progress.best is None or gain < progress.best)
        gained = better or self.experiment.solved(metrics)
        improved = gained or self.experiment.newest_is_best
        if improved:
            progress.best, progress.best_step = gain, progress.step
        progress.stale = 0 if gained else progress.stale + 1
        if self.settings.schedule == "plateau" and progress.stale >= self.settings.patience:
            progress.drops, progress.stale = progress.drops + 1, 0
        progress.seconds += time.perf_counter() - began
        record = {
            "step": progress.step,
            "epoch": progress.step / self.experiment.batches_per_epoch,
            "seconds": round(progress.seconds, 3),
            "train_loss": progress.loss_sum / progress.count if progress.count else None,
            "lr": progress.lr,
            **metrics,
        }
        progress.history.append(record)
        progress.validated, progress.loss_sum, progress.count = progress.step, 0.0, 0
        return Validated(record, improved)

    def _reason_to_stop(self) -> str:
        progress, settings = self.progress, self.settings
        if progress.validated == progress.step and progress.history:
            if self.experiment.solved(progress.history[-1]):
                return "solved"
            if settings.patience and settings.schedule != "plateau" and progress.stale >= settings.patience:
                return f"no gain in {progress.stale} validations"
        if settings.epochs and progress.epoch >= settings.epochs:
            return "done"
        if settings.max_time and (self.clock if distributed.world() > 1 else progress.seconds) >= settings.max_time:
            return f"{settings.max_time:g} s are over"
        return ""

    def _hopeless(self) -> bool:
        progress = self.progress
        return self.experiment.hopeless(progress.history[-1], progress.step - progress.restarted)

    def _restart(self) -> Restarted:
        """Draw new weights and reset the optimizer's averages; the steps and seconds spent still count."""
        progress = self.progress
        self.experiment.reset()
        distributed.same_weights(self.model)
        self.optimizer = make_optimizer(self.model, self.settings)
        self.carried = None
        progress.restarts, progress.restarted = progress.restarts + 1, progress.step
        progress.stale = progress.drops = 0
        return Restarted(progress.restarts)

    def snapshot(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the whole run as plain values and named tensors; averaged weights are stored as the model's."""
        with averaged(self.average) as trainable:
            tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
            tensors |= {f"learned.{place}": value for place, value in enumerate(trainable)}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(self.optimizer).items()}
        tensors |= {f"random.{name}": value for name, value in random_state().items()}
        for place, state in enumerate(distributed.whole_states(self.carried or [], self.rows)):
            tensors |= {f"carried.{place}.{part}": value for part, value in enumerate(state)}
        scale = {"scaler": self.scaler.state_dict()} if self.scaler else {}
        return {"progress": asdict(self.progress), **scale}, tensors

    def restore(self, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Restore a snapshot.

        Raises ValueError, KeyError or another Python error for one that is not of this training; part of it may then be
        restored.
        """
        for name, value in tensors.items():
            if not name.startswith(("random.", "task.")):
                check_finite(name, value)
        weights = below("model", tensors)
        check_weights(self.model, weights)
        self.model.load_state_dict(weights)
        if self.average:
            trainable = below("learned", tensors)
            self.average.restore([trainable[str(place)] for place in range(len(trainable))])
        self.progress = Progress.of(values["progress"])
        self.clock = self.progress.seconds
        if self.progress.history:
            self.experiment.solved(self.progress.history[-1])  # checks that the metrics it reads exist
        if self.scaler and "scaler" in values:  # absent if the run used another precision so far
            self.scaler.load_state_dict(self.scaler.state_dict() | _scale_of(values["scaler"]))
        restore_optimizer(self.optimizer, self.settings, below("optimizer", tensors))
        restore_random_state(below("random", tensors))
        self.carried = self._restore_carried(below("carried", tensors))

    def _restore_carried(self, tensors: Mapping[str, Tensor]) -> States | None:
        if not tensors:
            return None
        model: Any = self.model
        device = self.trainable[0].device
        self.rows = next(map(len, tensors.values()))
        firsts = model.initial_states(self.rows)
        for place, first in enumerate(firsts):
            for part, wanted in enumerate(first):
                check_alike(f"carried.{place}.{part}", tensors[f"{place}.{part}"], wanted)
        whole = [
            type(first)(*(tensors[f"{place}.{part}"].to(device) for part in range(len(first))))
            for place, first in enumerate(firsts)
        ]
        return distributed.our_states(whole)


def _scale_of(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scale of a stored scaler and how long it has held; raises ValueError for an impossible one."""
    scale, held = stored["scale"], stored["_growth_tracker"]
    if not (_is_number(scale) and 0.0 < scale < MAX_SCALE and type(held) is int and 0 <= held < 2**31):
        raise ValueError(f"scaler is {dict(stored)!r}")
    return {"scale": float(scale), "_growth_tracker": held}


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix.`, without the prefix."""
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}
