"""poetry-classify: no fold trains on its held-out texts, and labels come with influential words."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnncli.api import Training, load
from rnncli.data import tagging
from rnncli.data.batching import built
from rnncli.data.texts import GivenTexts
from rnncli.errors import RnnError, RnnWarning, UsageError
from rnncli.labelling.settings import LabelledOptions
from rnncli.presets import resolve
from rnncli.tasks import TASKS, poetry_classify
from rnncli.tasks.poetry_classify import ClassifyConfig, Divided, classify, divide, evaluate

TASK = TASKS["poetry-classify"]
QUICK = {"hidden": "4", "epochs": 2, "word_size": 4, "char_size": 4, "folds": 3, "ensemble": 1}


@pytest.fixture
def files(home: Path, tmp_path: Path) -> tuple[str, ...]:
    """Two simple voices of 24 lines, in stanzas of four; the last stanza of each repeats the first."""
    for name, word in (("ay", "ash"), ("be", "birch")):
        lines = [f"the {word} number {number % 20} is {'green' if number % 2 else 'old'}" for number in range(24)]
        (tmp_path / f"{name}.txt").write_text("\n".join(x + "\n" * (n % 4 == 3) for n, x in enumerate(lines)))
    return str(tmp_path / "ay.txt"), str(tmp_path / "be.txt")


def settings(files: tuple[str, ...], **flags: Any) -> ClassifyConfig:
    config = resolve(TASK, {**QUICK, "corpus": files, **flags})
    assert isinstance(config, ClassifyConfig)
    return config


def train(config: ClassifyConfig, name: str = "mine") -> Training:
    training = Training.start(TASK.name, config, name)
    training.train(lambda _: None, pytest.fail)
    return training


def weights(training: Training, member: int) -> dict[str, torch.Tensor]:
    model: Any = training.experiment.model
    return dict(model.members[member].state_dict())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("weighted", [False, True])
def test_a_fold_does_not_train_on_its_held_out_texts(
    files: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, weighted: bool
) -> None:
    """With other labels on the held-out texts of fold 2, only the net of fold 2 stays the same, bit for bit."""
    config = settings(files, class_weights=weighted)
    first = train(config, "first")

    def changed(config: ClassifyConfig, *, to_learn: bool = True) -> Divided:
        divided = divide(config, to_learn=to_learn)
        flip = dict(zip(divided.classes, divided.classes[::-1], strict=True))
        labels = [
            flip[label] if held else label
            for label, held in zip(divided.data.labels, divided.held[:, 2].tolist(), strict=True)
        ]
        return divided._replace(data=replace(divided.data, labels=labels))

    monkeypatch.setattr(poetry_classify, "divide", changed)
    second = train(config, "second")
    assert [same(weights(first, member), weights(second, member)) for member in range(4)] == [False, False, True, False]


def test_a_fold_knows_only_the_words_of_its_training_texts(files: tuple[str, ...]) -> None:
    config = settings(files, min_count=1)
    training = train(config)
    divided = divide(config)
    words = training.experiment.payload["lexicon"]["words"]
    for split in range(config.splits):
        seen = {word for row in divided.seen(split).tolist() for word in divided.data.texts[row].split()}
        known = weights(training, split)["reader.known_words"][1:].tolist()
        assert {word for word, is_known in zip(words, known, strict=True) if is_known} == seen


@pytest.mark.parametrize("group", ["line", "stanza", "4"])
def test_repeated_lines_and_groups_stay_on_one_side(files: tuple[str, ...], group: str) -> None:
    divided = divide(settings(files, distinct=False, group=group))
    assert len(divided.data.texts) == 48
    for split in range(1, 4):
        held = divided.held[:, split].tolist()
        texts = list(zip(divided.data.texts, divided.groups, held, strict=True))
        inside = {text for text, _, is_held in texts if is_held}
        assert not inside & {text for text, _, is_held in texts if not is_held}
        groups = {its for _, its, is_held in texts if is_held}
        assert not groups & {its for _, its, is_held in texts if not is_held}
    assert divided.held[:, 1:].sum(1).tolist() == [1] * 48
    assert not divided.held[:, 0].any()
    assert len(set(divided.groups)) == (48 if group == "line" else 12)


def test_metrics_equal_a_loop_over_held_out_texts(files: tuple[str, ...]) -> None:
    """The loop classifies one line at a time with the fold's own net."""
    config = settings(files, group="4", ensemble=2)
    training = train(config)
    trained = load(training.run.folder / "last.safetensors")
    model: Any = trained.model
    divided = divide(config)
    hits, loss, sums = 0, 0.0, {}
    for row, text in enumerate(divided.data.texts):
        features = poetry_classify.encode(config, trained.payload, [text])
        tokens, lengths = features.tokens(torch.tensor([0])), features.lengths
        split = int(divided.held[row].nonzero())
        with torch.no_grad():
            votes = [model.members[2 * split + vote](tokens, None, lengths)[0].softmax(-1)[0] for vote in range(2)]
        probs = (votes[0] + votes[1]) / 2
        answer = divided.classes.index(divided.data.labels[row])
        hits += int(probs.argmax()) == answer
        loss -= float(probs[answer].log())
        total, _ = sums.get(divided.groups[row], (0, answer))
        sums[divided.groups[row]] = (total + probs.log(), answer)
    metrics = evaluate(trained, LabelledOptions())
    count = len(divided.data.texts)
    assert (metrics["texts"], metrics["accuracy"]) == (count, pytest.approx(hits / count))
    assert metrics["loss"] == pytest.approx(loss / count, rel=1e-5)
    groups = [int(total.argmax()) == answer for total, answer in sums.values()]
    assert metrics["group_accuracy"] == pytest.approx(sum(groups) / len(groups))
    right = sum(metrics["confusion"][label][label] for label in divided.classes)
    assert right == hits


