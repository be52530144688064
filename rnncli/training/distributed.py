"""One training by several processes, as torchrun starts them: rank, division of batches, agreement.

In a single process, everything here returns its argument. Agreement uses the CPU; gradients use torch's
DistributedDataParallel (Li et al. 2020, arXiv:2006.15704), over gloo on CPUs and nccl on CUDA.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar
from weakref import WeakSet

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rnncli.data.batching import IGNORED, Batch, LazyBatch
from rnncli.errors import RnnError
from rnncli.launch import LAUNCHED
from rnncli.models.stack import States, rows_of
from rnncli.training.experiment import Outcome
from rnncli.training.meeting import PATIENCE, known_run, meet, remember_run, store_part

T = TypeVar("T")

_number = 0  # of this training within the process
_reduced_losses: WeakSet[Any] = WeakSet()


def world() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return which of them this is, from 0 on."""
    return dist.get_rank() if world() > 1 else 0


def is_first() -> bool:
    """Tell whether this is the process that writes files and prints."""
    return rank() == 0


@contextmanager
def together(note: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Join the processes that torchrun started into one group while inside; a single process does nothing.

    `note` receives a line where the others take long. Raises RnnError where one does not come, or ends early.
    """
    global _number
    _number += 1
    if LAUNCHED not in os.environ:
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        with _ended_by_interrupts():
            attempt, count = meet(note), int(os.environ["WORLD_SIZE"])
            if count > 1:
                place = store_part(f"{attempt}/group{_number}")
                rank = int(os.environ["RANK"])
                dist.init_process_group(backend, store=place, rank=rank, world_size=count, timeout=PATIENCE)
        yield
    except RuntimeError as error:
        if not _is_of_others(error):
            raise
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun is about to send it; the reason comes first
        raise RnnError(
            "another process of this training has ended, so this one ends too: --resume continues from the last save"
        ) from None
    finally:
        _leave()


@contextmanager
def _ended_by_interrupts() -> Iterator[None]:
    """Let Ctrl-C end the process at once while inside: torch waits for others without running Python's handlers."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _leave() -> None:
    """Destroy the group after its reducers: the last reference to a group must not be theirs.

    They would release it while holding Python's lock, which the threads it waits for may need. The names are internal
    to torch; where they are missing, nothing is released early.
    """
    for each in _reduced_losses:
        for name in ("reducer", "logger"):
            if hasattr(each, name):
                setattr(each, name, None)
    if dist.is_initialized():
        dist.destroy_process_group()


LOST = ("gloo", "connection closed", "connection reset", "connection refused", "broken pipe")
"""Texts, in any case, of a RuntimeError about a process that is gone: torch has no class for it."""


def _is_of_others(error: RuntimeError) -> bool:
    """Tell whether an error means that another process cannot be reached: by torch's own classes, or by its text.

    Any other error is shown as it is; the group is left anyway.
    """
    kind = getattr(dist, "DistError", ())
    return isinstance(error, kind) or any(words in str(error).lower() for words in LOST)


def remember(run: str) -> None:
    """Record the run for the processes that torchrun starts after a failure or a change of machines."""
    if LAUNCHED in os.environ:
        remember_run(_number, run)


def begun() -> str | None:
    """Return the run that an earlier attempt of this launch began, if any of the processes knows it."""
    if LAUNCHED not in os.environ:
        return None
    known: list[Any] = [known_run(_number)] * world()
    if world() > 1:
        dist.all_gather_object(known, known[0])
    return next(filter(None, known), None)


def from_first(make: Callable[[], T]) -> T:
    """Return to all processes what the first one makes."""
    if world() == 1:
        return make()
    made: list[Any] = [make() if is_first() else None]
    dist.broadcast_object_list(made, src=0)
    result: T = made[0]
    return result


def gather(*values: float) -> list[list[float]]:
    """Return each process's values, in their order."""
    if world() == 1:
        return [list(values)]
    own = torch.tensor(values, dtype=torch.float64)
    each = [torch.empty_like(own) for _ in range(world())]
    dist.all_gather(each, own)
    return [some.tolist() for some in each]


def totals(*values: float) -> list[float]:
    """Return the sums over all processes."""
    return _reduced(values, "SUM")


def maxima(*values: float) -> list[float]:
    """Return the maxima over all processes: if one of them wants something, all do it."""
    return _reduced(values, "MAX")


def _reduced(values: tuple[float, ...], how: str) -> list[float]:
    if world() == 1:
        return list(values)
    each = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(each, getattr(dist.ReduceOp, how))
    result: list[float] = each.tolist()
    return result


def our_part(batch: Batch | LazyBatch) -> Batch:
    """Return our sequences of a batch; with too few for all, some processes take one without targets."""
    return take(batch, our_rows(batch.rows))


def take(batch: Batch | LazyBatch, rows: slice) -> Batch:
    """Return some sequences of a batch; for an empty slice, one sequence without targets."""
    if rows.start < rows.stop:
        return batch.part(rows)
    idle = batch.part(slice(0, 1))
    return idle._replace(targets=torch.full_like(idle.targets, IGNORED))


def our_rows(rows: int) -> slice:
    """Return which of a batch's sequences are ours."""
    return slice(rank() * rows // world(), (rank() + 1) * rows // world())


def our_pieces(rows: int, count: int) -> list[slice]:
    """Split our sequences of a batch into `count` pieces, fewer where they are too few; one empty piece for none."""
    ours = our_rows(rows)
    size = ours.stop - ours.start
    ends = [ours.start + place * size // count for place in range(count + 1)]
    return [slice(*pair) for pair in pairwise(ends) if pair[0] < pair[1]] or [ours]


def our_states(whole: States) -> States:
    """Return our rows of states (B, ...)."""
    ours = our_rows(len(whole[0][0]))
    return rows_of(whole, ours if ours.start < ours.stop else slice(0, 1))


def whole_states(probs: States, rows: int) -> States:
    """Join everyone's states (B, ...) into those of all rows."""
    if world() == 1:
        return probs
    return [type(state)(*(_whole(value, rows) for value in state)) for state in probs]


def _whole(part: Tensor, rows: int) -> Tensor:
    ours, whole = our_rows(rows), part.new_zeros(rows, *part.shape[1:])
    whole[ours] = part[: ours.stop - ours.start]
    dist.all_reduce(whole)
    return whole


def same_weights(model: nn.Module) -> None:
    """Give all processes the first one's weights."""
    if world() > 1:
        for value in model.state_dict().values():
            dist.broadcast(value, src=0)


def seed_by_rank(seed: int, step: int) -> None:
    """Let each process except the first drop out other units, drawn from seed, step and rank only.

    None of it need be saved: only the first process's generators are.
    """
    if rank():
        torch.manual_seed((seed * 1_000_003 + step * 1_009 + rank()) % 2**63)


Loss = Callable[[nn.Module, Batch, States | None], Outcome]


class _LossOf(nn.Module):
    """A loss as a module: DistributedDataParallel watches a module's parameters and the calls of its `forward`.

    Its parameters are the model's. The buffers, which never change in training, stay out of it.
    """

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.trainable = nn.ParameterList(model.parameters())
        self.loss = partial(loss, model)

    def forward(self, batch: Batch, states: States | None) -> Outcome:
        return self.loss(batch, states)


def parallel(model: nn.Module, loss: Loss, *, uses_all: bool) -> Callable[[Batch, States | None], Outcome]:
    """Return the loss of a model on our part, with gradients averaged over all processes.

    A trainable first state gets no gradient where states are carried over, nor does a class of words without targets.
    Unless a step `uses_all` parameters, torch looks for unused ones, and all processes agree on them.
    """
    if world() == 1:
        return partial(loss, model)
    reduced: Any = nn.parallel.DistributedDataParallel(_LossOf(model, loss), find_unused_parameters=not uses_all)
    _reduced_losses.add(reduced)
    result: Callable[[Batch, States | None], Outcome] = reduced
    return result


def reducing(loss: Any, *, now: bool) -> AbstractContextManager[None]:
    """Add gradients up within this process while inside; with `now`, reduce all of them over the processes."""
    kept_back: AbstractContextManager[None] = nullcontext() if now or world() == 1 else loss.no_sync()
    return kept_back
