"""Encoded prose for a language model: sentence by sentence, or as one running text."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rnncli.data.codec import Codec, Ids
from rnncli.data.indexed import TOKENIZER, IndexedCorpus
from rnncli.data.streams import CHUNK, ConcatIds, RunningText, SentenceStream
from rnncli.data.text_data import Epochs, EvalSet, Plan, SentenceSet, StreamSet, Summary
from rnncli.data.tokenizers import LOOKED_AT, hint_of_unspaced
from rnncli.data.vocabulary import END, SPECIALS, UNKNOWN, written_word
from rnncli.errors import RnnError
from rnncli.terminal import counted

MIN_SEQUENCES = 20
"""The least number of sequences for training and validation."""

MIN_TOKENS = 200
"""The least number of tokens of a running text."""


@dataclass(frozen=True)
class Prose:
    """An indexed corpus in the ids of a codec; `codec.is_running` says how it is read.

    Sentences are cut after `max_length` words; training predicts END in an `end_share` of them.
    """

    corpus: IndexedCorpus
    codec: Codec
    max_length: int
    end_share: float = 1.0

    @property
    def name(self) -> str:
        return self.corpus.name

    @property
    def fingerprint(self) -> str:
        return self.corpus.fingerprint

    @property
    def voices(self) -> tuple[str, ...]:
        return ()

    @property
    def holds_out(self) -> bool:
        return True

    @cached_property
    def stream(self) -> SentenceStream:
        """Its sequences in the codec's ids."""
        corpus = self.corpus
        remap = corpus.remap(self.codec.vocabulary)
        return SentenceStream(corpus.parts, remap, self.max_length, corpus.validation_part, self.end_share)

    @cached_property
    def running_text(self) -> tuple[ConcatIds, ConcatIds]:
        """The training and the held-out part as running text."""
        return self.stream.running_text()

    @property
    def about(self) -> str:
        corpus, known = self.corpus, len(self.codec.vocabulary.words)
        if self.codec.is_running:
            how = f"read as one stream, {len(self.running_text[1]) - 1:,} tokens held out"
        else:
            how = f"{sum(map(self.stream.count, range(len(corpus.parts)))):,} of them to learn"
        hint = hint_of_unspaced(corpus.words[:LOOKED_AT]) if corpus.tokenizer == TOKENIZER else ""
        return (
            f"{self.name}: {corpus.tokens:,} tokens in {corpus.sequences:,} sequences, {how}, "
            f"{known:,} of {len(corpus.words):,} words{hint and f'; {hint}'}"
        )

    def check(self) -> "Prose":
        """Return self; raises RnnError for a text that is too short, or whose lines are not sentences."""
        corpus = self.corpus
        if self.codec.is_running:
            if corpus.tokens < MIN_TOKENS:
                raise RnnError(
                    f"{self.name} has {counted(corpus.tokens, 'token')}: training needs at least {MIN_TOKENS}"
                )
            return self
        if corpus.sequences < MIN_SEQUENCES:
            raise RnnError(
                f"{self.name} has {counted(corpus.sequences, 'sequence')}: training needs at least {MIN_SEQUENCES}"
            )
        mean = corpus.tokens / corpus.sequences
        if mean > self.max_length:
            raise RnnError(
                f"the sequences of {self.name} have {mean:,.0f} words on average, and --longest {self.max_length} "
                "would skip most of them: give a text with one sentence per line, or a greater --longest"
            )
        return self

    @property
    def validation(self) -> EvalSet:
        return self._set_of(lambda stream: stream.running_text()[1], SentenceStream.held_out)

    @property
    def whole(self) -> EvalSet:
        """The whole corpus for evaluation, or its validation part if it has one."""
        part = self.corpus.validation_part
        parts = [part] if part else self.corpus.parts
        other = replace(self, corpus=self.corpus._replace(parts=parts, validation_part=None))
        return other._set_of(SentenceStream.running_whole, SentenceStream.everything)

    def _set_of(self, text: "_TextOf", sequences: "_SequencesOf") -> EvalSet:
        sized = replace(self.stream, remap=self.corpus.sizes())
        if not self.codec.is_running:
            return SentenceSet(lambda: sequences(self.stream), lambda: sequences(sized))
        ids = text(self.stream)
        return StreamSet(ids, lambda: _summarize(ids, text(sized), len(self.codec.vocabulary)))

    def frequencies(self) -> Tensor:
        words = len(self.codec.vocabulary)
        return (
            self.running_text[0].frequencies(words, CHUNK) if self.codec.is_running else self.stream.frequencies(words)
        )

    def epochs(self, plan: Plan, device: torch.device) -> Epochs:
        if self.codec.is_running:
            text = RunningText(self.running_text[0], plan.step_size, plan.bptt)
            return Epochs(lambda _, begin=0: text.batches(device, begin), text.batches_per_epoch)
        return Epochs(
            lambda epoch, begin=0: self.stream.batches(
                plan.step_size, plan.seed, epoch, device, begin, multiple=plan.multiple
            ),
            self.stream.batches_per_epoch(plan.step_size),
        )

    def tensors(self) -> Mapping[str, Tensor]:
        return {}

    def training_arrays(self) -> Iterator[Ids]:
        sentences = self.running_text[0].sentences() if self.codec.is_running else self.stream.sequences()
        return (np.append(ids, END) for ids in sentences)

    def held_out_text(self) -> Iterator[str]:
        words = [*map(written_word, SPECIALS), *self.corpus.all_words]
        stream = replace(self.stream, remap=np.arange(len(words)))
        for ids in stream.running_text()[1].sentences() if self.codec.is_running else stream.held_out():
            yield " ".join(words[number] for number in ids.tolist())


_TextOf = Callable[[SentenceStream], ConcatIds]
_SequencesOf = Callable[[SentenceStream], Iterator[Ids]]


def _summarize(text: ConcatIds, sizes: ConcatIds, words: int) -> Summary:
    counts = text.frequencies(words).tolist()
    tokens = len(text) - 1  # the first token is only read
    sequences = counts[END] - 1
    characters = sum(int(chunk.sum()) for chunk in sizes.chunks())
    facts = {"unknown": counts[UNKNOWN] / max(1, tokens - sequences), "sequences": sequences, "tokens": tokens}
    return Summary(tokens / max(1, characters), facts)
