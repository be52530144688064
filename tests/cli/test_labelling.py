"""`rnn classify`, `rnn tag` and the evaluation of their models, as a new user runs them."""

import json
from pathlib import Path

import pytest

QUICK = "--hidden 4 --word-size 8 --char-size 8 --epochs 2"


@pytest.fixture
def classifier(rnn, trained):
    """The command line, with a quickly trained classifier of the embedded voices."""
    ran = trained(f"train poetry-classify {QUICK} --folds 2 --name judge")
    assert ran.code == 0
    assert "hillside + nocturne: 713 distinct texts (357 hillside, 356 nocturne), 2 folds" in ran.err
    return rnn


@pytest.fixture
def grammarian(rnn, trained):
    """The command line, with a quickly trained tagger of the embedded voices."""
    assert trained(f"train tag {QUICK} --name grammarian").code == 0
    return rnn


def test_classify_shows_label_probability_and_the_words_that_moved_it(classifier) -> None:
    ran = classifier('classify "the gate stood open and the field was white"')
    assert ran.code == 0
    assert ran.out.split()[0] in ("hillside", "nocturne")
    assert 0.5 <= float(ran.out.split()[1]) <= 1
    assert "the gate stood open and the field was white" in ran.out
    assert "judge/best.safetensors (hillside + nocturne)" in ran.err
    assert "erasure" in ran.err


def test_lines_of_a_file_are_labelled_one_by_one_and_together(classifier, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("the gate stood open\n\nO bells, O bells!\n")
    ran = classifier(f"classify --file {tmp_path}/mine.txt")
    assert [line.split(" ")[0] in ("hillside", "nocturne") for line in ran.out.splitlines()] == [
        True,
        False,
        True,
        False,
    ]
    assert ran.out.splitlines()[-1].startswith("all 2 together: ")
    printed = json.loads(classifier(f"classify --file {tmp_path}/mine.txt --json").out)
    assert [text["text"] for text in printed["texts"]] == ["the gate stood open", "", "O bells, O bells!"]
    assert printed["texts"][1] == {"text": "", "label": None, "probability": None, "probabilities": {}, "words": []}
    first = printed["texts"][0]
    assert first["probability"] == first["probabilities"][first["label"]]
    assert [word["word"] for word in first["words"]] == ["the", "gate", "stood", "open"]
    assert printed["method"] == "erasure"
    assert set(printed["together"]) == {"label", "probability", "probabilities"}


@pytest.mark.parametrize("verb", ["classify", "tag"])
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("", "give one text or more, each in quotation marks, or --file FILE"),
        ("one --file two", "give one text or more, each in quotation marks, or --file FILE"),
        ("'  '", "text 1 is empty: there is no word in it"),
        ("--file nowhere.txt", "nowhere.txt does not exist"),
    ],
)
def test_a_missing_text_is_one_line(rnn, verb: str, words: str, complaint: str) -> None:
    ran = rnn(f"{verb} {words}")
    assert (ran.code, ran.out) == (1 if "nowhere" in words else 2, "")
    assert ran.err.startswith("rnn: error: ")
    assert complaint in ran.err


@pytest.mark.parametrize(("verb", "task"), [("classify", "poetry-classify"), ("tag", "tag")])
def test_without_a_model_the_message_names_the_training_command(rnn, home: Path, verb: str, task: str) -> None:
    ran = rnn(f"{verb} 'a line'")
    place = home / "checkpoints"
    message = f"rnn: error: there is no model of {task} in {place} yet: run `rnn train {task}` first\n"
    assert (ran.code, ran.err) == (2, message)


@pytest.mark.no_backend
@pytest.mark.slow
def test_evaluation_has_folds_baselines_and_a_confusion_matrix(classifier, home: Path) -> None:
    ran = classifier(f"evaluate poetry-classify --baselines --out {home}/c.png")
    assert ran.code == 0
    for name in (
        "majority",
        "naive Bayes, words",
        "linear SVM",
        "HMM per label, tags",
        "logistic regression, tags 1-3",
    ):
        assert name in ran.out
    assert "right label" in ran.out
    assert (home / "c.png").read_bytes().startswith(b"\x89PNG")
    printed = json.loads(classifier("evaluate poetry-classify --baselines --json").out)
    assert (
        printed["metrics"]["texts"] == sum(sum(row.values()) for row in printed["metrics"]["confusion"].values()) == 713
    )
    assert {"accuracy", "balanced_accuracy"} <= printed["baselines"]["majority"].keys()


