"""Labelled data: texts with one label each (corpora, CSV and TSV tables), and sentences with one label per word."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from rnncli.data import legacy
from rnncli.data.columns import read_columns
from rnncli.data.corpora import CORPORA, items_of, load_corpus
from rnncli.data.items import TAGS, WORDS, Items, Keys
from rnncli.data.sources import TaggedSentence
from rnncli.data.tables import Layout, Row, check_separator, check_width, column_of, read_rows, separator_of, two_names
from rnncli.data.text import STDIN, lines_of, read_stdin, read_text, reads_as_before
from rnncli.data.tokenizers import verse_words
from rnncli.errors import RnnError, UsageError

WITH_HEADER = Layout(header=True)
TEXT_COLUMN, LABEL_COLUMN = "text", "label"
"""The default columns of a table; without a header, the first and the second."""


@dataclass(frozen=True)
class LabelledTexts:
    """N texts, each with its label, its block between blank lines, and its place in its corpus."""

    name: str
    texts: list[str]
    labels: list[str]
    stanzas: list[int]
    places: list[tuple[int, int]]  # number of the corpus, and of the line in it
    rows: int = 0  # of the table, if they come from one

    @property
    def keys(self) -> list[str]:
        """Keys that are equal for equal texts: their words without case and punctuation."""
        return [" ".join(verse_words(text)) or text for text in self.texts]

    @property
    def classes(self) -> list[str]:
        """The labels, each once, in order of first occurrence."""
        return list(dict.fromkeys(self.labels))

    @property
    def fingerprint(self) -> str:
        """A hash of all texts and labels in order, to detect changed data."""
        rows = "\n".join(f"{label}\t{text}" for label, text in zip(self.labels, self.texts, strict=True))
        return hashlib.sha256(rows.encode()).hexdigest()

    def only(self, rows: Sequence[int]) -> "LabelledTexts":
        """Select some texts by number."""
        texts, labels = ([column[row] for row in rows] for column in (self.texts, self.labels))
        stanzas, places = [self.stanzas[row] for row in rows], [self.places[row] for row in rows]
        return LabelledTexts(self.name, texts, labels, stanzas, places, self.rows)

    def distinct(self) -> "LabelledTexts":
        """Keep the first occurrence of each text."""
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
    specs: Sequence[str],
    text_column: str = TEXT_COLUMN,
    label_column: str = LABEL_COLUMN,
    layout: Layout = WITH_HEADER,
    *,
    to_learn: bool = True,
) -> LabelledTexts:
    """Read labelled texts: a table, items, or two or more corpora whose names are the labels.

    A table is a file that ends in .csv or .tsv, or any file if a separator is named. Items are JSON lines with a text
    and a label, or pairs from Python. A corpus's texts are its lines, or its items.
    Raises RnnError for a file that cannot be read; with `to_learn`, UsageError for fewer than two labels, or a label
    with fewer than two texts.
    """
    separator = layout.character
    alone = [spec for spec in specs if "=" not in spec]
    tables = [spec for spec in specs if separator] or [spec for spec in alone if separator_of(spec) or items_of(spec)]
    if tables:
        if len(specs) > 1:
            raise UsageError(f"{tables[0]} has its labels in a column: give it as the only --corpus, or as NAME=FILE")
        items = None if separator else items_of(tables[0])
        if items:
            keys = Keys(text_column, label_column, ("--text-column", "--label-column"))
            found = _read_items(items, keys)
        else:
            found = _read_table(tables[0], text_column, label_column, layout)
    else:
        found = _read_corpora(specs)
    if not found.texts:
        raise RnnError(f"{found.name} has no rows with a text in them")
    counts = {label: found.labels.count(label) for label in found.classes}
    if to_learn:
        _check_labels(found.name, counts, specs)
    return found


def _check_labels(name: str, counts: dict[str, int], specs: Sequence[str]) -> None:
    """Raise UsageError where there is nothing to classify."""
    if len(counts) < 2:
        json = next((spec for spec in specs if spec.lower().endswith(".json")), "")
        hint = (
            f"{json} is read as plain text, since JSON is one object per line, in a file that ends in .jsonl "
            f"(`jq -c '.[]' {json}` prints an array so)"
            if json
            else "give --corpus twice (--corpus NAME=FILE), or a CSV file with a label column"
        )
        raise UsageError(f"{name} has only one label, {next(iter(counts))!r}: {hint}")
    rare = [label for label, count in counts.items() if count < 2]
    if rare:
        raise UsageError(f"{name} has only one text with the label {rare[0]!r}: give at least two")


def _read_corpora(specs: Sequence[str]) -> LabelledTexts:
    texts, labels, stanzas, places = [], [], [], []
    corpora = [_lines_or_items(spec) for spec in specs]
    stanza = 0
    for number, (name, lines) in enumerate(corpora):
        place = 0
        for line in lines:
            if not line.strip():
                stanza += 1
                continue
            texts.append(line.strip())
            labels.append(name)
            stanzas.append(stanza)
            places.append((number, place))
            place += 1
        stanza += 1
    return LabelledTexts(" + ".join(name for name, _ in corpora), texts, labels, stanzas, places)


def _lines_or_items(spec: str) -> tuple[str, list[str]]:
    """The name of a corpus, and its lines, or its items with single blanks between words."""
    if items := items_of(spec):
        return items.name, [" ".join(text.split()) for text in items.pieces()]
    corpus = load_corpus(spec)
    return corpus.name, lines_of(corpus.text)


def _read_items(items: Items, keys: Keys) -> LabelledTexts:
    """Read texts with their labels; each is a stanza of its own."""
    pairs = list(items.text_pairs(keys))
    rows = [(number, " ".join(text.split()), label.strip()) for number, text, label in pairs]
    if unlabelled := next((number for number, _, label in rows if not label), None):
        raise RnnError(f"{items.origin}, {items.unit} {unlabelled}: the {keys.second} is empty")
    return _as_rows(items.name, [(text, label) for _, text, label in rows if text], len(rows))


def _as_rows(name: str, pairs: Sequence[tuple[str, str]], rows: int) -> LabelledTexts:
    """Texts and labels of a table or of items."""
    numbers = range(len(pairs))
    texts, labels = ([pair[part] for pair in pairs] for part in (0, 1))
    return LabelledTexts(name, texts, labels, list(numbers), [(number, 0) for number in numbers], rows)


def _read_table(spec: str, text_column: str, label_column: str, layout: Layout) -> LabelledTexts:
    """Read a table; each row is a text and a stanza of its own."""
    origin = STDIN if spec == "-" else spec
    text = read_stdin() if spec == "-" else read_text(Path(spec))
    separator = layout.character or separator_of(spec)
    if reads_as_before():
        rows = list(map(Row, count(1), legacy.table_rows(text, separator, origin)))
    else:
        rows = _even_rows(text, separator, layout, origin)
    first = rows[0].fields
    names = first if layout.header else ()
    if not layout.header:
        text_column = {TEXT_COLUMN: "1"}.get(text_column, text_column)
        label_column = {LABEL_COLUMN: "2"}.get(label_column, label_column)
    text_at = column_of(text_column, names, len(first), "--text-column", origin, assumed=True)
    label_at = column_of(label_column, names, len(first), "--label-column", origin, assumed=True)
    pairs = []
    body = rows[layout.header :]
    for row in body:
        if not row.fields[label_at].strip():
            raise RnnError(f"{origin}, line {row.line}: this row has no {label_column}")
        if words := row.fields[text_at].split():
            pairs.append((" ".join(words), row.fields[label_at].strip()))
    return _as_rows(Path(origin).stem, pairs, len(body))


def _even_rows(text: str, separator: str, layout: Layout, origin: str) -> list[Row]:
    """The rows of a table except blank ones; raises RnnError for a row of another width than the first."""
    quoted = layout.quoted(separator)
    rows = [
        row
        for row in read_rows(text, separator, quoted=quoted, origin=origin)
        if len(row.fields) > 1 or row.fields[0].strip()
    ]
    if not rows:
        raise RnnError(f"{origin} has no row with a field in it")
    check_separator(rows[0], separator, origin)
    like = "the header" if layout.header else f"line {rows[0].line}"
    for row in rows:
        check_width(row, len(rows[0].fields), separator, origin, quoted=quoted, like=like)
    return rows


@dataclass(frozen=True)
class TaggedSentences:
    """Sentences, each a list of words and a list of labels of the same length."""

    name: str
    words: list[list[str]]
    labels: list[list[str]]
    note: str = ""  # how the file was read, if it is not plain columns

    @property
    def fingerprint(self) -> str:
        """A hash of all words and labels in order."""
        rows = "\n\n".join("\n".join(map("\t".join, zip(*pair, strict=True))) for pair in self.pairs)
        return hashlib.sha256(rows.encode()).hexdigest()

    @property
    def pairs(self) -> list[tuple[list[str], list[str]]]:
        """Each sentence's words, and its labels."""
        return list(zip(self.words, self.labels, strict=True))

    def only(self, rows: Sequence[int]) -> "TaggedSentences":
        """Select some sentences by number."""
        return TaggedSentences(self.name, [self.words[row] for row in rows], [self.labels[row] for row in rows])


