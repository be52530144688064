"""Batches: sequences padded to equal length, in an order that depends only on the seed and the epoch.

Shapes: N sequences, T steps, B batch, D input.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from rnncli.data.vocabulary import END, START

IGNORED = -100
"""A target without a prediction: padding."""


class Batch(NamedTuple):
    """One step's data."""

    inputs: Any  # (T, B) tokens, (T, B, D), or another input that the model reads
    targets: Tensor  # (T, B), or (B, ...) with one target per sequence; IGNORED where nothing is predicted
    lengths: Tensor | None = None  # (B,), on the CPU, where a model must not look at padding
    continues: bool = False  # its sequences continue those of the previous batch: the state is carried over
    labels: Tensor | None = None  # (T, B): the voice of each token, where a model knows several
    whole: bool = False  # one target per sequence: targets (B, ...)

    @property
    def rows(self) -> int:
        """The number of sequences, B."""
        return self.targets.shape[0 if self.whole else 1]

    @property
    def counts(self) -> Tensor:
        """The number of predictions: (), or (R,) for R nets that each predict one target per sequence."""
        target_mask = self.targets != IGNORED
        return target_mask.sum(0) if self.whole else target_mask.sum()

    @property
    def predictions(self) -> int:
        """The total number of predictions."""
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
        """Cut the batch into windows of `steps` steps, each continuing the previous one; 0 leaves it whole.

        Sequences with one target each, or with lengths, cannot be cut.
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
    """A batch that is built on demand: each process, or each part of a step, builds only its own rows."""

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
    """The batches of an epoch from number `begin` on, in the same order at every call.

    Each has the sequences of a whole step; a process builds only the rows of a `LazyBatch` that it needs.
    """

    def __call__(self, epoch: int, begin: int = 0, /) -> Iterable[Batch | LazyBatch]: ...


def rounded_up(number: int, multiple: int) -> int:
    """The next multiple."""
    return -(-number // multiple) * multiple


class Sequences(ABC):
    """N sequences that batches are drawn from."""

    lengths: Tensor  # (N,): steps of each
    pool: ClassVar[int] = 16  # batches' worth of shuffled sequences that are sorted by length together

    @abstractmethod
    def rows(self, rows: Tensor) -> Batch:
        """A time-major batch of some sequences by number, cut to the longest of them."""

    def lazily(self, rows: Tensor) -> LazyBatch:
        """The batch of some sequences by number; it is cut to the longest of those that are built together."""
        return LazyBatch(len(rows), lambda part: self.rows(rows[part]))

    def in_order(self, size: int) -> Iterator[LazyBatch]:
        """Every sequence once, longest first, so that the sequences of a batch have similar lengths."""
        return map(self.lazily, self.order.split(size))

    def each(self) -> Iterator[Batch]:
        """Every sequence once, as a batch of its own, in the order of their numbers."""
        for row in range(len(self.lengths)):
            yield self.rows(torch.tensor([row]))

    @property
    def order(self) -> Tensor:
        """The numbers of the sequences as `in_order` gives them."""
        return self.lengths.argsort(descending=True, stable=True)

    def shuffled(self, size: int, seed: int, epoch: int, begin: int = 0) -> Iterator[LazyBatch]:
        """Every sequence once, in the order of this seed and epoch, in batches of similar length.

        Skips the first `begin` batches.
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
    lengths: Tensor  # (N,): predictions of each
    labels: Tensor | None = None  # (N,): the voice of each
    multiple: int = 1  # the steps of a batch are a multiple of it

    @classmethod
    def of(
        cls, sequences: Sequence[Sequence[int]], labels: Sequence[int] | None = None, multiple: int = 1
    ) -> "Sentences":
        """Put START before and END after each sequence."""
        T = rounded_up(max((len(sequence) for sequence in sequences), default=0) + 1, multiple)
        inputs = torch.full((len(sequences), T), END)
        targets = torch.full((len(sequences), T), IGNORED)
        for row, sequence in enumerate(sequences):
            inputs[row, : len(sequence) + 1] = torch.tensor([START, *sequence])
            targets[row, : len(sequence) + 1] = torch.tensor([*sequence, END])
        voices = None if labels is None else torch.tensor(labels)
        return cls(inputs, targets, (targets != IGNORED).sum(1), voices, multiple)

    def with_ends(self, chosen: Tensor) -> "Sentences":
        """A copy that predicts END only where chosen (N,), and always after a single token."""
        dropped = ~chosen & (self.lengths > 2)
        lengths = self.lengths - dropped.long()
        ends = torch.arange(self.targets.shape[1]) == lengths[:, None]
        targets = self.targets.masked_fill(dropped[:, None] & ends, IGNORED)
        return replace(self, targets=targets, lengths=lengths)

    def to(self, device: torch.device) -> "Sentences":
        """Copy to a device; lengths stay on the CPU."""
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, inputs=self.inputs.to(device), targets=self.targets.to(device), labels=labels)

    def rows(self, rows: Tensor) -> Batch:
        """A time-major batch of some sequences by number, cut to the longest of them, up to `multiple`."""
        T = rounded_up(int(self.lengths[rows].max()), self.multiple)
        labels = None if self.labels is None else self.labels[rows].expand(T, -1)
        return Batch(self.inputs[rows, :T].T.contiguous(), self.targets[rows, :T].T.contiguous(), labels=labels)


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The generator of an epoch's order: it depends only on seed and epoch, not on other random draws."""
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
