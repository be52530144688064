"""Tables: rows of fields in a text, one row per line, optionally with quoted fields as in CSV."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rnncli.data.marks import shorten
from rnncli.data.text import lines_of
from rnncli.errors import RnnError, UsageError
from rnncli.terminal import counted

SEPARATORS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|", "blank": " "}
QUOTINGS = ("auto", "csv", "none")
_BY_ENDING = {".csv": ",", ".tsv": "\t"}
_NAMES = {character: name for name, character in SEPARATORS.items()}


class Layout(NamedTuple):
    """The layout of a table; "" and "auto" use the defaults of its kind of file."""

    separator: str = ""
    header: bool = False
    quoting: str = "auto"

    @property
    def character(self) -> str:
        """The separator itself, "" if none is named; raises UsageError for anything except one character."""
        character = SEPARATORS.get(self.separator, self.separator)
        if len(character) > 1 or character in ("\n", '"'):
            raise UsageError(f"--separator must be {', '.join(SEPARATORS)} or one character, not {self.separator!r}")
        return character

    def quoted(self, separator: str) -> bool:
        """Whether quotation marks enclose fields; by default not with tabs or blanks as separators."""
        return self.quoting == "csv" or (self.quoting == "auto" and separator not in "\t ")


class Row(NamedTuple):
    """The fields of a row, and the number of its first line."""

    line: int
    fields: list[str]


def separator_of(name: str) -> str:
    """The separator for the ending of a file's name, gzipped or not; "" for other endings."""
    return _BY_ENDING.get(Path(name.lower().removesuffix(".gz")).suffix, "")


def name_of(separator: str) -> str:
    """The name of a separator, as users write it."""
    return _NAMES.get(separator, separator)


def read_rows(text: str, separator: str, *, quoted: bool, origin: str) -> Iterator[Row]:
    """The rows of a table; a blank line is a row of one blank field.

    With `quoted`, a field that begins with a quotation mark ends with one. It may contain separators and line feeds,
    and doubles each quotation mark of its text (RFC 4180). Raises RnnError where such a field never ends, or text
    follows it.
    """
    lines = lines_of(text)
    number = 0
    while number < len(lines):
        begin = number
        if quoted and '"' in lines[number]:
            fields, number = _quoted_fields(lines, number, separator, origin)
        else:
            fields, number = lines[number].split(separator), number + 1
        yield Row(begin + 1, fields)


def _quoted_fields(lines: Sequence[str], number: int, separator: str, origin: str) -> tuple[list[str], int]:
    """The fields of the row that begins on line `number`, and the number of the line after it, both from 0."""
    fields: list[str] = []
    line, place = lines[number], 0
    while True:
        if not line.startswith('"', place):
            end = line.find(separator, place)
            fields.append(line[place:] if end < 0 else line[place:end])
            if end < 0:
                return fields, number + 1
            place = end + 1
            continue
        opened, parts, place = number, list[str](), place + 1
        while (end := line.find('"', place)) < 0 or line.startswith('""', end):
            if end >= 0:
                parts.append(line[place : end + 1])
                place = end + 2
                continue
            parts.append(line[place:] + "\n")
            number, place = number + 1, 0
            if number == len(lines):
                raise _unpaired(origin, opened, "is never closed")
            line = lines[number]
        fields.append("".join([*parts, line[place:end]]))
        place = end + 1
        if place == len(line):
            return fields, number + 1
        if not line.startswith(separator, place):
            raise _unpaired(origin, opened, f"is closed on line {number + 1}, where text follows")
        place += 1


def _unpaired(origin: str, opened: int, what: str) -> RnnError:
    return RnnError(
        f"{origin}, line {opened + 1}: a quotation mark opens a field here and {what}: where quotation marks are text, "
        'give --quoting none, or write "…""…" for a field that holds one'
    )


def check_separator(row: Row, separator: str, origin: str) -> None:
    """Raise UsageError for a first row of one field that another separator would split."""
    found = [name for character, name in _NAMES.items() if character in row.fields[0] and name != "blank"]
    if len(row.fields) == 1 and found:
        raise UsageError(
            f"{origin}, line {row.line} has no {name_of(separator)} between fields, but a {found[0]}: "
            f"give --separator {found[0]}"
        )


def check_width(row: Row, width: int, separator: str, origin: str, *, quoted: bool, like: str) -> None:
    """Raise RnnError for a row whose number of fields is not `width`, the width of `like`."""
    if len(row.fields) == width:
        return
    name = name_of(separator)
    if not quoted and any(field.startswith('"') for field in row.fields):
        hint = "where quotation marks enclose fields, give --quoting csv"
    elif len(row.fields) < width:
        hint = "fill in what is missing, or name another --separator"
    elif quoted:
        hint = f'put a text with a {name} in it in quotation marks ("…{separator}…"), or name another --separator'
    else:
        hint = f"take the {name} out of the text, or name another --separator"
    raise RnnError(f"{origin}, line {row.line}: {counted(len(row.fields), 'field')}, and {like} has {width}: {hint}")


def two_names(columns: str, what: str) -> tuple[str, str]:
    """The two columns that `--columns` names; raises UsageError for any other number."""
    found = [part.strip() for part in columns.split(",")]
    if len(found) != 2:
        raise UsageError(f"--columns takes two, {what}, not {columns!r}")
    return found[0], found[1]


def column_of(wanted: str, names: Sequence[str], width: int, flag: str, origin: str, *, assumed: bool = False) -> int:
    """The index, from 0, of one of `width` columns by its name or its number, from 1; raises UsageError.

    `assumed` says that the names are those of the first line without anyone having said so.
    """
    if wanted in names:
        return list(names).index(wanted)
    if wanted.isdecimal() and 0 < int(wanted) <= width:
        return int(wanted) - 1
    if wanted.isdecimal():
        raise UsageError(f"{origin} has {width} columns, but no column {wanted}: give another number by {flag}")
    if not names:
        raise UsageError(
            f"the columns of {origin} have no names: give their numbers by {flag}, 1 for the first, or --header if "
            "its first row names them"
        )
    known, other = ("its first line, read as the header, has", " or give --no-header") if assumed else ("it has", "")
    raise UsageError(
        f"{origin} has no column {wanted!r}, {known} {shorten(', '.join(names), 100)}: name one by {flag}{other}"
    )
