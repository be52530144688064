"""Tables and column files as READING 1 read them, so that old runs are still evaluated on the same data."""

import csv
import io
from collections.abc import Iterator

from rnncli.data.marks import shorten
from rnncli.data.sources import Corpus, TaggedSentence
from rnncli.errors import RnnError


def table_rows(text: str, separator: str, origin: str) -> Iterator[list[str]]:
    """The rows of a CSV or TSV table, its header first, each cut or padded to the header's width."""
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        names = list(reader.fieldnames or [])
        yield names
        yield from ([row[name] or "" for name in names] for row in reader)
    except csv.Error as error:
        raise RnnError(f"{origin}, after line {reader.line_num}: {error}") from None


def column_sentences(corpus: Corpus) -> list[TaggedSentence]:
    """The sentences of a column file: each line's first column is a word, its last one the label."""
    sentences: list[TaggedSentence] = [[]]
    tabs = "\t" in corpus.text
    for number, line in enumerate(corpus.text.split("\n"), start=1):
        if not line.strip():
            sentences.append([])
            continue
        if line.startswith("-DOCSTART-") or (tabs and line.startswith("# ")):
            continue
        columns = [column.strip() for column in line.split("\t")] if tabs else line.split()
        if len(columns) < 2 or not columns[0] or not columns[-1]:
            raise RnnError(f"{corpus.origin}, line {number}: {shorten(line.strip(), 40)!r} is not a word and its label")
        sentences[-1].append((columns[0], columns[-1]))
    return sentences
