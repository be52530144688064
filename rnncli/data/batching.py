"""Batches: sequences padded side by side, in an order that only the seed and the epoch decide.

Shapes: N sequences, T steps, B batch, D input.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from rnncli.data.vocabulary import END, START

IGNORED = -100
"""A target that nothing is asked of: padding."""


class Batch(NamedTuple):
    """One step's data."""

    inputs: Any  # (T, B) tokens, (T, B, D), or what else a model reads
    targets: Tensor  # (T, B), or (B, ...) where sequences are judged whole; IGNORED where nothing is asked
    lengths: Tensor | None = None  # (B,), on the CPU, where a model must not look at padding
    continues: bool = False  # its sequences go on where the batch before stopped: the state is carried over
    labels: Tensor | None = None  # (T, B): whose voice each token is in, where a model knows several
    whole: bool = False  # sequences are judged whole: targets (B, ...)

    @property
    def rows(self) -> int:
        """How many sequences there are, B."""
        return self.targets.shape[0 if self.whole else 1]

    @property
    def counts(self) -> Tensor:
        """How many predictions are asked: (), or (R,) of each of R nets that judge whole sequences side by side."""
        target_mask = self.targets != IGNORED
        return target_mask.sum(0) if self.whole else target_mask.sum()

    @property
    def predictions(self) -> int:
        """How many predictions are asked in all."""
        return int(self.counts.sum())

    def part(self, rows: slice) -> "Batch":
        """Some of its sequences."""
        if (rows.start, rows.stop) == (0, self.rows):
            return self
        inputs = self.inputs[:, rows].contiguous() if isinstance(self.inputs, Tensor) else self.inputs.columns(rows)
        targets = (self.targets[rows] if self.whole else self.targets[:, rows]).contiguous()
        lengths = None if self.lengths is None else self.lengths[rows]
        labels = None if self.labels is None else self.labels[:, rows].contiguous()
        return self._replace(inputs=inputs, targets=targets, lengths=lengths, labels=labels)

    def windows(self, steps: int) -> Iterator["Batch"]:
        """The batch in windows of `steps` steps, each continuing the one before; 0 leaves it whole.

        Sequences that are judged whole, or read with their lengths, cannot be cut.
        """
        if not steps:
            yield self
            return
        for begin in range(0, len(self.inputs), steps):
            window = slice(begin, begin + steps)
            labels = None if self.labels is None else self.labels[window]
            continues = self.continues or begin > 0
            yield Batch(self.inputs[window], self.targets[window], continues=continues, labels=labels)


class LazyBatch(NamedTuple):
    """A batch that is not read yet: of several processes, or of the parts of a step, each builds only its rows."""

    rows: int
    build: Callable[[slice], Batch]  # the batch of some of the rows
    continues: bool = False

    def part(self, rows: slice) -> Batch:
        """The batch of some of its sequences."""
        return self.build(rows)


def built(batches: Iterable[Batch | LazyBatch]) -> Iterator[Batch]:
    """The same batches with all their rows."""
    for batch in batches:
        yield batch.part(slice(0, batch.rows))


class Batches(Protocol):
    """The batches of an epoch from number `begin` on, the same ones in the same order at every call.

    Each has the sequences of a whole step; of a `LazyBatch` only the rows are built that a process needs at a time.
    """

    def __call__(self, epoch: int, begin: int = 0, /) -> Iterable[Batch | LazyBatch]: ...


class Sequences(ABC):
    """N sequences that batches are drawn from."""

    lengths: Tensor  # (N,): steps of each
    pool: ClassVar[int] = 16  # so many batches' worth of shuffled sequences are sorted by length together

    @abstractmethod
    def rows(self, rows: Tensor) -> Batch:
        """A time-major batch of some sequences by number, cut to the longest of them."""

    def lazily(self, rows: Tensor) -> LazyBatch:
        """The batch of some sequences by number, which is cut to the longest of those that are built together."""
        return LazyBatch(len(rows), lambda part: self.rows(rows[part]))

    def in_order(self, size: int) -> Iterator[LazyBatch]:
        """Every sequence once, longest first, so that batches are even."""
        return map(self.lazily, self.order.split(size))

    def each(self) -> Iterator[Batch]:
        """Every sequence once, by itself, as they come."""
        for row in range(len(self.lengths)):
            yield self.rows(torch.tensor([row]))

    @property
    def order(self) -> Tensor:
        """The numbers of the sequences as `in_order` gives them."""
        return self.lengths.argsort(descending=True, stable=True)

    def shuffled(self, size: int, seed: int, epoch: int, begin: int = 0) -> Iterator[LazyBatch]:
        """Every sequence once, in the order of this seed and epoch, neighbours in length side by side.

        The first `begin` batches are left out.
        """
        generator = epoch_generator(seed, epoch)
        order = torch.randperm(len(self.lengths), generator=generator)
        batches = [
            rows
            for pool in order.split(size * self.pool)
            for rows in pool[self.lengths[pool].argsort(stable=True)].split(size)
        ]
        for place in torch.randperm(len(batches), generator=generator).tolist()[begin:]:
            yield self.lazily(batches[place])


@dataclass(frozen=True)
class Sentences(Sequences):
    """Sequences of tokens as the three columns of next-token prediction, padded to the longest."""

    inputs: Tensor  # (N, T): START and the tokens
    targets: Tensor  # (N, T): the tokens and END, then IGNORED
    lengths: Tensor  # (N,): predictions asked of each
    labels: Tensor | None = None  # (N,): whose voice each is in

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]], labels: Sequence[int] | None = None) -> "Sentences":
        """Put START before and END after each sequence."""
        T = max((len(sequence) for sequence in sequences), default=0) + 1
        inputs = torch.full((len(sequences), T), END)
        targets = torch.full((len(sequences), T), IGNORED)
        for row, sequence in enumerate(sequences):
            inputs[row, : len(sequence) + 1] = torch.tensor([START, *sequence])
            targets[row, : len(sequence) + 1] = torch.tensor([*sequence, END])
        return cls(inputs, targets, (targets != IGNORED).sum(1), None if labels is None else torch.tensor(labels))

    def with_ends(self, chosen: Tensor) -> "Sentences":
        """The same that asks for END only where chosen (N,), and after a single token, which is always asked for it."""
        dropped = ~chosen & (self.lengths > 2)
        lengths = self.lengths - dropped.long()
        ends = torch.arange(self.targets.shape[1]) == lengths[:, None]
        targets = self.targets.masked_fill(dropped[:, None] & ends, IGNORED)
        return Sentences(self.inputs, targets, lengths, self.labels)

    def to(self, device: torch.device) -> "Sentences":
        """The same on a device; lengths stay on the CPU."""
        labels = None if self.labels is None else self.labels.to(device)
        return Sentences(self.inputs.to(device), self.targets.to(device), self.lengths, labels)

    def rows(self, rows: Tensor) -> Batch:
        """A time-major batch of some sequences by number, cut to the longest of them."""
        T = int(self.lengths[rows].max())
        labels = None if self.labels is None else self.labels[rows].expand(T, -1)
        return Batch(self.inputs[rows, :T].T.contiguous(), self.targets[rows, :T].T.contiguous(), labels=labels)


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The source of an epoch's order: a function of seed and epoch alone, apart from all other chance."""
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