def read_tagged(specs: Sequence[str], columns: str = "", layout: Layout = Layout()) -> TaggedSentences:  # noqa: B008  # frozen
    """Read labelled sentences: registered corpora that have tags, files, or `-`.

    `read_columns` reads files: one word and its label per line, a blank line between sentences. Raises RnnError for a
    file that cannot be read, UsageError for a corpus without labels.
    """
    parts = [_read_tagged(spec, columns, layout) for spec in specs]
    return TaggedSentences(
        " + ".join(part.name for part in parts),
        [words for part in parts for words in part.words],
        [labels for part in parts for labels in part.labels],
        "; ".join(dict.fromkeys(part.note for part in parts if part.note)),
    )


def tagged_corpora() -> list[str]:
    """The names of the registered corpora that have tags."""
    return [name for name, entry in CORPORA.items() if entry.tagged]


def _read_tagged(spec: str, columns: str, layout: Layout) -> TaggedSentences:
    entry = CORPORA.get(spec)
    if entry is not None:
        if entry.tagged is None:
            raise UsageError(
                f"{spec} has no labels for its words: take {', '.join(tagged_corpora())}, or a file of your own"
            )
        return TaggedSentences(spec, *_words_and_labels(entry.tagged()))
    if items := items_of(spec):
        return _tagged_items(items, columns)
    corpus = load_corpus(spec)
    if reads_as_before():
        found, note = legacy.column_sentences(corpus), ""
    else:
        found, note = read_columns(corpus, columns, layout)
    full = [sentence for sentence in found if sentence]
    if not full:
        raise RnnError(f"{corpus.origin} has no word with a label")
    return TaggedSentences(corpus.name, *_words_and_labels(full), note)


def _tagged_items(items: Items, columns: str) -> TaggedSentences:
    keys = Keys(*two_names(columns or f"{WORDS},{TAGS}", "the words' and the labels'"), ("--columns", "--columns"))
    return TaggedSentences(items.name, *_words_and_labels(list(items.word_pairs(keys))))


def _words_and_labels(sentences: Sequence[TaggedSentence]) -> tuple[list[list[str]], list[list[str]]]:
    words, labels = ([[pair[part] for pair in sentence] for sentence in sentences] for part in (0, 1))
    return words, labels
