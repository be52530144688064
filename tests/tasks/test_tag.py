"""tag: labels do not depend on other sentences, and held-out sentences are measured but not trained on."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rnncli.api import Training, load
from rnncli.data.labelled import TaggedSentences
from rnncli.errors import UsageError
from rnncli.labelling.settings import LabelledOptions
from rnncli.presets import resolve
from rnncli.tasks import TASKS, tag
from rnncli.tasks.tag import TagConfig, TagOptions, evaluate

TASK = TASKS["tag"]
QUICK = {"hidden": "6", "word_size": 6, "char_size": 6, "epochs": 2}


@pytest.fixture
def file(home: Path, tmp_path: Path) -> str:
    """Numbers are NUM, words ending in s VERB, others NOUN; every tenth sentence has a unique word."""
    sentences = []
    for number in range(60):
        last = f"wanders{number}" if number % 10 == 9 else "wanders"
        sentences.append([("cat", "NOUN"), (str(number % 7), "NUM"), (last, "VERB")][: 1 + number % 3])
    path = tmp_path / "mine.conll"
    path.write_text("\n\n".join("\n".join("\t".join(pair) for pair in sentence) for sentence in sentences))
    return str(path)


def train(file: str, name: str = "mine", **flags: Any) -> Training:
    config = resolve(TASK, {**QUICK, "corpus": (file,), **flags})
    training = Training.start(TASK.name, config, name)
    training.train(lambda _: None, pytest.fail)
    return training


def test_labels_do_not_depend_on_other_sentences(file: str) -> None:
    trained = load(train(file).run.folder / "best.safetensors")
    lines = [["cat"], ["cat", "3", "wanders"], ["3", "cat"], ["cat", "9"]]
    data = TaggedSentences("", lines, [])
    together = tag.score(trained.model, tag._encode(trained.config, trained.payload, data))
    separate = [
        tag.score(trained.model, tag._encode(trained.config, trained.payload, TaggedSentences("", [line], [])))
        for line in lines
    ]
    torch.testing.assert_close(together, torch.cat(separate), atol=1e-5, rtol=0)


def test_every_tenth_sentence_is_held_out(file: str) -> None:
    training = train(file)
    config = training.config
    assert isinstance(config, TagConfig)
    split = tag.read_split(config)
    assert (len(split.training.words), len(split.held_out.words)) == (54, 6)
    assert not any(word.startswith("wanders") and word != "wanders" for s in split.training.words for word in s)
    assert not any("wanders9" in word for word in training.experiment.payload["lexicon"]["words"])
    assert training.experiment.payload["classes"] == ["NOUN", "NUM", "VERB"]


def test_tagger_learns_spelling_and_metrics_equal_a_hand_count(file: str) -> None:
    trained = load(train(file, epochs=40, lr=0.02).run.folder / "best.safetensors")
    metrics = evaluate(trained, LabelledOptions())
    held_out = tag.read_split(trained.config).held_out
    hits = []
    for words, labels in held_out.pairs:
        (tagged,) = tag.tag(trained, TagOptions(texts=(" ".join(words),)))
        hits += [(word.label == label, word.word) for word, label in zip(tagged, labels, strict=True)]
    new = [hit for hit, word in hits if word.startswith("wanders")]
    assert metrics["accuracy"] == pytest.approx(sum(hit for hit, _ in hits) / len(hits)) == 1.0
    assert (metrics["new_words"], metrics["new_word_accuracy"]) == (len(new), pytest.approx(sum(new) / len(new)))
    assert metrics["words"] == len(hits) == sum(sum(row.values()) for row in metrics["confusion"].values())


def test_words_have_a_label_and_its_probability(file: str) -> None:
    trained = load(train(file, epochs=40, lr=0.02).run.folder / "best.safetensors")
    (sentence,) = tag.tag(trained, TagOptions(texts=("cat 5 wanders",)))
    assert [(word.word, word.label) for word in sentence] == [("cat", "NOUN"), ("5", "NUM"), ("wanders", "VERB")]
    assert all(0.5 < word.probability <= 1 for word in sentence)


def test_evaluation_without_usable_sentences_is_refused(file: str, tmp_path: Path) -> None:
    trained = load(train(file, hold_out=0).run.folder / "best.safetensors")
    with pytest.raises(UsageError, match="no sentence was held out"):
        evaluate(trained, LabelledOptions())
    (tmp_path / "other.conll").write_text("cat\tANIMAL\n")
    with pytest.raises(UsageError, match=r"other has the label ANIMAL, which .* does not know"):
        evaluate(trained, LabelledOptions(corpus=(str(tmp_path / "other.conll"),)))
    assert evaluate(trained, LabelledOptions(corpus=(file,)))["words"] == 120
    Path(file).write_text("dog\tNOUN\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"mine is no longer what .* was trained on: give --corpus"):
        tag.training_split(trained)
    with pytest.raises(UsageError, match="has 1 sentence: with --hold-out-every 1 none is left to learn"):
        train(file, "none", hold_out_every=1)


def test_quotation_marks_are_normalized_and_shown_as_written(file: str) -> None:
    trained = load(train(file).run.folder / "best.safetensors")
    (sentence,) = tag.tag(trained, TagOptions(texts=('the "cat" wanders',)))
    assert [word.word for word in sentence] == ["the", '"', "cat", '"', "wanders"]

    def scores(marks: tuple[str, str]) -> torch.Tensor:
        data = TaggedSentences("", [["the", marks[0], "cat", marks[1]]], [])
        return tag.score(trained.model, tag._encode(trained.config, trained.payload, data))

    assert torch.equal(scores(('"', '"')), scores(("``", "''")))


def test_standard_input_cannot_be_read_again(file: str) -> None:
    from dataclasses import replace

    trained = load(train(file).run.folder / "best.safetensors")
    again = replace(trained, config=replace(trained.config, corpus=("mine=-",)))
    with pytest.raises(UsageError, match="learned from standard input, which cannot be read again"):
        evaluate(again, LabelledOptions())