def test_nets_of_folds_are_stored_once(files: tuple[str, ...]) -> None:
    """`best` holds the nets that serve; measuring takes the others from `last`, and gives what `last` gives."""
    folder = train(settings(files, ensemble=2)).run.folder
    best, last = (load(folder / f"{name}.safetensors") for name in ("best", "last"))
    assert (len(best.model.members), len(last.model.members)) == (2, 8)
    serving, others = (dict(each.model.members[:2].state_dict()) for each in (best, last))
    assert same(serving, others)
    assert evaluate(best, LabelledOptions()) == evaluate(last, LabelledOptions())
    assert evaluate(best, LabelledOptions(corpus=files)) == evaluate(last, LabelledOptions(corpus=files))
    text = GivenTexts(texts=("the birch number 3 is green",))
    assert classify(best, text) == classify(last, text)


@pytest.mark.parametrize("other", ["none", "of another run"])
def test_best_without_its_last_is_not_measured_on_folds(files: tuple[str, ...], other: str) -> None:
    folder, file = train(settings(files)).run.folder, "last.safetensors"
    (folder / file).unlink()
    if other != "none":
        (folder / file).write_bytes((train(settings(files, seed=1), "other").run.folder / file).read_bytes())
    with pytest.raises(
        UsageError, match=r"those of the folds are in last\.safetensors of its run: measure the run, or"
    ):
        evaluate(load(folder / "best.safetensors"), LabelledOptions())


def test_folds_of_a_later_step_are_a_warning(files: tuple[str, ...]) -> None:
    run = train(settings(files)).run
    before = (run.folder / "best.safetensors").read_bytes()
    training = Training.resume(run, {"epochs": 3})
    training.train(lambda _: None, pytest.fail)
    (run.folder / "best.safetensors").write_bytes(before)
    with pytest.warns(RnnWarning, match=r"those of step 3, in last\.safetensors; best\.safetensors is of 2$"):
        evaluate(load(run.folder / "best.safetensors"), LabelledOptions())


