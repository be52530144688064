"""The training loop of every task. It yields events; the caller logs, draws and saves."""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnncli.data.batching import Batch, LazyBatch
from rnncli.errors import RnnError
from rnncli.kernels.graphs import Graphs, Recorder
from rnncli.kernels.precision import forward_pass, training_precision
from rnncli.models.outline import check_alike, check_finite, check_weights
from rnncli.models.recorded import without_graphs
from rnncli.models.stack import States, detach, join_rows, rows_of
from rnncli.training import distributed
from rnncli.training.averaging import MovingAverage, averaged
from rnncli.training.experiment import Experiment, Metrics, never_solved
from rnncli.training.layers import GradualUnfreezing
from rnncli.training.loss_scale import MIN_SCALE, LossScale
from rnncli.training.monitoring import less_is_better
from rnncli.training.optimizers import OPTIMIZERS, make_optimizer, optimizer_tensors, restore_optimizer
from rnncli.training.randomness import random_state, restore_random_state
from rnncli.training.schedules import Position, learning_rate
from rnncli.training.settings import TrainingSettings

MAX_GRAPHS = 32
"""The number of graphs kept of a training's steps; their intermediate results share one memory."""


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
    step: int = 0  # its number, from 1
    lr: float = 0.0


class Validated(NamedTuple):
    """The model was validated, and is the best so far or not."""

    record: dict[str, float | None]  # the metrics, and step, epoch, seconds, train_loss, lr
    improved: bool

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the validation."""
        return measured(self.record)

    @property
    def step(self) -> int:
        """The steps so far."""
        return int(self.record["step"] or 0)


class Restarted(NamedTuple):
    """The experiment discarded its weights and drew new ones."""

    times: int


Event = Stepped | Validated | Restarted

Listener = Callable[[Event], object]
"""A function of each event; training ends after the current step if it returns True."""


class Passes(NamedTuple):
    """The results of a step's forward and backward passes in this process, besides the gradients."""

    sums: Tensor  # nats, one entry for each independent part, or a single one where the parts share one loss sum
    counts: Tensor  # targets, one entry per sum
    norms: Tensor  # of each part's gradient
    states: States | None  # the last ones of our sequences
    reached: tuple[bool, ...]  # whether each trainable parameter has a gradient


Number = float | Tensor
"""A number, or a tensor of one, whose value a graph reads at each replay."""


