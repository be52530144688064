"""Column files in any CoNLL format: one word and its labels per line, a blank line between sentences."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rnncli.data.marks import shorten
from rnncli.data.sources import Corpus, TaggedSentence
from rnncli.data.tables import Layout, Row, check_width, column_of, read_rows, separator_of
from rnncli.data.text import lines_of
from rnncli.errors import RnnError, UsageError
from rnncli.terminal import counted

MIN_LABELLED = 20
"""From this many words on, a column where most words have a label of their own is not a label column."""

_UD_NAMES = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_CONLL_2003_NAMES = ("word", "pos", "chunk", "ner")
_CONLL_2012_NAMES = (
    *("document", "part", "number", "word", "pos", "parse"),
    *("lemma", "frameset", "sense", "speaker", "ner"),
)
_UD_COMMENTS = ("newdoc", "newpar")
"""Comments that are one word after the #."""

_BRACKETS = _CONLL_2012_NAMES.index("ner")
_UD_ID = re.compile(r"\d+([-.]\d+)?")
_UD_COLUMNS = re.compile(r"^# *global\.columns *= *(.+)$", re.MULTILINE)


class _Format(NamedTuple):
    """A kind of column file: the names of its columns, and the two that are read by default."""

    name: str = ""
    columns: tuple[str, ...] = ()
    word: str = "1"
    label: str = ""  # "": the last
    only_comments: bool = False  # whether every line that begins with # is a comment
    even: bool = True  # whether all rows have the same number of columns


@dataclass
class _Read:
    """The rows of a file, None between sentences, and the number of comment lines left out."""

    origin: str
    rows: list[Row | None] = field(default_factory=list)
    comments: int = 0

    @property
    def words(self) -> list[Row]:
        return [row for row in self.rows if row is not None]


def read_columns(corpus: Corpus, columns: str, layout: Layout) -> tuple[list[TaggedSentence], str]:
    """Return the sentences of a column file, some of them empty, and a note on how it was read.

    Tabs separate columns where most lines have them, else blanks; a no-break space is a letter. `columns` gives the
    word's and the label's column, by name or number. The default is FORM and UPOS for CoNLL-U, the word and its part
    of speech for CoNLL-2012, and otherwise the first and the last column. Raises RnnError for rows of unequal width,
    and where most words have a label of their own; UsageError for a missing column.
    """
    separator = layout.character or separator_of(corpus.origin) or ("\t" if _has_tabs(corpus.text) else " ")
    kind = _format_of(corpus.text, separator)
    found = _read_rows(corpus, separator, kind, layout)
    if not found.words:
        return [], ""
    chosen = _chosen(columns, kind, found, header=layout.header)
    if kind.even and not columns:
        _check_even(found, separator, layout)
    ids = kind.columns.index("id") if "id" in kind.columns else None
    sentences: list[TaggedSentence] = [[]]
    skipped = 0
    for row in found.rows:
        if row is None:
            sentences.append([])
        elif ids is not None and not row.fields[ids].isdecimal():
            skipped += 1
        else:
            sentences[-1].append(_pair(row, chosen, found.origin))
    if not columns:
        _check_labels(sentences, kind, found.origin)
    if chosen.label == _BRACKETS and kind.columns == _CONLL_2012_NAMES:
        sentences = list(map(_without_brackets, sentences))
    return sentences, _note(kind, chosen, found.comments, skipped)


def _has_tabs(text: str) -> bool:
    lines = [line for line in lines_of(text) if line.strip() and not line.startswith("#")]
    return 2 * sum("\t" in line for line in lines) > len(lines)


