"""What a language model learns from and is measured on: sentences from START to END, or one stream of tokens.

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
"""Sentences that are measured together, sorted by length."""


class Summary(NamedTuple):
    """Counts of an evaluation set."""

    tokens_per_character: float
    facts: Mapping[str, float]  # what `evaluate` reports of it, by name


@dataclass(frozen=True)
class StreamSet:
    """A running text to measure on; all but its first token are predicted."""

    ids: Ids | ConcatIds
    summarize: Callable[[], Summary]
    voices: Sequence[tuple[int, int]] = ()  # the number and the tokens of each voice, one after another

    def by_voice(self) -> dict[str, "StreamSet"]:
        """Split the set by voice: a running text is measured as a whole."""
        return {}

    def arrays(self) -> Iterator[Ids]:
        """Give its tokens: all at once, or of words sentence by sentence, each with its END."""
        if isinstance(self.ids, ConcatIds):
            yield from (np.append(sentence, END) for sentence in self.ids.sentences())
        else:
            yield self.ids


@dataclass(frozen=True)
class SentenceSet:
    """Sentences to measure on; all their words and their END are predicted."""

    sequences: Callable[[], Iterator[Ids]]  # without START and END
    sizes: Callable[[], Iterator[Ids]]  # the characters of each word, with the blank or line feed after it
    unit: str = "sequences"  # what the results call them
    labels: Sequence[str] = ()  # the voices that the model knows
    voices: Sequence[str] = ()  # (N,), the voice of each sentence

    def arrays(self) -> Iterator[Ids]:
        """Give its sentences, each with its END."""
        return (np.append(ids, END) for ids in self.sequences())

    def pools(self) -> Iterator[Sentences]:
        """Give the sentences in pools of `POOL`; in their voices, where the model knows all of them."""
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


class Epochs(NamedTuple):
    """The batches of any epoch, and how many there are."""

    batches: Batches
    per_epoch: int


class TextData(Protocol):
    """A text that is numbered, and split into what is learned and what is held out."""

    @property
    def name(self) -> str:
        """The name of the corpus."""

    @property
    def fingerprint(self) -> str:
        """A hash that changes when the text does."""

    @property
    def codec(self) -> Codec:
        """How its tokens are numbered."""

    @property
    def voices(self) -> Iterable[str]:
        """The names of its corpora that may be told apart."""

    @property
    def about(self) -> str:
        """One line about it, for the start of a training."""

    @property
    def holds_out(self) -> bool:
        """Whether anything is held out; else validation measures on what is learned."""

    @property
    def validation(self) -> EvalSet:
        """What validation measures on."""

    def frequencies(self) -> Tensor:
        """Count how often each token (V,) is predicted in training."""

    def epochs(self, plan: Plan, device: torch.device) -> Epochs:
        """Plan the batches of a training."""

    def tensors(self) -> Mapping[str, Tensor]:
        """Return what a checkpoint keeps of it beside the weights."""

    def training_arrays(self) -> Iterator[Ids]:
        """Give what is learned, array after array; sentences with their END."""

    def held_out_text(self) -> Iterator[str]:
        """Give the lines that are held out, or those that are learned where none are."""
