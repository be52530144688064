"""Tables: rows with and without quotation marks, and refused files with the line of the fault."""

from pathlib import Path

import pytest

from rnncli.data.labelled import read_labelled
from rnncli.data.tables import Layout, read_rows
from rnncli.errors import RnnError, UsageError


def rows(text: str, separator: str = ",", quoted: bool = True) -> list[tuple[int, list[str]]]:
    return [tuple(row) for row in read_rows(text, separator, quoted=quoted, origin="t.csv")]


def test_quoted_fields_hold_separators_line_feeds_and_quotation_marks() -> None:
    text = '"a, b",c\n"two\nlines, ""so"" said",\n"",5" nails\nx\ry,z\n'
    assert rows(text) == [
        (1, ["a, b", "c"]),
        (2, ['two\nlines, "so" said', ""]),
        (4, ["", '5" nails']),
        (5, ["x\ry", "z"]),
    ]
    assert rows('"open\t"a" b\n"\t""\n', "\t", quoted=False) == [(1, ['"open', '"a" b']), (2, ['"', '""'])]
    assert rows("") == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('a,b\n"x\ny",z\nq,"never\nclosed,1\n', "line 4: a quotation mark opens a field here and is never closed"),
        ('a,b\n"never closed,1\nx,"gem",3\n', "line 2: .* is closed on line 3, where text follows"),
        ('a,b\n"x" y,z\n', "line 2: .* is closed on line 2, where text follows"),
    ],
)
def test_unclosed_quotation_mark_is_refused_at_its_line(text: str, complaint: str) -> None:
    with pytest.raises(RnnError, match=f"^t.csv, {complaint}.*--quoting none"):
        rows(text)


@pytest.fixture(autouse=True)
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def labelled(here: Path, name: str, text: str, layout: Layout = Layout(header=True), **columns: str):  # noqa: B008
    (here / name).write_text(text, newline="")
    found = read_labelled([name], layout=layout, **columns)
    return found.texts, found.labels, found.rows


BODY = "".join(f"good day {n}{{0}}pos\na dull film {n}{{0}}neg\n" for n in range(3))


def test_quotation_marks_of_a_tab_file_are_text(here: Path) -> None:
    """Two single marks: in CSV they would enclose all rows between them."""
    text = "text\tlabel\n" + '"great start\tpos\n' + BODY.format("\t") + 'a so-called "gem"\tneg\n'
    texts, labels, count = labelled(here, "t.tsv", text)
    assert (texts[0], texts[-1], count) == ('"great start', 'a so-called "gem"', 8)
    assert (labels.count("pos"), labels.count("neg")) == (4, 4)
    quoted = 'text\tlabel\n"two\tfields"\tpos\n' + BODY.format("\t")
    assert labelled(here, "q.tsv", quoted, Layout(header=True, quoting="csv"))[0][0] == "two fields"
    with pytest.raises(RnnError, match=r"q.tsv, line 2: 3 fields, and the header has 2: .*give --quoting csv"):
        read_labelled(["q.tsv"])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("label,text\nneg,fine\npos,a, b\n", r'line 3: 3 fields, and the header has 2: .*quotation marks \("…,…"\)'),
        ("text,label\nx,pos\n\ny\n", "line 4: 1 field, and the header has 2: fill in what is missing"),
        ('text,label\n"two\nlines",pos\nx\n', "line 4: 1 field"),
    ],
)
def test_a_row_of_another_width_is_refused_with_its_line(here: Path, text: str, complaint: str) -> None:
    with pytest.raises(RnnError, match=f"^t.csv, {complaint}"):
        labelled(here, "t.csv", text)


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolon"), ("\t", "tab"), ("|", "pipe")])
def test_another_separator_is_suggested(here: Path, separator: str, name: str) -> None:
    text = f"text{separator}label\nfine, really{separator}pos\n"
    with pytest.raises(
        UsageError, match=f"^t.csv, line 1 has no comma between fields, but a {name}: give --separator {name}$"
    ):
        labelled(here, "t.csv", text)


def test_layout_flags_decide_how_a_table_is_read(here: Path) -> None:
    expected = ["good day 0", "a dull film 0"]
    bare = Layout("semicolon")
    assert labelled(here, "a.txt", BODY.format(";"), bare)[0][:2] == expected
    columns = {"text_column": "2", "label_column": "1"}
    found = labelled(here, "b.txt", "pos|one, two\nneg|three\n" * 2, Layout("|"), **columns)
    assert found == (["one, two", "three"] * 2, ["pos", "neg"] * 2, 4)
    swapped = labelled(here, "c.csv", "label,text\n" + "pos,x\nneg,y\n" * 2, text_column="2", label_column="label")
    assert swapped[0][:2] == ["x", "y"]
    plain = labelled(here, "d.csv", 'text,label\n"x,pos\ny,neg\n"z",pos\nu,neg\n', Layout(header=True, quoting="none"))
    assert plain[0] == ['"x', "y", '"z"', "u"]


def test_invalid_layouts_are_refused(here: Path) -> None:
    (here / "t.csv").write_text("text,label\nx,pos\n")
    for layout, columns, complaint in (
        (Layout("ab"), {}, "--separator must be comma, tab, semicolon, pipe, blank or one character, not 'ab'"),
        (Layout(header=True), {"text_column": "3"}, "t.csv has 2 columns, but no column 3"),
        (Layout(), {"text_column": "title"}, "the columns of t.csv have no names: give their numbers by --text-column"),
    ):
        with pytest.raises(UsageError, match=complaint):
            read_labelled(["t.csv"], layout=layout, **columns)
    (here / "empty.csv").write_text('""\n')
    with pytest.raises(RnnError, match="has no row with a field in it"):
        read_labelled(["empty.csv"])
