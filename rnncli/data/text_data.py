"""The data of a language model, for training and evaluation: sentences from START to END, or one stream of tokens.

Shapes: N sentences or tokens, V words.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, count, islice
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from rnncli.data.batching import Batches, Sentences
from rnncli.data.codec import Codec, Ids, label_numbers
from rnncli.data.streams import ConcatIds
from rnncli.data.vocabulary import END, UNKNOWN

POOL = 4096
"""Sentences that are evaluated together, sorted by length."""


class Summary(NamedTuple):
    """Counts of an evaluation set."""

    tokens_per_character: float
    facts: Mapping[str, float]  # counts that `evaluate` reports, by name


@dataclass(frozen=True)
class StreamSet:
    """A running text for evaluation; all tokens except the first are predicted."""

    ids: Ids | ConcatIds
    summarize: Callable[[], Summary]
    voices: Sequence[tuple[int, int]] = ()  # the label and the number of tokens of each voice, in order

    def by_voice(self) -> dict[str, "StreamSet"]:
        """Split the set by voice: empty, since a running text is evaluated as a whole."""
        return {}

    def arrays(self) -> Iterator[Ids]:
        """Yield its tokens: all at once, or for word models sentence by sentence, each with its END."""
        if isinstance(self.ids, ConcatIds):
            yield from (np.append(sentence, END) for sentence in self.ids.sentences())
        else:
            yield self.ids


@dataclass(frozen=True)
class SentenceSet:
    """Sentences for evaluation; all their words and their END are predicted."""

    sequences: Callable[[], Iterator[Ids]]  # without START and END
    sizes: Callable[[], Iterator[Ids]]  # parts of each one's characters, with its line feed
    unit: str = "sequences"  # their name in the results
    labels: Sequence[str] = ()  # the voices that the model knows
    voices: Sequence[str] = ()  # (N,), the voice of each sentence

    def arrays(self) -> Iterator[Ids]:
        """Yield its sentences, each with its END."""
        return (np.append(ids, END) for ids in self.sequences())

    def pools(self) -> Iterator[Sentences]:
        """Yield the sentences in pools of `POOL`, with voices if the model knows all of them."""
        numbers, sequences = label_numbers(self.labels, self.voices), self.sequences()
        for begin in count(step=POOL):
            pool = [ids.tolist() for ids in islice(sequences, POOL)]
            if not pool:
                return
            yield Sentences.of(pool, None if numbers is None else numbers[begin : begin + POOL])

    def by_voice(self) -> dict[str, "SentenceSet"]:
        """Split the set by voice, in the order of the model's labels; empty where it has a single voice."""
        if len(set(self.voices)) < 2 or label_numbers(self.labels, self.voices) is None:
            return {}
        return {label: self._of(label) for label in self.labels if label in self.voices}

    def _of(self, label: str) -> "SentenceSet":
        chosen = [voice == label for voice in self.voices]
        return replace(
            self,
            sequences=lambda: compress(self.sequences(), chosen),
            sizes=lambda: compress(self.sizes(), chosen),
            voices=[label] * sum(chosen),
        )

    def summarize(self) -> Summary:
        """Count its words, characters and UNKNOWN words."""
        sentences = words = unknown = characters = 0
        for ids, sizes in zip(self.sequences(), self.sizes(), strict=True):
            sentences += 1
            words += len(ids)
            unknown += int(np.count_nonzero(ids == UNKNOWN))
            characters += int(sizes.sum())
        facts = {"unknown": unknown / max(1, words), self.unit: sentences}
        return Summary((words + sentences) / max(1, characters), facts)


EvalSet = StreamSet | SentenceSet


class Plan(NamedTuple):
    """How training reads a text."""

    step_size: int  # sequences
    bptt: int  # steps of a batch, of a stream
    seed: int
    multiple: int = 1  # of which the steps of a batch of sentences are one, so that few lengths occur


class Epochs(NamedTuple):
    """The batches of any epoch, and their number."""

    batches: Batches
    per_epoch: int


class TextData(Protocol):
    """An encoded text, split into a training and a held-out part."""

    @property
    def name(self) -> str:
        """The name of the corpus."""

    @property
    def fingerprint(self) -> str:
        """A hash that changes with the text."""

    @property
    def codec(self) -> Codec:
        """The codec of its ids."""

    @property
    def voices(self) -> Iterable[str]:
        """The names of its corpora, which may become voices."""

    @property
    def about(self) -> str:
        """One line about the text, printed when training starts."""

    @property
    def holds_out(self) -> bool:
        """Whether anything is held out; otherwise validation uses the training part."""

    @property
    def validation(self) -> EvalSet:
        """The validation set."""

    def frequencies(self) -> Tensor:
        """Count how often each token (V,) is predicted in training."""

    def epochs(self, plan: Plan, device: torch.device) -> Epochs:
        """Plan the batches of a training."""

    def tensors(self) -> Mapping[str, Tensor]:
        """The tensors that a checkpoint stores in addition to the weights."""

    def training_arrays(self) -> Iterator[Ids]:
        """Yield the training part, array after array; sentences with their END."""

    def held_out_text(self) -> Iterator[str]:
        """Yield the held-out lines, or the training lines where nothing is held out."""