def test_a_picture_that_cannot_be_drawn_is_one_line(classifier, home: Path) -> None:
    (home / "file").touch()
    ran = classifier(f"evaluate poetry-classify --out {home}/file/c.png")
    assert ran.code == 1
    assert f"cannot save {home}/file/c.png" in ran.err


def test_tag_prints_one_word_with_its_label_per_line(grammarian, tmp_path: Path) -> None:
    ran = grammarian('tag "the gate stood open."')
    assert ran.code == 0
    assert [line.split("\t")[0] for line in ran.out.splitlines()] == ["the", "gate", "stood", "open", "."]
    (tmp_path / "two.txt").write_text("one\rline\n\nand another\x0cone\u2028here\n", newline="")
    tagged = grammarian(f"tag --file {tmp_path}/two.txt").out
    assert [len(sentence.splitlines()) for sentence in tagged.split("\n\n")] == [2, 0, 4]
    (tmp_path / "again.conll").write_text(tagged)
    assert grammarian(f"evaluate tag --corpus {tmp_path}/again.conll").code == 0
    printed = json.loads(grammarian('tag "the gate" --json').out)
    assert [word["word"] for word in printed["sentences"][0]["words"]] == ["the", "gate"]
    assert all(0 < word["probability"] <= 1 for word in printed["sentences"][0]["words"])


def test_words_and_entities_of_a_column_file(rnn, tmp_path: Path) -> None:
    """Words that NLTK splits are tagged whole, and entities are measured as well as words."""
    rows = (
        "@ann NNP B-NP B-PER\nBell NNP I-NP I-PER\ncannot MD B-VP O\nstop VB I-VP O\n#goal NN B-NP B-MISC\n. . O O\n\n"
    )
    (tmp_path / "c.txt").write_text("-DOCSTART- -X- -X- O\n\n" + rows * 30)
    ran = rnn(f"train tag --corpus {tmp_path}/c.txt {QUICK} --epochs 12 --lr 0.05 --name names")
    assert "4 labels, such as B-PER for '@ann' (CoNLL-2003, word and ner)" in ran.err
    assert "27 sentences of 162 words to learn, 3 held out, " in ran.err
    tagged = [line.split("\t") for line in rnn('tag "@ann Bell cannot stop #goal."').out.splitlines()]
    assert tagged == [
        ["@ann", "B-PER"],
        ["Bell", "I-PER"],
        ["cannot", "O"],
        ["stop", "O"],
        ["#goal", "B-MISC"],
        [".", "O"],
    ]
    for how, words in (("blanks", ["cannot", "stop."]), ("nltk", ["can", "not", "stop", "."])):
        found = rnn(f'tag "cannot stop." --split-words {how}').out.splitlines()
        assert [line.split("\t")[0] for line in found] == words
    assert "--split-words must be one of" in rnn("tag x --split-words no").err
    printed = json.loads(rnn("evaluate tag --json").out)["metrics"]
    assert (printed["accuracy"], printed["entity_precision"], printed["entity_recall"], printed["entity_f1"]) == (
        1,
        1,
        1,
        1,
    )
    assert {kind: figures["right"] for kind, figures in printed["entities"].items()} == {"MISC": 3, "PER": 3}
    rows = json.loads(rnn("evaluate tag --baselines --json").out)["baselines"]
    assert [row["entity_f1"] for row in rows.values()] == [1, 1]
    assert "entity f1" in rnn("evaluate tag").out


def test_a_tagger_is_compared_with_its_baselines(grammarian) -> None:
    printed = json.loads(grammarian("evaluate tag --baselines --json").out)
    assert {"accuracy", "new_word_accuracy", "confusion"} <= printed["metrics"].keys()
    perceptron, commonest = (printed["baselines"][name] for name in ("NLTK's perceptron", "commonest tag"))
    assert perceptron["accuracy"] > commonest["accuracy"] > 0.5


def test_whole_sequences_cannot_be_truncated(rnn) -> None:
    ran = rnn("train tag --bptt 5")
    assert (ran.code, ran.err) == (2, "rnn: error: tag reads whole sequences: leave --bptt out\n")
