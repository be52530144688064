"""Labelled data: texts with a label each (corpora by name, CSV and TSV tables), and sentences with a label a word."""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rnncli.data.brown import universal
from rnncli.data.corpora import CORPORA, brown_sentences, load_corpus
from rnncli.data.sources import Corpus, Embedded
from rnncli.data.tagging import tags_of, words_of
from rnncli.data.text import read_text
from rnncli.data.tokenizers import verse_words
from rnncli.errors import RnnError, UsageError

DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class LabelledTexts:
    """N texts, each with its label, the block between blank lines that it stands in, and its place in its corpus."""

    name: str
    texts: list[str]
    labels: list[str]
    stanzas: list[int]
    places: list[tuple[int, int]]  # which corpus, and which of its lines

    @property
    def keys(self) -> list[str]:
        """What makes two texts the same one: their words after case and punctuation."""
        return [" ".join(verse_words(text)) or text for text in self.texts]

    @property
    def classes(self) -> list[str]:
        """The labels, each once, in the order in which they are first met."""
        return list(dict.fromkeys(self.labels))

    @property
    def fingerprint(self) -> str:
        """A hash of all texts and labels in their places: whether the data is still the same."""
        rows = "\n".join(f"{label}\t{text}" for label, text in zip(self.labels, self.texts, strict=True))
        return hashlib.sha256(rows.encode()).hexdigest()

    def only(self, rows: Sequence[int]) -> "LabelledTexts":
        """Some of them, by number."""
        texts, labels = ([column[row] for row in rows] for column in (self.texts, self.labels))
        return LabelledTexts(
            self.name, texts, labels, [self.stanzas[row] for row in rows], [self.places[row] for row in rows]
        )

    def distinct(self) -> "LabelledTexts":
        """Each text once, where it comes first."""
        first: dict[str, int] = {}
        for row, key in enumerate(self.keys):
            first.setdefault(key, row)
        return self.only(list(first.values()))

    def first_of_each(self, count: int) -> "LabelledTexts":
        """The first `count` texts of each label."""
        met = dict.fromkeys(self.labels, 0)
        rows = []
        for row, label in enumerate(self.labels):
            if met[label] < count:
                rows.append(row)
            met[label] += 1
        return self.only(rows)


def read_labelled(
    specs: Sequence[str], text_column: str = "text", label_column: str = "label", *, to_learn: bool = True
) -> LabelledTexts:
    """Read labelled texts: a CSV or TSV file with a header, or two corpora and more whose names are the labels.

    A corpus's texts are its lines. Raises RnnError for what cannot be read; where it is `to_learn` from, UsageError for
    fewer than two labels, or a label without two texts.
    """
    tables = [spec for spec in specs if Path(spec).suffix.lower() in DELIMITERS and "=" not in spec]
    if tables:
        if len(specs) > 1:
            raise UsageError(f"{tables[0]} has its labels in a column: give it as the only --corpus, or as NAME=FILE")
        found = _read_table(Path(tables[0]), text_column, label_column)
    else:
        found = _read_corpora(specs)
    if not found.texts:
        raise RnnError(f"{found.name} has no rows with a text in them")
    counts = {label: found.labels.count(label) for label in found.classes}
    if to_learn:
        _check_labels(found.name, counts)
    return found


def _check_labels(name: str, counts: dict[str, int]) -> None:
    """Raise UsageError where there is nothing to tell apart."""
    if len(counts) < 2:
        raise UsageError(
            f"{name} has one label alone, {next(iter(counts))!r}: "
            "give --corpus twice (--corpus NAME=FILE), or a CSV file with a label column"
        )
    rare = [label for label, count in counts.items() if count < 2]
    if rare:
        raise UsageError(f"{name} has one text alone with the label {rare[0]!r}: two are the least")


def _read_corpora(specs: Sequence[str]) -> LabelledTexts:
    texts, labels, stanzas, places = [], [], [], []
    corpora = [load_corpus(spec) for spec in specs]
    stanza = 0
    for number, corpus in enumerate(corpora):
        place = 0
        for line in corpus.text.split("\n"):
            if not line.strip():
                stanza += 1
                continue
            texts.append(line.strip())
            labels.append(corpus.name)
            stanzas.append(stanza)
            places.append((number, place))
            place += 1
        stanza += 1
    return LabelledTexts(" + ".join(corpus.name for corpus in corpora), texts, labels, stanzas, places)


