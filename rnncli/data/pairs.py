"""Pairs of a sentence and its translation: read from files, and arranged in batches.

Shapes: N pairs, S source steps, T target steps, B batch.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from rnncli.data.batching import IGNORED, Batch, Sentences, Sequences, rounded_up
from rnncli.data.corpora import CORPORA, items_of, load_corpus
from rnncli.data.items import SOURCE, TARGET, Items, Keys
from rnncli.data.sources import Corpus, Parallel
from rnncli.data.tables import Layout, Row, check_width, column_of, name_of, read_rows, separator_of, two_names
from rnncli.data.text import lines_of, read_text, reads_as_before
from rnncli.data.vocabulary import END
from rnncli.errors import RnnError, UsageError

Lines = list[tuple[str, str]]
"""Sentences, each with its translation."""

_COLUMNS = "a sentence's and its translation's"


class Paired(NamedTuple):
    """Pairs for training, validation and testing."""

    name: str
    training: Lines
    validation: Lines
    test: Lines
    note: str = ""  # how the table was read, if it is one

    @property
    def fingerprint(self) -> str:
        """A hash of all pairs in order, to detect changed data."""
        lines = (f"{source}\t{target}" for part in self[1:4] for source, target in (*part, ("", "")))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class PairSpec(NamedTuple):
    """Which pairs to read: a corpus and its languages, or files with one sentence per line."""

    corpus: tuple[str, ...] = ()
    pair: str = ""
    source: str | None = None
    target: str | None = None
    valid_source: str | None = None
    valid_target: str | None = None
    columns: str = "1,2"  # of a table
    layout: Layout = Layout()

    @property
    def divided(self) -> Parallel | None:
        """The corpus, if it has its own training, validation and test parts."""
        if self.source or self.target or len(self.corpus) != 1:
            return None
        known = CORPORA.get(self.corpus[0])
        return known if isinstance(known, Parallel) else None


def read_paired(spec: PairSpec, hold_out: float) -> Paired:
    """Read the pairs; by default, the last share is for testing and the share before it for validation.

    Raises UsageError for flags that do not fit together, RnnError for files that cannot be read, or are not pairs.
    """
    if bool(spec.valid_source) != bool(spec.valid_target):
        raise UsageError("--valid-source and --valid-target belong together: give both")
    if known := spec.divided:
        if spec.valid_source:
            raise UsageError(
                f"{known.name} has validation pairs of its own: leave --valid-source and --valid-target out"
            )
        training, validation, test = known.pairs(spec.pair)
        return Paired(f"{known.name} {spec.pair}", training, validation, test)
    data = read_pairs(spec)
    name, pairs = data.name, data.training
    if spec.valid_source and spec.valid_target:
        return data._replace(validation=paired_files(spec.valid_source, spec.valid_target))
    held = max(1, round(hold_out * len(pairs)))
    if len(pairs) < 3 * held:
        raise RnnError(f"{name} has {len(pairs)} pairs: too few to hold out {held} to validate on and {held} to test")
    return data._replace(training=pairs[: -2 * held], validation=pairs[-2 * held : -held], test=pairs[-held:])


def read_pairs(spec: PairSpec) -> Paired:
    """Read all pairs of two files, or of one table, as training pairs; raises as `read_paired`."""
    if bool(spec.source) != bool(spec.target):
        raise UsageError("--source and --target belong together: give both")
    if spec.source and spec.target:
        if spec.corpus:
            raise UsageError("give --corpus, or --source and --target, not both")
        name = f"{Path(spec.source).name} + {Path(spec.target).name}"
        return Paired(name, paired_files(spec.source, spec.target), [], [])
    if len(spec.corpus) > 1:
        raise UsageError("pairs come from one --corpus: put them into one file")
    if items := items_of(spec.corpus[0]):
        return _paired_items(items, spec.columns)
    return _paired_rows(load_corpus(spec.corpus[0]), spec)


def _paired_items(items: Items, columns: str) -> Paired:
    """Read the pairs of JSON lines or from Python; `columns` names the keys, unless it numbers them."""
    wanted = two_names(columns, _COLUMNS)
    by_number = all(map(str.isdecimal, wanted))
    keys = Keys(*((SOURCE, TARGET) if by_number else wanted), ("--columns", "--columns"))
    pairs = _checked(list(items.text_pairs(keys)), items.origin, items.origin, items.unit)
    return Paired(items.name, pairs, [], [], f"{len(pairs):,} {items.unit}s read")


def _paired_rows(corpus: Corpus, spec: PairSpec) -> Paired:
    """Read the pairs of a table; other columns are ignored."""
    separator = spec.layout.character or separator_of(corpus.origin)
    if not separator or reads_as_before():
        separator = "\t"
    quoted = spec.layout.quoted(separator)
    header, *rows = [Row(0, []), *read_rows(corpus.text, separator, quoted=quoted, origin=corpus.origin)]
    wanted = two_names(spec.columns, _COLUMNS)
    if spec.layout.header or (rows and set(wanted) <= set(rows[0].fields) and not all(map(str.isdecimal, wanted))):
        header, *rows = rows
    width = max(len(header.fields), *(len(row.fields) for row in rows)) if rows else 0
    for row in rows:
        if len(row.fields) < 2:
            raise RnnError(
                f"{corpus.origin}, line {row.line}: a line needs a sentence, a {name_of(separator)}, "
                "and its translation"
            )
        if header.fields or separator != "\t":
            like = "the header" if header.fields else f"line {rows[0].line}"
            expected = len(header.fields or rows[0].fields)
            check_width(row, expected, separator, corpus.origin, quoted=quoted, like=like)
    source, target = (column_of(part, header.fields, width, "--columns", corpus.origin) for part in wanted)
    numbered = [(row.line, (row.fields + [""] * width)[source], (row.fields + [""] * width)[target]) for row in rows]
    note = f"{len(rows):,} rows read" + (f", columns other than {spec.columns} ignored" if width > 2 else "")
    return Paired(corpus.name, _checked(numbered, corpus.origin, corpus.origin), [], [], note)


def paired_files(source: str, target: str) -> Lines:
    """Pair the lines of two files; raises RnnError for files of unequal length."""
    sources, targets = (lines_of(read_text(Path(name))) for name in (source, target))
    if len(sources) != len(targets):
        raise RnnError(
            f"{source} has {len(sources):,} lines and {target} {len(targets):,}: each line needs its translation"
        )
    numbered = [(number, *pair) for number, pair in enumerate(zip(sources, targets, strict=True), start=1)]
    return _checked(numbered, source, target)


def _checked(numbered: Sequence[tuple[int, str, str]], source: str, target: str, unit: str = "line") -> Lines:
    """Normalise blanks between words; raises RnnError for an empty line."""
    for line, *pair in numbered:
        for text, name in zip(pair, (source, target), strict=True):
            if not text.strip():
                raise RnnError(f"{name}, {unit} {line} is empty: remove the pair, or fill it in")
    return [(" ".join(one.split()), " ".join(other.split())) for _, one, other in numbered]


class Pair(NamedTuple):
    """The input of a translator: sources, and their targets as far as they are known."""

    source: Tensor  # (S, B), each ends with END
    lengths: Tensor  # (B,) of the sources, on the CPU
    target: Tensor  # (T, B), START first

    def columns(self, rows: slice) -> "Pair":
        """Select some pairs of a batch."""
        return Pair(self.source[:, rows].contiguous(), self.lengths[rows], self.target[:, rows].contiguous())


@dataclass(frozen=True)
class SentencePairs(Sequences):
    """N encoded pairs of sentences."""

    sources: Tensor  # (N, S): the tokens and END
    source_lengths: Tensor
    targets: Sentences
    lengths: Tensor  # (N,): tokens of both sides, so that batches are similar in both

    @classmethod
    def of(
        cls, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], device: torch.device, multiple: int = 1
    ) -> "SentencePairs":
        """Pad encoded pairs, with END after every source; the lengths stay on the CPU.

        The steps of a batch are a multiple of `multiple`, on both sides.
        """
        sources = [torch.tensor([*source, END]) for source, _ in pairs]
        lengths = torch.tensor([len(source) for source in sources])
        targets = Sentences.of([target for _, target in pairs], multiple=multiple)
        padded = pad_sequence(sources, batch_first=True, padding_value=END)
        padded = F.pad(padded, (0, -padded.shape[1] % multiple), value=END).to(device)
        return cls(padded, lengths, targets.to(device), lengths + targets.lengths)

    def rows(self, rows: Tensor) -> Batch:
        """A time-major batch of some pairs by number, cut to the longest of them."""
        lengths = self.source_lengths[rows]
        source = self.sources[rows, : rounded_up(int(lengths.max()), self.targets.multiple)].T.contiguous()
        batch = self.targets.rows(rows)
        return batch._replace(inputs=Pair(source, lengths, batch.inputs))

    @property
    def counts(self) -> Tensor:
        """How often each token is a target, up to the greatest."""
        return self.targets.targets[self.targets.targets != IGNORED].bincount()


def side_by_side(pairs: Sequence[tuple[Sequence[int], Sequence[int]]], device: str = "cpu") -> Pair:
    """Encoded pairs as one batch, on a device, in the given order; the lengths are on the CPU."""
    pair: Pair = SentencePairs.of(pairs, torch.device(device)).rows(torch.arange(len(pairs))).inputs
    return pair