def _format_of(text: str, separator: str) -> _Format:
    """Detect the format of a file by the beginnings of its lines and by their columns."""
    if re.search(r"^#begin document\b", text, re.MULTILINE):
        return _Format("CoNLL-2012", _CONLL_2012_NAMES, "word", "pos", only_comments=True, even=False)
    lines = [line for line in lines_of(text) if line.strip() and not line.startswith("#")]
    if named := _UD_COLUMNS.search(text):
        names = tuple(name.rpartition(":")[2].lower() for name in named[1].split())
        if {"form", "upos"} <= set(names):
            return _Format("CoNLL-U Plus", names, "form", "upos", only_comments=True)
    if separator == "\t" and lines and all(map(_is_ud, lines)):
        return _Format("CoNLL-U", _UD_NAMES, "form", "upos", only_comments=True)
    documents = [line for line in lines if line.startswith("-DOCSTART-")]
    if documents and all(len(line.split()) == len(_CONLL_2003_NAMES) for line in documents):
        return _Format("CoNLL-2003", _CONLL_2003_NAMES)
    return _Format()


def _is_ud(line: str) -> bool:
    fields = line.split("\t")
    return len(fields) == len(_UD_NAMES) and bool(_UD_ID.fullmatch(fields[0]))


def _read_rows(corpus: Corpus, separator: str, kind: _Format, layout: Layout) -> _Read:
    """The rows of a file without its comments; a header, if there is one, is the first row."""
    if separator == " ":
        rows = [
            Row(number, re.split("[ \t]+", line.strip(" \t"))) for number, line in enumerate(lines_of(corpus.text), 1)
        ]
    else:
        quoted = layout.quoted(separator)
        rows = [
            Row(row.line, [field.strip(" ") for field in row.fields])
            for row in read_rows(corpus.text, separator, quoted=quoted, origin=corpus.origin)
        ]
    found = _Read(corpus.origin)
    marked: list[int] = []  # places of rows that begin with # and may be comments or words
    for row in rows:
        first = row.fields[0]
        if not any(map(str.strip, row.fields)) or first == "-DOCSTART-":
            found.rows.append(None)
        elif first.startswith("#") and (kind.only_comments or len(row.fields) == 1 or first.startswith("# ")):
            found.comments += 1
        else:
            if first.startswith("#") and separator == " ":
                marked.append(len(found.rows))
            found.rows.append(row)
    _drop_comments(found, marked)
    return found


def _drop_comments(found: _Read, marked: Sequence[int]) -> None:
    """Remove comments from the rows that begin with #, in a file with blanks between columns.

    Such a row is a word if it has as many columns as the others, and is inside a sentence or shares its label with
    other words. It is also a word if no other word has its label, but no line is certainly a comment.
    """
    rows, unsure = dict(enumerate(found.rows)), set(marked)
    others = [row for place, row in rows.items() if row is not None and place not in unsure]
    width = len(others[0].fields) if others else 0
    labels = {place: row.fields[-1] for place in marked if (row := rows[place]) is not None}
    widths = {place: len(row.fields) for place in marked if (row := rows[place]) is not None}
    certain = {place for place in marked if labels[place] in _UD_COMMENTS or widths[place] != width}
    first = set[int]()  # those before the first other row of a sentence
    for place in [place for place in marked if place not in certain]:
        if rows.get(place - 1) is None or place - 1 in certain or place - 1 in first:
            first.add(place)
    known = {"#", *(row.fields[-1] for row in others), *(labels[place] for place in unsure - certain - first)}
    doubtful = {place for place in first if labels[place] not in known}
    if not certain and len({labels[place] for place in doubtful}) == 1:
        doubtful = set()
    comments = {*certain, *doubtful}
    found.rows = [row for place, row in rows.items() if place not in comments]
    found.comments += len(comments)


class _Chosen(NamedTuple):
    """The indices of the word's column and the label's, from 0, and the names of all columns."""

    word: int
    label: int
    names: tuple[str, ...]