def _read_table(path: Path, text_column: str, label_column: str) -> LabelledTexts:
    """A table with a header; each row is a text and a stanza of its own."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=DELIMITERS[path.suffix.lower()])
    texts, labels = [], []
    try:
        header = reader.fieldnames or []
        for flag, column in (("--text-column", text_column), ("--label-column", label_column)):
            if column not in header:
                raise UsageError(f"{path} has no column {column!r}, it has {', '.join(header)}: name one by {flag}")
        for row in reader:
            text, label = row[text_column], row[label_column]
            if not label or not label.strip():
                raise RnnError(f"{path}, line {reader.line_num}: there is no {label_column} in this row")
            if text and text.strip():
                texts.append(" ".join(text.split()))
                labels.append(label.strip())
    except csv.Error as error:
        raise RnnError(f"{path}, after line {reader.line_num}: {error}") from None
    rows = range(len(texts))
    return LabelledTexts(path.stem, texts, labels, list(rows), [(row, 0) for row in rows])


@dataclass(frozen=True)
class TaggedSentences:
    """Sentences, each a list of words and a list of as many labels."""

    name: str
    words: list[list[str]]
    labels: list[list[str]]

    @property
    def fingerprint(self) -> str:
        """A hash of all words and labels in their places."""
        rows = "\n\n".join("\n".join(map("\t".join, zip(*pair, strict=True))) for pair in self.pairs)
        return hashlib.sha256(rows.encode()).hexdigest()

    @property
    def pairs(self) -> list[tuple[list[str], list[str]]]:
        """Each sentence's words, and its labels."""
        return list(zip(self.words, self.labels, strict=True))

    def only(self, rows: Sequence[int]) -> "TaggedSentences":
        """Some sentences, by number."""
        return TaggedSentences(self.name, [self.words[row] for row in rows], [self.labels[row] for row in rows])


def read_tagged(specs: Sequence[str]) -> TaggedSentences:
    """Read labelled sentences: brown (with its universal tags), the embedded voices (with theirs), files, or `-`.

    A file has a word and its label a line, and a blank line between sentences (CoNLL). Raises RnnError for what cannot
    be read, UsageError for a corpus that has no labels.
    """
    parts = [_read_tagged(spec) for spec in specs]
    return TaggedSentences(
        " + ".join(part.name for part in parts),
        [words for part in parts for words in part.words],
        [labels for part in parts for labels in part.labels],
    )


def _read_tagged(spec: str) -> TaggedSentences:
    source = CORPORA.get(spec)
    if isinstance(source, Embedded):
        lines = [words_of(line) for line in source.load().text.splitlines() if line.strip()]
        return TaggedSentences(spec, lines, tags_of(lines))
    if spec == "brown":
        sentences = brown_sentences()
        words = [[word for word, _ in sentence] for sentence in sentences]
        return TaggedSentences(spec, words, [[universal(tag) for _, tag in sentence] for sentence in sentences])
    if source is not None:
        tagged = ["brown", *(name for name, each in CORPORA.items() if isinstance(each, Embedded))]
        raise UsageError(f"{spec} has no label beside its words: take {', '.join(tagged)}, or a file of your own")
    return _read_columns(load_corpus(spec))


def _read_columns(corpus: Corpus) -> TaggedSentences:
    """Sentences from lines of a word and its label.

    Columns are parted by a tab, or else by spaces; the first is the word, the last its label; lines that begin with
    `-DOCSTART-` or, in files with tabs, with `#` and a space are passed over.
    """
    sentences: list[list[tuple[str, str]]] = [[]]
    tabs = "\t" in corpus.text
    for number, line in enumerate(corpus.text.split("\n"), start=1):
        if not line.strip():
            sentences.append([])
            continue
        if line.startswith("-DOCSTART-") or (tabs and line.startswith("# ")):
            continue
        columns = [column.strip() for column in line.split("\t")] if tabs else line.split()
        if len(columns) < 2 or not columns[0] or not columns[-1]:
            raise RnnError(f"{corpus.origin}, line {number}: {line.strip()[:40]!r} is no word with its label beside it")
        sentences[-1].append((columns[0], columns[-1]))
    full = [sentence for sentence in sentences if sentence]
    if not full:
        raise RnnError(f"{corpus.origin} has no word with a label beside it")
    words, labels = ([[pair[part] for pair in sentence] for sentence in full] for part in (0, 1))
    return TaggedSentences(corpus.name, words, labels)
