"""Batches for next-token prediction from memory-mapped arrays of token ids: sentences, or running text.

Shapes: T steps, B batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnncli.data.batching import IGNORED, Batch, LazyBatch, Sentences, epoch_generator
from rnncli.data.vocabulary import END

Ids = np.ndarray[Any, Any]

CHUNK = 1 << 20
"""Tokens that are scanned at a time."""

POOL = 128
"""Batches' worth of sequences that are shuffled together and sorted by length."""

HELD_OUT = 2_000
"""Sentences that validation takes at most."""

HELD_OUT_END = 250_000
"""Validation tokens at the end of a running text, at most."""


@dataclass(frozen=True)
class Part:
    """An array of ids with END after each sequence, and its number of sequences."""

    ids: Ids
    sequences: int


@dataclass(frozen=True)
class ConcatIds:
    """Concatenated arrays of ids as one (N,), read on access.

    `remap` (V,) as for a `SentenceStream`; `begin` and `end` select a part.
    """

    arrays: Sequence[Ids]
    remap: Ids
    begin: int = 0
    end: int | None = None

    @cached_property
    def _ends(self) -> Ids:
        return np.cumsum([len(array) for array in self.arrays])

    def __len__(self) -> int:
        return int(self._ends[-1] if self.end is None else self.end) - self.begin

    def __getitem__(self, places: Ids) -> Ids:
        """The ids at places (...), which are not negative."""
        wanted = places + self.begin
        owners = np.searchsorted(self._ends, wanted, side="right")
        found = np.empty(wanted.shape, dtype=np.int64)
        for owner in np.unique(owners):
            here, array = owners == owner, self.arrays[owner]
            found[here] = array[wanted[here] - (self._ends[owner] - len(array))]
        return self.remap[found]

    def part(self, begin: int, end: int | None = None) -> "ConcatIds":
        """The part between two places."""
        return replace(self, begin=self.begin + begin, end=self.end if end is None else self.begin + end)

    def chunks(self) -> Iterator[Ids]:
        """All ids in order, in chunks of `CHUNK` tokens."""
        for begin in range(0, len(self), CHUNK):
            yield self[np.arange(begin, min(begin + CHUNK, len(self)))]

    def sentences(self) -> Iterator[Ids]:
        """The sequences between its ENDs."""
        rest = np.array([], dtype=np.int64)
        for chunk in self.chunks():
            *whole, rest = np.split(found := np.concatenate([rest, chunk]), np.flatnonzero(found == END))
            yield from (ids[ids != END] for ids in whole if len(ids) > 1)
        if (rest != END).any():
            yield rest[rest != END]

    def frequencies(self, words: int, max_tokens: int | None = None) -> Tensor:
        """How often each word (V,) occurs, in all tokens or in the first `max_tokens`."""
        counts = torch.zeros(words, dtype=torch.long)
        for chunk in (self if max_tokens is None else self.part(0, min(max_tokens, len(self)))).chunks():
            counts += torch.from_numpy(np.bincount(chunk, minlength=words))
        return counts

    def split(self, share: float, max_tokens: int) -> tuple["ConcatIds", "ConcatIds"]:
        """Cut off the end: a share of the tokens, or `max_tokens`, from an END on where there is one.

        That END is the last token of the first part and the first token of the second.
        """
        size = min(int(share * len(self)), max_tokens)
        cut = len(self) - size
        ends = np.flatnonzero(self[np.arange(cut, len(self) - 1)] == END)
        cut += int(ends[0]) if len(ends) else 0
        return self.part(0, cut + 1), self.part(cut)


class Spans(NamedTuple):
    """The spans of N sequences in an array of ids: from `begins` (N,) to `ends` (N,), exclusive."""

    ids: Ids
    begins: Ids
    ends: Ids

    def only(self, chosen: Any) -> "Spans":
        """Select some spans."""
        return Spans(self.ids, self.begins[chosen], self.ends[chosen])

    def read(self) -> list[Ids]:
        """The ids of each span, as one array each."""
        return [self.ids[begin:end] for begin, end in zip(self.begins.tolist(), self.ends.tolist(), strict=True)]


