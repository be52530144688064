"""Items: JSON lines, and texts, pairs, mappings and data sets from Python, as corpora of each kind."""

import gzip
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rnncli.data.corpora import absolute_spec, cannot_be_read_again, load_corpus, open_corpus
from rnncli.data.from_python import corpus_specs
from rnncli.data.holding_out import HoldOut
from rnncli.data.labelled import read_labelled, read_tagged
from rnncli.data.pairs import PairSpec, read_pairs
from rnncli.data.text import read_as
from rnncli.data.token_text import TextSpec, read_token_text
from rnncli.errors import RnnError, UsageError

pytestmark = pytest.mark.no_backend


def write(path: Path, *items: object) -> str:
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return str(path)


def test_texts_of_json_lines_and_of_python_are_those_of_a_plain_file(tmp_path: Path) -> None:
    lines = ["the gate", "stood open", "", "ünï"]
    (tmp_path / "plain.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = write(tmp_path / "rows.jsonl", *({"text": line, "id": 7} for line in lines))
    with gzip.open(tmp_path / "rows.jsonl.gz", "wb") as file:
        file.write(Path(rows).read_bytes() + b"\n")
    with (tmp_path / "plain.txt").open(encoding="utf-8") as open_file:
        specs = [rows, f"{rows}.gz", *corpus_specs(lines), *corpus_specs(open_file)]
    for spec in [*specs, *corpus_specs(iter(lines)), *corpus_specs({"text": line} for line in lines)]:
        assert load_corpus(spec).text == load_corpus(str(tmp_path / "plain.txt")).text
        assert "".join(open_corpus(spec).read()) == load_corpus(spec).text
        assert absolute_spec(spec) == spec
    assert [load_corpus(spec).name for spec in specs[:2]] == ["rows", "rows"]


def test_equal_items_have_one_name_and_one_fingerprint() -> None:
    (one,), (same,), (other,) = (corpus_specs(texts) for texts in (["a b", "c"], iter(["a b", "c"]), ["c", "a b"]))
    assert one == same != other
    fingerprints = [
        read_token_text(TextSpec((spec,), hold_out=HoldOut(share=0.2))).fingerprint for spec in (one, same, other)
    ]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_items_may_hold_what_json_cannot() -> None:
    first, same, other = (corpus_specs([{"text": "a b", "seen": {(1, 2): value}}]) for value in (3, 3, 4))
    assert first == same != other
    assert load_corpus(*first).text == "a b\n"


def test_several_splits_of_a_data_set_are_refused() -> None:
    """The names of the splits would be the labels."""

    class Splits(dict[str, list[str]]):
        def with_format(self) -> None: ...

    with pytest.raises(UsageError, match=r"has several splits: choose one, such as corpus\['train'\]"):
        corpus_specs(Splits(train=["a"], test=["b"]))


def test_data_frame_is_refused() -> None:
    """A data frame yields the names of its columns, which would be the texts."""

    class Frame(list[str]):
        columns = ("text", "label")

    with pytest.raises(UsageError, match=r"is a data frame: give its rows, such as frame\.to_dict"):
        corpus_specs(Frame(["text", "label"]))


def test_labels_come_from_pairs_keys_and_mappings(tmp_path: Path) -> None:
    pairs = [("the  gate\nstood", "x"), ("open", "y"), ("snow", "x"), ("bells", "y")]
    wanted = (["the gate stood", "open", "snow", "bells"], ["x", "y", "x", "y"])
    rows = write(tmp_path / "rows.jsonl", *({"line": text, "who": label} for text, label in pairs))
    by_label = {label: [text for text, its in pairs if its == label] for label in ("x", "y")}
    for found in (
        read_labelled(corpus_specs(pairs)),
        read_labelled([rows], "line", "who"),
        read_labelled(corpus_specs({"text": text, "label": label} for text, label in pairs)),
    ):
        assert (found.texts, found.labels) == wanted
        assert found.rows == 4
    found = read_labelled(corpus_specs(by_label))
    assert sorted(zip(found.texts, found.labels, strict=True)) == sorted(zip(*wanted, strict=True))
    numbers = [("a b", 1), ("c", 2.5), ("d", True), ("e", 1), ("f", 2.5), ("g", True)]
    assert read_labelled(corpus_specs(numbers)).classes == ["1", "2.5", "true"]


class DataSet(list[dict[str, Any]]):
    """Looks as a `datasets.Dataset` does: rows, and features that name numbered labels."""

    class Names:
        names = ("bad", "good")

    class OfEach:
        feature = None

    features: ClassVar = {"text": None, "label": Names, "tags": OfEach}


def test_numbered_labels_of_a_data_set_get_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DataSet.OfEach, "feature", DataSet.Names)
    rows = DataSet({"text": f"text {n}", "label": n % 2} for n in range(4))
    assert read_labelled(corpus_specs(rows)).labels == ["bad", "good"] * 2
    words = DataSet([{"words": ["a", "b"], "tags": [1, 0]}])
    assert read_tagged(corpus_specs(words)).labels == [["good", "bad"]]