def _chosen(columns: str, kind: _Format, found: _Read, *, header: bool) -> _Chosen:
    """Choose the columns to read, and remove the header from the rows if there is one."""
    first, width = found.words[0], max(len(row.fields) for row in found.words)
    wanted = [part.strip() for part in columns.split(",")] if columns else [kind.word, kind.label or str(width)]
    if len(wanted) != 2:
        raise UsageError(f"--columns takes two, the word's and the label's, such as 1,2 or form,upos, not {columns!r}")
    names = kind.columns
    if header or (columns and set(wanted) <= set(first.fields)):
        names = tuple(first.fields)
        found.rows.remove(first)
    else:
        wanted = [part.lower() for part in wanted]
    word, label = (column_of(part, names, width, "--columns", found.origin) for part in wanted)
    return _Chosen(word, label, names)


def _check_even(found: _Read, separator: str, layout: Layout) -> None:
    """Raise RnnError for a file whose lines have unequal numbers of columns."""
    first = found.words[0]
    width = len(first.fields)
    for row in found.words:
        if len(row.fields) == 1:
            raise _no_pair(row, found.origin)
        if separator != " ":
            quoted = layout.quoted(separator)
            check_width(row, width, separator, found.origin, quoted=quoted, like=f"line {first.line}")
        elif len(row.fields) != width:
            raise RnnError(
                f"{found.origin}, line {row.line}: {len(row.fields)} columns, and line {first.line} has {width}: tag "
                "needs a word and its label in each line; if this is a column file, name the columns, e.g. --columns "
                "1,2"
            )


def _pair(row: Row, chosen: _Chosen, origin: str) -> tuple[str, str]:
    word, label = (row.fields[place] if place < len(row.fields) else "" for place in chosen[:2])
    if not word or not label:
        raise _no_pair(row, origin)
    return word, label


def _no_pair(row: Row, origin: str) -> RnnError:
    shown = shorten(" ".join(row.fields), 40)
    return RnnError(f"{origin}, line {row.line}: {shown!r} is not a word and its label")


def _without_brackets(sentence: TaggedSentence) -> TaggedSentence:
    """Turn the brackets of CoNLL-2012 into IOB labels: (GPE* *) * become B-GPE I-GPE O."""
    found: TaggedSentence = []
    inside = ""
    for word, brackets in sentence:
        opened = brackets.startswith("(")
        inside = brackets.strip("(*)") if opened else inside
        found.append((word, f"{'B' if opened else 'I'}-{inside}" if inside else "O"))
        inside = "" if brackets.endswith(")") else inside
    return found


def _check_labels(sentences: Sequence[TaggedSentence], kind: _Format, origin: str) -> None:
    """Raise RnnError for implausible columns: a label of its own for most words, numbers as words, no UPOS."""
    labels = [label for sentence in sentences for _, label in sentence]
    different = len(set(labels))
    if len(labels) >= MIN_LABELLED and different > len(labels) / 2:
        raise RnnError(
            f"{origin} has {different:,} labels for {len(labels):,} words: its last column does not look "
            "like labels; name the columns by --columns"
        )
    words = [word for sentence in sentences for word, _ in sentence]
    if len(words) >= MIN_LABELLED and all(map(str.isdecimal, words)):
        raise RnnError(f"{origin} has numbers in its first column: name the word's and the label's by --columns")
    if kind.columns == _UD_NAMES and set(labels) == {"_"}:
        raise RnnError(f"{origin} has no UPOS: name another column, e.g. --columns form,xpos")


def _note(kind: _Format, chosen: _Chosen, comments: int, skipped: int) -> str:
    """Describe how a file was read; empty for plain columns."""
    named = [chosen.names[place] if place < len(chosen.names) else f"column {place + 1}" for place in chosen[:2]]
    what = f"{kind.name}, {named[0]} and {named[1]}" if kind.name else ""
    left = []
    if comments:
        left.append(counted(comments, "comment"))
    if skipped:
        left.append(f"{skipped:,} range{'s' * (skipped > 1)} or empty node{'s' * (skipped > 1)}")
    return "; ".join(filter(None, [what, " and ".join(left) + " left out" if left else ""]))