def test_without_folds_some_are_held_out_or_none(files: tuple[str, ...]) -> None:
    held = divide(settings(files, folds=0, hold_out_count=7)).held
    assert (held.shape[1], int(held.sum())) == (1, 7)
    experiment = train(settings(files, folds=0, hold_out_count=7)).experiment
    assert sum(batch.predictions for batch in built(experiment.batches(0))) == 33
    training = train(settings(files, folds=0, epochs=30), "whole")
    assert training.trainer.progress.history[-1]["accuracy"] > 0.9  # on the training texts
    assert "accuracy_spread" not in training.trainer.progress.history[-1]


def test_class_weights_equal_scikit_learn(files: tuple[str, ...]) -> None:
    """For each split, from its training texts only."""
    from sklearn.utils.class_weight import compute_class_weight

    divided = divide(settings((files[0], f"few={files[1]}"), group="4"))
    weights = poetry_classify.class_weights(divided)
    for split in range(4):
        seen = divided.answers[divided.seen(split)].numpy()
        wanted = compute_class_weight("balanced", classes=np.array([0, 1]), y=seen)
        assert weights[split].tolist() == pytest.approx(wanted.tolist())


def test_classify_reports_influential_words(files: tuple[str, ...]) -> None:
    trained = load(train(settings(files, epochs=60, lr=0.02)).run.folder / "best.safetensors")
    (found,) = classify(trained, GivenTexts(texts=("the birch number 3 is green",)))
    assert found.label == "be"
    assert found.probability == max(found.probs.values()) > 0.8
    assert sum(found.probs.values()) == pytest.approx(1)
    assert [word for word, _ in found.words] == ["the", "birch", "number", "3", "is", "green"]
    assert max(found.words, key=lambda moved: moved.by).word == "birch"

    def odds(text: str) -> float:
        prob = classify(trained, GivenTexts(texts=(text,)))[0].probs["be"]
        return float(torch.logit(torch.tensor(prob, dtype=torch.double)))

    wanted = odds("the birch number 3 is green") - odds("the number 3 is green")
    assert found.words[1].by == pytest.approx(wanted, rel=1e-4)
    assert classify(trained, GivenTexts(texts=("birch",)))[0].words == [("birch", 0.0)]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"folds": 1}, "--folds must be 0 or at least 2"),
        ({"folds": 30}, r"has too few groups of texts \(20\) for 30 folds"),
        ({"folds": 0, "hold_out_count": 20, "group": "100"}, "a split would hold out every example of a label"),
        ({"patience": 2}, "held-out texts only measure the result"),
        ({"folds": 0, "hold_out_count": 40}, "leaves nothing to learn from 40 texts"),
        ({"group": "verse"}, "--group must be line, stanza, or a number of lines, not 'verse'"),
        ({"features": ("words", "sound")}, "--features must be among tags, words, chars, not 'sound'"),
        ({"features": ("tags",)}, "nltk-tagger is not downloaded: run `rnn data get nltk-tagger`"),
    ],
)
def test_invalid_settings_are_refused(
    files: tuple[str, ...], home: Path, monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], words: str
) -> None:
    monkeypatch.delenv("NLTK_DATA", raising=False)
    monkeypatch.setenv("HOME", str(home))
    tagging._perceptron.cache_clear()
    with pytest.raises(RnnError, match=words):
        Training.start(TASK.name, settings(files, **flags), "none")


def test_other_labels_are_refused(files: tuple[str, ...], tmp_path: Path) -> None:
    trained = load(train(settings(files)).run.folder / "best.safetensors")
    (tmp_path / "ce.txt").write_text("one\ntwo\n")
    with pytest.raises(UsageError, match="knows the labels ay, be, not ce: NAME=FILE gives a label"):
        evaluate(trained, LabelledOptions(corpus=(files[0], str(tmp_path / "ce.txt"))))
    other = evaluate(trained, LabelledOptions(corpus=(f"be={files[0]}", f"ay={files[1]}")))
    mine = evaluate(trained, LabelledOptions(corpus=files))
    assert other["accuracy"] == pytest.approx(1 - mine["accuracy"])