def test_words_and_sentences_come_in_pairs(tmp_path: Path) -> None:
    sentence = ["the", "gate"], ["DET", "NOUN"]
    rows = write(tmp_path / "rows.jsonl", {"tokens": sentence[0], "pos": sentence[1]})
    for found in (
        read_tagged(corpus_specs([sentence])),
        read_tagged(corpus_specs([("the gate", "DET NOUN")])),
        read_tagged([rows], "tokens,pos"),
    ):
        assert found.pairs == [sentence]
    write(tmp_path / "rows.jsonl", {"source": "ein  hund", "target": "a dog"}, {"source": "x", "target": "y"})
    wanted = [("ein hund", "a dog"), ("x", "y")]
    assert read_pairs(PairSpec((rows,))).training == wanted
    assert read_pairs(PairSpec(corpus_specs(wanted))).training == wanted
    assert read_pairs(PairSpec((rows,), columns="target,source")).training == [pair[::-1] for pair in wanted]


def test_list_names_corpora_only_if_each_of_its_strings_does(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("a", encoding="utf-8")
    assert corpus_specs(["hillside", file, str(file), "me=hillside", "absent.csv"]) == (
        *("hillside", str(file), str(file), "me=hillside"),
        "absent.csv",
    )
    assert corpus_specs(("hilside",)) == ("hilside",)
    assert corpus_specs({"me": file, "you": "nocturne"}) == (f"me={file}", "you=nocturne")
    (spec,) = corpus_specs(["hillside", "the gate stood open"])
    assert load_corpus(spec).text == "hillside\nthe gate stood open\n"


LINE = "rows.jsonl, line 2"
ITEM = "the corpus from Python, item 2"


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("{", rf"{LINE} is not JSON \(Expecting property name .*, column 2\): write one object per line"),
        ("[" * 100_000, rf"{LINE} is JSON that cannot be read"),
        ('"text"', rf"{LINE} is not a JSON object such as .*: \"text\""),
        ('{"text": "b"}', rf"{LINE} has no key 'label', its keys are 'text': name another key by --label-column"),
        ('{"text": "b", "label": null}', rf"{LINE}: label must be text, not None"),
        ('{"text": "b", "label": " "}', rf"{LINE}: the label is empty"),
        (r'{"text": "b\ud800", "label": "x"}', rf"{LINE} holds '\\ud800', which is no character of a text"),
    ],
)
def test_wrong_line_is_named(second: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"text": "a", "label": "x"}\n' + second + "\n", encoding="utf-8")
    with pytest.raises(RnnError, match=message):
        read_labelled(["rows.jsonl"])


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([("a", "x"), "b"], rf"{ITEM} is no pair: give \(text, label\)"),
        ([("a", "x"), 3], rf"{ITEM} is neither a text, a pair nor a mapping: 3"),
        ([("a", "x"), {"text": "b"}], rf"{ITEM} has no key 'label'"),
        ([], r"the corpus from Python has no items"),
        (3, r"a corpus is a name, a path or an iterable of texts or pairs, not int"),
        ({"a/b": ["c"]}, r"a corpus cannot be labelled 'a/b'"),
        ({0: ["c"]}, r"a corpus cannot be labelled 0: write the label as text"),
        ({}, r"the corpus from Python has no labels"),
    ],
)
def test_wrong_item_is_named(items: Any, message: str) -> None:
    with pytest.raises(RnnError, match=message):
        read_labelled(corpus_specs(items))


def test_wrong_kind_of_item_is_refused() -> None:
    with pytest.raises(RnnError, match="item 1 is a pair, and this task reads texts"):
        load_corpus(*corpus_specs([("a", "b")]))
    with pytest.raises(RnnError, match="item 1 has 1 words and 2 labels: every word needs a label"):
        read_tagged(corpus_specs([(["a"], ["b", "c"])]))
    with pytest.raises(RnnError, match="words must be a list of words, not 3"):
        read_tagged(corpus_specs([(3, ["c"])]))
    with pytest.raises(RnnError, match="the corpus from Python, item 1 is empty"):
        read_pairs(PairSpec(corpus_specs([(" ", "b")])))


def test_corpus_of_another_process_is_refused() -> None:
    assert cannot_be_read_again("me=python:0123456789ab") == "a corpus in the memory of another Python process"
    assert not cannot_be_read_again(*corpus_specs(["a"]))
    with pytest.raises(RnnError, match="python:0123456789ab is a corpus that another Python process held in memory"):
        load_corpus("python:0123456789ab")


def test_earlier_versions_read_json_lines_as_plain_text(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", {"text": "a"})
    with read_as(2):
        assert load_corpus(rows).text == '{"text": "a"}\n'
        assert "".join(open_corpus(rows).read()) == '{"text": "a"}\n'


def test_several_labelled_tables_are_refused(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", {"text": "a", "label": "b"})
    with pytest.raises(UsageError, match=r"rows\.jsonl has its labels in a column: give it as the only --corpus"):
        read_labelled([rows, "hillside"])
