"""Verse: lines of words in memory, each a separate sequence; some lines are held out."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnncli.data.batching import Sentences
from rnncli.data.codec import Codec, Ids, label_numbers, labels_of
from rnncli.data.corpora import load_corpus
from rnncli.data.holding_out import HoldOut
from rnncli.data.scripts import lacks_blanks
from rnncli.data.sources import Corpus
from rnncli.data.text import lines_of, reads_as_before
from rnncli.data.text_data import Epochs, Plan, SentenceSet
from rnncli.data.tokenizers import CASED, TOKENIZERS
from rnncli.data.vocabulary import Vocabulary
from rnncli.errors import RnnError, UsageError

MAX_WORDS = 1_000
"""Words of a line, at most: a longer one is not verse, and a training step on it would not fit in memory."""


class Line(NamedTuple):
    """A line of verse."""

    words: list[str]
    voice: str  # the name of the corpus it is from


class Verse(NamedTuple):
    """Training lines and held-out lines."""

    name: str
    training: list[Line]
    held_out: list[Line]
    voices: tuple[str, ...] = ()  # the names of the corpora, without those of `valid`

    @property
    def fingerprint(self) -> str:
        """A hash of all words in order."""
        text = "\n".join(" ".join(line.words) for lines in (self.training, self.held_out) for line in lines)
        return hashlib.sha256(text.encode()).hexdigest()


def read_verse(specs: Sequence[str], hold_out: HoldOut, tokenizer: str, valid: Sequence[str] = ()) -> Verse:
    """Read corpora and hold out some of their lines, or the lines of the corpora in `valid`.

    Raises RnnError where a corpus cannot be read, where too few lines have words, or where a line is too long.
    """
    corpora = [load_corpus(spec) for spec in specs]
    lines = [line for corpus in corpora for line in _lines(corpus, tokenizer)]
    if len(lines) < 2:
        raise RnnError(f"{' + '.join(corpus.origin for corpus in corpora)}: fewer than two lines with words in them")
    rows = set(hold_out.rows(len(lines)))
    held_out = [lines[row] for row in sorted(rows)]
    if valid:
        held_out = [line for spec in valid for line in _lines(load_corpus(spec), tokenizer)]
        if not held_out:
            raise RnnError(f"{' + '.join(valid)} has no line with words: give another text to --valid")
    training = [line for row, line in enumerate(lines) if row not in rows]
    if not training:
        raise UsageError(f"{hold_out} leaves no line to train on")
    voices = tuple(dict.fromkeys(line.voice for line in lines))
    return Verse(" + ".join(corpus.name for corpus in corpora), training, held_out, voices)


def _lines(corpus: Corpus, tokenizer: str) -> list[Line]:
    lines = []
    if not reads_as_before() and lacks_blanks(corpus.text):
        raise RnnError(
            f"{corpus.origin} has no blanks between its words, and verse is read word by word: take a task that reads "
            "characters (`rnn train --help` lists all)"
        )
    found = corpus.text.splitlines() if reads_as_before() else lines_of(corpus.text)
    for number, line in enumerate(found, start=1):
        words = TOKENIZERS[tokenizer].split(line)
        if len(words) > MAX_WORDS:
            raise RnnError(
                f"{corpus.origin}: line {number} has {len(words):,} words, and verse is read line by line: "
                f"break lines at {MAX_WORDS:,} words or fewer"
            )
        if words and (tokenizer != CASED or any(map(str.isalnum, line))):
            lines.append(Line(words, corpus.name))
    return lines


def line_key(words: Sequence[str]) -> int:
    """Hash a line to 63 bits, to recognise copied lines without storing the text."""
    return int.from_bytes(hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest(), "big") >> 1


def new_codec(verse: Verse, tokenizer: str, min_count: int, *, by_voice: bool) -> Codec:
    """Make the codec of the training lines, with the voices as labels.

    Raises UsageError where no word occurs `min_count` times.
    """
    vocabulary = Vocabulary.of((line.words for line in verse.training), min_count)
    if not vocabulary.words:
        raise UsageError(f"{verse.name}: no word occurs {min_count} times: take --min-count 1, or more text")
    return Codec(tokenizer, vocabulary, labels=labels_of(verse.voices, by_voice=by_voice))


@dataclass(frozen=True)
class VerseData:
    """Encoded verse."""

    verse: Verse
    codec: Codec
    hint: str = ""  # appended to `about`

    @property
    def name(self) -> str:
        return self.verse.name

    @property
    def fingerprint(self) -> str:
        return self.verse.fingerprint

    @property
    def voices(self) -> tuple[str, ...]:
        return self.verse.voices

    @property
    def holds_out(self) -> bool:
        return bool(self.verse.held_out)

    @property
    def about(self) -> str:
        held_out = (
            f"{len(self.verse.held_out):,} held out" if self.holds_out else "none held out, validation on the same"
        )
        voices = f", {len(self.codec.labels)} voices" if self.codec.labels else ""
        lines, words = len(self.verse.training), len(self.codec.vocabulary)
        return f"{self.name}: {lines:,} lines to learn, {held_out}, {words:,} words{voices}{self.hint}"

    @property
    def validation(self) -> SentenceSet:
        return line_set(self.verse.held_out or self.verse.training, self.codec)

    def frequencies(self) -> Tensor:
        numbers = np.concatenate(list(self.training_arrays()))
        return torch.from_numpy(np.bincount(numbers, minlength=len(self.codec.vocabulary)))

    def epochs(self, plan: Plan, device: torch.device) -> Epochs:
        lines = self.verse.training
        numbers = [self.codec.vocabulary.encode(line.words) for line in lines]
        voices = label_numbers(self.codec.labels, [line.voice for line in lines])
        sentences = Sentences.of(numbers, voices, plan.multiple).to(device)
        return Epochs(partial(sentences.shuffled, plan.step_size, plan.seed), -(-len(lines) // plan.step_size))

    def tensors(self) -> Mapping[str, Tensor]:
        return {"line_keys": torch.tensor(sorted({line_key(line.words) for line in self.verse.training}))}

    def training_arrays(self) -> Iterator[Ids]:
        return line_set(self.verse.training, self.codec).arrays()

    def held_out_text(self) -> Iterator[str]:
        for line in self.verse.held_out or self.verse.training:
            yield "".join(self.codec.units.join(line.words))


def line_set(lines: Sequence[Line], codec: Codec) -> SentenceSet:
    """Return lines as an evaluation set."""
    return SentenceSet(
        sequences=lambda: (np.array(codec.vocabulary.encode(line.words)) for line in lines),
        sizes=lambda: (np.array([*map(len, codec.units.join(line.words)), 1]) for line in lines),
        unit="lines",
        labels=codec.labels,
        voices=[line.voice for line in lines],
    )
