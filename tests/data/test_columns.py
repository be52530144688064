"""Column files: detection of every CoNLL format, comments, and files without columns."""

from pathlib import Path

import pytest

from rnncli.data.labelled import TaggedSentences, read_tagged
from rnncli.data.tables import Layout
from rnncli.errors import RnnError, UsageError


@pytest.fixture
def read(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def read(text: str, columns: str = "", name: str = "c.conll", **layout: object) -> TaggedSentences:
        (tmp_path / name).write_text(text, newline="")
        return read_tagged([name], columns, Layout(**layout))

    return read


def ud(*rows: str) -> str:
    """Rows of id, form and UPOS with CoNLL-U's other seven columns."""
    return "".join("{0}\t{1}\t_\t{2}\tX{2}\t_\t0\troot\t_\tSpaceAfter=No\n".format(*row.split("|")) for row in rows)


def test_conll_u_gives_form_and_upos(read) -> None:
    text = "# sent_id = 1\n# text = l'eau #1\n" + ud("1-2|l'eau|_", "1|l'|DET", "2|eau|NOUN", "2.1|est|VERB", "3|#|SYM")
    found = read(text + "\n# a\ttab in a comment\n" + ud("1|10 000|NUM") + "\n")
    assert found.words == [["l'", "eau", "#"], ["10 000"]]
    assert found.labels == [["DET", "NOUN", "SYM"], ["NUM"]]
    assert found.note == "CoNLL-U, form and upos; 3 comments and 2 ranges or empty nodes left out"
    assert read(text, "FORM,xpos").labels == [["XDET", "XNOUN", "XSYM"]]
    assert read(text, "2,8").labels == [["root"] * 3]
    with pytest.raises(UsageError, match="has no column 'pos', it has id, form, lemma, upos"):
        read(text, "form,pos")
    with pytest.raises(RnnError, match=r"c.conll has no UPOS: name another column, e.g. --columns form,xpos"):
        read(ud("1|a|_", "2|b|_"))


def test_conll_u_plus_names_its_columns(read) -> None:
    text = "# global.columns = ID FORM UPOS PARSEME:MWE\n1-2\tl'eau\t_\t*\n1\tl'\tDET\t1\n2\teau\tNOUN\t1\n"
    assert read(text).labels == [["DET", "NOUN"]]
    assert read(text, "form,mwe").labels == [["1", "1"]]


def test_conll_2003_gives_words_and_entities(read) -> None:
    begin = "-DOCSTART- -X- -X- O\n\n"
    text = f"{begin}EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n{begin}Peter NNP B-NP B-PER\n"
    found = read(text)
    assert (found.words, found.labels) == ([["EU", "rejects"], ["Peter"]], [["B-ORG", "O"], ["B-PER"]])
    assert found.note == "CoNLL-2003, word and ner"
    assert read(text, "word,pos").labels == [["NNP", "VBZ"], ["NNP"]]


def test_conll_2012_gives_words_of_the_fourth_column_and_reads_brackets(read) -> None:
    def row(number: int, word: str, pos: str, entity: str, *arguments: str) -> str:
        return f"bc/cctv/00 0 {number} {word} {pos} (TOP* - - - spk {entity} {' '.join(arguments)} -\n"

    text = "#begin document (bc/cctv/00); part 000\n"
    text += row(0, "#", "SYM", "*", "*") + row(1, "New", "NNP", "(GPE*", "*") + row(2, "York", "NNP", "*)", "(V*)")
    text += "\n" + row(0, "Li", "NNP", "(PERSON)", "*", "*") + row(1, "ran", "VBD", "*", "*", "*") + "#end document\n"
    found = read(text)
    assert found.words == [["#", "New", "York"], ["Li", "ran"]]
    assert found.labels == [["SYM", "NNP", "NNP"], ["NNP", "VBD"]]
    assert read(text, "word,ner").labels == [["O", "B-GPE", "I-GPE"], ["B-PERSON", "O"]]


@pytest.mark.parametrize("tab", [" ", "\t"])
def test_comments_are_left_out_but_a_hash_sign_is_a_word(read, tab: str) -> None:
    """For every separator: a # with a label that others have, or inside a sentence, is a word."""
    sentence = "the DET\n# SYM\n#goal NOUN\n".replace(" ", tab)
    comments = "# sent_id = s1\n# newdoc\n#one two three\n"
    text = comments + sentence + "\n" + comments + "#tag NOUN\n".replace(" ", tab) + sentence
    found = read(text)
    assert found.words == [["the", "#", "#goal"], ["#tag", "the", "#", "#goal"]]
    assert found.labels == [["DET", "SYM", "NOUN"], ["NOUN", "DET", "SYM", "NOUN"]]
    assert found.note == "6 comments left out"


def test_comments_as_wide_as_rows_are_detected_by_their_labels(read) -> None:
    assert read("# s1\nthe DET\n\n# s2\ncat NOUN\n").words == [["the"], ["cat"]]


def test_a_no_break_space_is_a_letter(read) -> None:
    for tab in ("\t", " "):
        found = read(f"10\xa0000{tab}NUM\n\xa0{tab}PUNCT\n\x85x{tab}NOUN\r\n")
        assert found.words == [["10\xa0000", "\xa0", "\x85x"]]


def test_columns_are_chosen_by_header_name_or_number(read) -> None:
    text = "token,lemma,tag\nthe,the,DET\n\nran,run,VERB\n"
    assert read(text, "token,tag", separator="comma").labels == [["DET"], ["VERB"]]
    assert read(text, "1,3", name="c.csv", header=True).words == [["the"], ["ran"]]
    assert read('a,x\n"b, c",y\n', name="c.csv").words == [["a", "b, c"]]
    uneven = "1 the DET x\n2 cat NOUN\n"
    assert read(uneven, "2,3").words == [["the", "cat"]]
    for columns, complaint in (
        ("1", "--columns takes two"),
        ("word,tag", "have no names"),
        ("1,9", "but no column 9"),
    ):
        with pytest.raises(UsageError, match=complaint):
            read(uneven, columns)
    with pytest.raises(RnnError, match="line 2: '2 cat NOUN' is not a word and its label"):
        read(uneven, "2,4")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("whose woods these are\ni think i know\nhis house is in the village\n", "line 3: 6 columns, and line 1 has 4"),
        (
            "".join(f"verse {n}\n" for n in range(20)),
            "has 20 labels for 20 words: its last column does not look like labels",
        ),
        ("".join(f"{n}\tw\tX\n" for n in range(20)), "has numbers in its first column"),
        ("a\tX\nb\tY\tZ\n", "line 2: 3 fields, and line 1 has 2"),
    ],
)
def test_prose_and_other_files_are_refused(read, text: str, complaint: str) -> None:
    with pytest.raises(RnnError, match=complaint):
        read(text)