class Trainer:
    """Trains an experiment step by step; between any two events it can be saved, and later restored bit for bit."""

    def __init__(self, experiment: Experiment, settings: TrainingSettings) -> None:
        self.experiment, self.settings, self.model = experiment, settings, experiment.model
        self.trainable = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.tensors = [*self.model.parameters(), *self.model.buffers()]
        self.parts = [list(part.parameters()) for part in experiment.independent_parts(self.model)]
        self.optimizer = make_optimizer(self.model, settings)
        self.average = MovingAverage(self.trainable, settings.average) if settings.average else None
        self.unfreezing = GradualUnfreezing(self.model, settings.unfreeze_every) if settings.unfreeze_every else None
        self.progress = Progress()
        self.carried: States | None = None
        self.rows = 0  # of the last batch, over all processes
        self.whole = True  # weights, optimizer and progress are consistent; false during an optimizer step
        # only the first window uses a first state, and no step a frozen layer
        uses_all = experiment.uses_all and not settings.bptt and not self.unfreezing
        self.loss = distributed.parallel(self.model, experiment.loss, uses_all=uses_all)
        self.shared_values: Callable[[], tuple[float, ...]] = tuple  # sent to other processes at each step
        self.shared_maxima: list[float] = []  # maxima over all processes; empty for a single one
        self.clock = 0.0  # seconds that several processes agree on
        self.stop_reason = ""  # why the caller wants the training to end before the next step
        self.device = next(self.model.parameters()).device.type
        self.scale = LossScale(self.trainable[0].device) if settings.precision == "float16" else None
        self.graphs = Graphs()
        self.gradients: list[Tensor] = []  # where graphs leave those of `trainable`

    def record_steps(self, recorder: Recorder) -> None:
        """Record the steps of a new trainer as graphs, and replay them."""
        self.graphs = Graphs(recorder, limit=MAX_GRAPHS, remedy="use --no-graphs")
        if not OPTIMIZERS[self.settings.optimizer].recordable:
            self.graphs.refused["update"] = f"optimizer {self.settings.optimizer} does not declare that it can be"
        self.gradients = [torch.empty_like(each) for each in self.trainable]
        self.optimizer = make_optimizer(self.model, self.settings, recorded=True)

    def begin_average(self) -> None:
        """Start the average of the weights from their current values, where weights are averaged."""
        if self.average:
            self.average.update(self.average.weight(0))

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
        if self.unfreezing and self.unfreezing.begin(progress.epoch):
            self.graphs.forget()  # they train the layers of before
        distributed.seed_by_rank(self.settings.seed, progress.step)
        if batch.continues and self.carried is not None and self.rows != batch.rows:
            raise RnnError(f"the run was saved with {self.rows} sequences per batch, not {batch.rows}: start a new run")
        passes, usual = self._pass(batch)
        value, count, factors = self._judge(passes, usual)
        at = Position(progress.step, progress.epoch, self.planned_steps, progress.drops)
        progress.lr = learning_rate(self.settings, at)
        self.whole = False
        if factors:
            self._update(factors, passes.reached)
        if self.scale:
            self.scale.update(skipped=not factors)
        self.carried, self.rows = passes.states, batch.rows
        progress.index += 1
        progress.step += 1
        progress.skipped += not factors
        self.whole = True
        progress.loss_sum += value * count
        progress.count += count
        progress.predictions += count
        spent = time.perf_counter() - began
        progress.seconds += spent
        progress.stepping += spent
        return Stepped(value, count, progress.step, progress.lr)

    def _pass(self, batch: Batch | LazyBatch) -> tuple[Passes, list[float]]:
        """Compute the gradients of a batch's loss sums over divisors: the counts of targets, where a piece has all.

        Elsewhere the divisors are usual counts, which are returned too.
        """
        pieces = distributed.our_pieces(batch.rows, self.settings.accumulate)
        parts = [distributed.take(batch, piece) for piece in pieces]
        first = [self._carried(piece, pieces[0].start) if batch.continues else None for piece in pieces]
        known = len(pieces) == 1 and distributed.world() == 1
        usual = [] if known else self._usual_divisors(parts[0].counts.numel(), batch.rows)
        uses = (*self.tensors, *self.gradients, *([self.scale.factor] if self.scale else []))
        passes: Passes = self.graphs.run("gradients", self._passes, parts, first, usual, uses=uses)
        if self.gradients:
            for each, gradient, reached in zip(self.trainable, self.gradients, passes.reached, strict=True):
                each.grad = gradient if reached else None
        return passes, usual

    def _passes(self, parts: Sequence[Batch], first: Sequence[States | None], usual: Sequence[float]) -> Passes:
        """Accumulate the gradients of the loss, piece by piece of our sequences, each window by window.

        Processes reduce the gradients once, at the last window.
        """
        self.optimizer.zero_grad(set_to_none=True)
        counts = torch.stack([part.counts.reshape(-1) for part in parts]).sum(0)
        divisors = usual or (counts.clamp(min=1) / self._parts_of_a_count(counts)).unbind()
        ended: list[States] = []
        sums: list[Tensor] = []
        with training_precision():
            for part, states in zip(parts, first, strict=True):
                windows = list(part.windows(self.settings.bptt))
                for window in windows:
                    last = part is parts[-1] and window is windows[-1]
                    with distributed.reducing(self.loss, now=last):
                        loss_sum, states = self._window(window, states, divisors)
                    sums.append(loss_sum)
                ended += [] if states is None else [states]
        norms = [
            torch.nn.utils.get_total_norm([each.grad for each in part if each.grad is not None]) for part in self.parts
        ]
        reached = tuple(each.grad is not None for each in self.trainable)
        for each, gradient in zip(self.trainable, self.gradients, strict=False):
            if each.grad is not None:
                gradient.copy_(each.grad)
        last_states = join_rows(ended) if ended else None
        return Passes(torch.stack(sums).sum(0), counts, torch.stack(norms), last_states, reached)

    def _window(self, window: Batch, states: States | None, divisors: Sequence[Number]) -> tuple[Tensor, States | None]:
        """Accumulate the gradient of a window; return its loss sums and its last states."""
        with forward_pass(self.device):
            outcome = self.loss(window, states)
        sums = outcome.loss_sum.reshape(-1)
        aim = torch.stack([each / divisor for each, divisor in zip(sums, divisors, strict=True)]).sum()
        if outcome.penalty is not None:
            aim = aim + outcome.penalty / divisors[0]
        aim = aim * distributed.world()  # DistributedDataParallel takes the mean
        (aim * self.scale.factor if self.scale else aim).backward()
        return sums.detach(), None if outcome.states is None else detach(outcome.states)

    def _parts_of_a_count(self, counts: Sequence[int] | Tensor) -> int:
        """Return among how many parts each count is divided: where all parts share one loss, each gets a part of it."""
        return 1 if len(counts) > 1 else len(self.parts)

    def _usual_divisors(self, sums: int, rows: int) -> list[float]:
        """Return divisors for unknown counts: a power of two near the usual ones, the same in all processes.

        They only keep gradients in range.
        """
        progress = self.progress
        usual = progress.predictions / progress.step if progress.step else rows
        return [2.0 ** round(math.log2(max(1.0, usual / len(self.parts))))] * sums

    def _carried(self, piece: slice, start: int) -> States | None:
        """Return the states from which some of our sequences continue; ours begin with number `start` of the batch."""
        if self.carried is None or piece.start == piece.stop:
            return self.carried
        return rows_of(self.carried, slice(piece.start - start, piece.stop - start))

    def _judge(self, passes: Passes, usual: Sequence[float]) -> tuple[float, int, list[float]]:
        """Return the loss of all as a number, the number of targets, and what each part's gradient is multiplied by.

        That makes it the gradient of the part's mean loss, clipped to the allowed norm (Pascanu et al. 2013). There are
        no factors where the step must be skipped. Raises NotFinite.
        """
        numbers, own = torch.cat([passes.sums, passes.norms]).tolist(), passes.counts.tolist()
        divisors = usual or [max(1, count) / self._parts_of_a_count(own) for count in own]
        sizes = numbers[len(own) :]
        sums, counts = self._agree(numbers[: len(own)], own)
        means = [total / max(1.0, count) for total, count in zip(sums, counts, strict=True)]
        value = sum(means) / len(means)
        parts, scale = len(self.parts) // len(means), self.scale.value if self.scale else 1.0
        factors = [
            divisor * parts / max(1.0, count) / scale for divisor, count in zip(divisors, counts, strict=True)
        ] * parts
        sizes = [size * factor for size, factor in zip(sizes, factors, strict=True)]
        skipped = self._check(value, sizes)
        clip = self.settings.clip
        clipped = [
            factor * clip / (size + 1e-6) if 0.0 < clip < size else factor
            for size, factor in zip(sizes, factors, strict=True)
        ]
        return value, round(sum(counts)), [] if skipped else clipped

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
        if math.isfinite(value) and not finite and self.scale and self.scale.value > MIN_SCALE:
            return True
        if not finite:
            progress = self.progress
            what = f"the loss is {value}" if not math.isfinite(value) else f"the gradient's norm is {bad}"
            raise NotFinite(
                f"{what} at batch {progress.index + 1} of epoch {progress.epoch + 1} (step {progress.step + 1}): "
                "training stopped before that step; try a lower --lr or a smaller --clip"
            )
        return False

    def _update(self, factors: Sequence[float], reached: tuple[bool, ...]) -> None:
        """Take the optimizer's step along the gradients times factors, and include it in the average."""
        progress = self.progress
        weight = self.average.weight(progress.step + 1 - progress.restarted) if self.average else 0.0
        numbers = [progress.lr, weight, *factors]
        if not self.graphs.records("update"):
            self._step(numbers, reached)
            return
        kept = [value for values in self.optimizer.state.values() for value in values.values()]
        averages = self.average.values if self.average else []
        uses = (*self.tensors, *self.gradients, *averages, *(each for each in kept if isinstance(each, Tensor)))
        self.graphs.run("update", self._recorded_step, torch.tensor(numbers), reached, uses=uses)

    def _recorded_step(self, numbers: Tensor, reached: tuple[bool, ...]) -> None:
        """Take the same step by numbers on the device."""
        with warnings.catch_warnings():  # the first step is not recorded, on purpose
            warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
            self._step(list(numbers.unbind()), reached)

    def _step(self, numbers: Sequence[Number], reached: tuple[bool, ...]) -> None:
        del reached  # a graph's gradients are where they were
        rate, weight, *factors = numbers
        for part, factor in zip(self.parts, factors, strict=True):
            for each in part:
                if each.grad is not None and (isinstance(factor, Tensor) or factor != 1.0):
                    each.grad.mul_(factor)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)  # an optimizer from outside may drop it
        self.optimizer.step()
        self.experiment.after_step(self.model)
        if self.average:
            self.average.update(weight)

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
        plainly = without_graphs() if self.settings.graphs == "off" else nullcontext()
        with torch.no_grad(), averaged(self.average), plainly:
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
        if self.stop_reason:
            return self.stop_reason
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
        for each in self.trainable:
            each.requires_grad_()  # also in layers that are still frozen: the optimizer takes all
        self.experiment.reset()
        distributed.same_weights(self.model)
        self.optimizer = make_optimizer(self.model, self.settings, recorded=self.graphs.recorder is not None)
        self.graphs.forget()  # those of the other optimizer
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
        scale = {"scaler": self.scale.state()} if self.scale else {}
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
        if self.scale and "scaler" in values:  # absent if the run used another precision so far
            self.scale.restore(values["scaler"])
        restore_optimizer(self.optimizer, self.settings, below("optimizer", tensors))
        self.graphs.forget()
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


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix.`, without the prefix."""
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}