@dataclass(frozen=True)
class SentenceStream:
    """Sequences of token ids in parts, read in chunks; `remap` (V,) maps each id to the model's id.

    The sequences of `validation_part` are held out. Without it, every `stride`-th sequence of the first part is.
    Sequences are cut after `max_length` tokens. Training batches predict END in an `end_share` of the sequences, drawn
    in each epoch, and in all sequences of one token. Held-out sequences always predict it.
    """

    parts: Sequence[Part]
    remap: Ids
    max_length: int
    validation_part: Part | None = None
    end_share: float = 1.0

    @property
    def stride(self) -> int:
        """One in `stride` sequences of the first part is held out: at most a tenth, and about `HELD_OUT` at most."""
        return max(10, self.parts[0].sequences // HELD_OUT)

    def held_out(self) -> Iterator[Ids]:
        """The validation sequences."""
        if self.validation_part:
            yield from self._sequences(self.validation_part.ids)
        else:
            first = 0
            for spans in self._spans(self.parts[0].ids):
                places = first + np.arange(len(spans.begins))
                first += len(places)
                yield from self._known(spans.only(self._is_held(places)))

    def everything(self) -> Iterator[Ids]:
        """All sequences of the parts, held-out ones included."""
        for part in self.parts:
            yield from self._sequences(part.ids)

    def running_text(self) -> tuple[ConcatIds, ConcatIds]:
        """The training and the validation part as running text, each with an END before its first sequence.

        Without a validation part, the end of the text is held out.
        """
        training = self._concat_ids(self.parts)
        if self.validation_part:
            return training, self._concat_ids([self.validation_part])
        return training.split(0.1, HELD_OUT_END)

    def running_whole(self) -> ConcatIds:
        """All sequences of the parts as one running text."""
        return self._concat_ids(self.parts)

    def _concat_ids(self, parts: Sequence[Part]) -> ConcatIds:
        return ConcatIds([np.array([END]), *(part.ids for part in parts)], self.remap)

    def sequences(self) -> Iterator[Ids]:
        """All training sequences in order."""
        for number in range(len(self.parts)):
            for spans in self._training(number):
                yield from self._known(spans)

    def frequencies(self, words: int) -> Tensor:
        """How often each word (V,) is a target in the first million training tokens."""
        seen: list[Ids] = []
        tokens = 0
        for ids in self.sequences():
            seen.append(ids)
            tokens += len(ids) + 1
            if tokens >= CHUNK:
                break
        counts = np.bincount(np.concatenate(seen), minlength=words)
        counts[END] += round(self.end_share * len(seen))
        return torch.from_numpy(counts)

    def count(self, part: int) -> int:
        """The number of training sequences of a part."""
        sequences = self.parts[part].sequences
        return sequences - (sequences // self.stride if part == 0 and not self.validation_part else 0)

    def batches_per_epoch(self, size: int) -> int:
        """The number of batches of `size` sequences in an epoch; no batch crosses the end of a part."""
        return sum(-(-self.count(part) // size) for part in range(len(self.parts)))

    def batches(
        self, size: int, seed: int, epoch: int, device: torch.device, begin: int = 0, *, multiple: int = 1
    ) -> Iterator[LazyBatch]:
        """Every training sequence once: parts in random order, sequences shuffled within pools of `POOL` batches.

        The steps of a batch are a multiple of `multiple`. Skips the first `begin` batches without building them. Until
        a batch is built, only lengths are read.
        """
        generator = epoch_generator(seed, epoch)
        for pool in self._pools(size * POOL, generator):
            count = len(pool.begins)
            order = torch.randperm(count, generator=generator)
            places = torch.randperm(-(-count // size), generator=generator).tolist()
            ends = self._ends(count, generator)
            if begin < len(places):
                lengths = torch.from_numpy(pool.ends - pool.begins)
                batches = order[lengths[order].argsort(stable=True)].split(size)
                build = partial(self._built, pool, ends, device, multiple)
                for place in places[begin:]:
                    yield LazyBatch(len(batches[place]), partial(_of_rows, build, batches[place]))
            begin = max(0, begin - len(places))

    def _built(self, pool: Spans, with_end: Tensor | None, device: torch.device, multiple: int, rows: Tensor) -> Batch:
        """Build the batch of some sequences of a pool by number."""
        spans = pool.only(rows.numpy())
        known = self.remap[np.concatenate(spans.read())].tolist()
        ends = accumulate((spans.ends - spans.begins).tolist(), initial=0)
        sentences = Sentences.of([known[begin:end] for begin, end in pairwise(ends)], multiple=multiple)
        if with_end is not None:
            sentences = sentences.with_ends(with_end[rows])
        return sentences.to(device).rows(torch.arange(len(rows)))

    def _ends(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Which of N sequences predict END, (N,); None: all of them."""
        return torch.rand(count, generator=generator) < self.end_share if self.end_share < 1 else None

    def _pools(self, size: int, generator: torch.Generator) -> Iterator[Spans]:
        """The training sequences of each part in pools of `size`; no pool crosses the end of a part."""
        for number in torch.randperm(len(self.parts), generator=generator).tolist():
            rest: list[Spans] = []
            for spans in self._training(number):
                rest.append(spans)
                while sum(len(each.begins) for each in rest) >= size:
                    pooled = _concat_spans(rest)
                    yield pooled.only(slice(0, size))
                    rest = [pooled.only(slice(size, None))]
            if any(len(each.begins) for each in rest):
                yield _concat_spans(rest)

    def _training(self, number: int) -> Iterator[Spans]:
        """The spans of the training sequences of a part."""
        first = 0
        for spans in self._spans(self.parts[number].ids):
            places = first + np.arange(len(spans.begins))
            first += len(places)
            yield spans if number or self.validation_part else spans.only(~self._is_held(places))

    def _is_held(self, places: Ids) -> Ids:
        """Whether the sequences at places (N,) of the first part are held out, (N,)."""
        held: Ids = places % self.stride == self.stride - 1
        return held

    def _sequences(self, ids: Ids) -> Iterator[Ids]:
        """All sequences in the model's ids, without END."""
        for spans in self._spans(ids):
            yield from self._known(spans)

    def _spans(self, ids: Ids) -> Iterator[Spans]:
        """The spans of all sequences, without END and cut to `max_length`, chunk by chunk."""
        plain, start = np.asarray(ids), 0
        for begin in range(0, len(plain), CHUNK):
            ends = begin + np.flatnonzero(plain[begin : begin + CHUNK] == END)
            if len(ends):
                begins = np.concatenate([[start], ends[:-1] + 1])
                yield Spans(plain, begins, np.minimum(ends, begins + self.max_length))
                start = int(ends[-1]) + 1

    def _known(self, spans: Spans) -> list[Ids]:
        """Read sequences in the model's ids."""
        if not len(spans.begins):
            return []
        known = self.remap[np.concatenate(spans.read())]
        return np.split(known, (spans.ends - spans.begins).cumsum()[:-1])


def _concat_spans(spans: Sequence[Spans]) -> Spans:
    """Concatenate spans of the same array."""
    return Spans(
        spans[0].ids, np.concatenate([each.begins for each in spans]), np.concatenate([each.ends for each in spans])
    )


def _of_rows(build: Callable[[Tensor], Batch], rows: Tensor, part: slice) -> Batch:
    return build(rows[part])


@dataclass(frozen=True)
class RunningText:
    """One long sequence of token ids (N,), read in B parallel rows, each of which continues from batch to batch."""

    ids: Ids | ConcatIds
    rows: int  # B at most; a short text has fewer, so that each row has several batches
    steps: int  # T of a batch
    voices: Sequence[tuple[int, int]] = ()  # where there are several: label number and tokens of each, in order

    @property
    def size(self) -> int:
        """The number of rows, B."""
        return max(1, min(self.rows, len(self.ids) // (8 * self.steps)))

    @property
    def row_length(self) -> int:
        """Predictions per row."""
        return (len(self.ids) - 1) // self.size

    @property
    def batches_per_epoch(self) -> int:
        return -(-self.row_length // self.steps)

    def batches(self, device: torch.device, begin: int = 0) -> Iterator[LazyBatch]:
        """The whole text, `steps` tokens per row and batch; all batches except the first continue the previous one."""
        for number in range(begin, self.batches_per_epoch):
            yield LazyBatch(self.size, partial(self._built, device, number), continues=number > 0)

    def _built(self, device: torch.device, number: int, rows: slice) -> Batch:
        """Build some rows of a batch by number."""
        first = number * self.steps
        length = min(self.steps, self.row_length - first)
        places = np.arange(self.size)[rows] * self.row_length + first + np.arange(length + 1)[:, None]
        tokens = torch.from_numpy(self._read(places)).to(device)
        labels = self._labels(places[:-1], device)
        return Batch(tokens[:-1], tokens[1:], continues=number > 0, labels=labels)

    def eval_batches(self, device: torch.device, warm_up: int) -> Iterator[LazyBatch]:
        """Batches for evaluation: each row begins with the `warm_up` tokens before its own, except the first row.

        These are read without predictions. The result then equals one pass over the text with carried state, except
        for what the net remembers from before the `warm_up`.
        """
        length = -(-(len(self.ids) - 1) // self.size)
        warm_up = min(warm_up, length)
        for first in range(0, length + warm_up, self.steps):
            yield LazyBatch(self.size, partial(self._eval_batch, device, length, warm_up, first), continues=first > 0)

    def _eval_batch(self, device: torch.device, length: int, warm_up: int, first: int, rows: slice) -> Batch:
        """Build some rows of the evaluation batch that begins with step `first` of all."""
        begins = (np.arange(self.size)[rows] * length)[:, None]
        places = np.maximum(begins - warm_up, 0) + first + np.arange(min(self.steps, length + warm_up - first))
        here = (places >= begins) & (places < begins + length) & (places < len(self.ids) - 1)
        inputs, following = (self._read(np.minimum(places + shift, len(self.ids) - 1)) for shift in (0, 1))
        columns = [inputs, np.where(here, following, IGNORED)]
        tokens, targets = (torch.from_numpy(column.T.copy()).to(device) for column in columns)
        return Batch(tokens, targets, continues=first > 0, labels=self._labels(places.T, device))

    def _read(self, places: Ids) -> Ids:
        return self.ids[places].astype(np.int64)

    def _labels(self, places: Ids, device: torch.device) -> Tensor | None:
        """The label of the voice at each place (T, B)."""
        if not self.voices:
            return None
        numbers, sizes = np.array(self.voices).T
        owners = np.searchsorted(sizes.cumsum()[:-1], places, side="right")
        return torch.from_numpy(numbers[owners]).to(device)
