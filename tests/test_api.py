"""The Python API: models by name, with the verbs as methods."""

from pathlib import Path

import pytest
import torch
from support.tasks import some_tasks

import rnncli
from rnncli.api import Model, Training, make_options
from rnncli.errors import UsageError
from rnncli.language.generate import WritingOptions
from rnncli.language.score import ScoreOptions
from rnncli.presets import resolve
from rnncli.tasks import TASKS

SMALL = {"hidden": "4", "epochs": 1}


def train(task: str, name: str = "mine", **flags: object) -> Path:
    training = Training.start(task, resolve(TASKS[task], {**SMALL, **flags}), name)
    training.train(lambda _: None, pytest.fail)
    return training.run.folder


def test_load_finds_a_model_by_file_folder_or_name_and_the_newest(home: Path) -> None:
    folder = train("poetry-lm", corpus=("hillside",))
    sources = [
        folder / "best.safetensors",
        folder,
        str(folder),
        "mine",
        "poetry-lm/mine",
    ]
    models = [rnncli.load(source) for source in sources] + [rnncli.load(task="poetry-lm")]
    cpu = torch.device("cpu")
    models += [rnncli.load("mine", device=cpu), rnncli.list_runs("poetry-lm")[0].load(cpu)]
    assert {model.source for model in models} == {folder / "best.safetensors"}
    assert len({model.score("the gate")[0].bits for model in models}) == 1
    with pytest.raises(UsageError, match="name a model, or a task"):
        rnncli.load()
    with pytest.raises(UsageError, match="there is no run 'yours'"):
        rnncli.load("yours")
    with pytest.raises(UsageError, match="is a model of poetry-lm, not of tag"):
        rnncli.load(folder, task="tag")


def test_damaged_checkpoint_is_a_warning_if_another_is_valid(home: Path) -> None:
    folder = train("poetry-lm", corpus=("hillside",))
    (folder / "best.safetensors").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match=r"using last\.safetensors"):
        assert rnncli.load("mine").source.name == "last.safetensors"


@pytest.mark.parametrize("task", some_tasks("parity", "poetry-lm"))
def test_every_model_has_the_methods_of_its_verbs_only(task: str, trained) -> None:
    assert trained(f"train {task} --name mine --seed 1 --hidden 4 --epochs 1").code == 0
    model = rnncli.load(f"{task}/mine")
    calls = {
        "generate": lambda: model.generate(seed=1),
        "score": lambda: model.score("the gate"),
        "classify": lambda: model.classify("the gate"),
        "tag": lambda: model.tag("the gate"),
        "activations": model.activations,
        "translate": lambda: model.translate("the third of march, nineteen eighty-seven"),
        "evaluate": model.evaluate,
        "vectors": model.vectors,
    }
    assert set(model.can) <= set(calls)
    for verb, call in calls.items():
        if verb in model.can:
            assert call() is not None
        else:
            lacks = "has no word vectors" if verb == "vectors" else f"has no {verb}: it has evaluate"
            with pytest.raises(UsageError, match=f"a model of {task}, which {lacks}"):
                call()


def test_each_text_gets_a_label(home: Path) -> None:
    found = rnncli.load(train("poetry-classify", folds=0)).classify(["the gate  stood", "O bells"])
    assert [each.text for each in found] == ["the gate stood", "O bells"]
    assert all(each.label in ("hillside", "nocturne") and 0 < each.probability <= 1 for each in found)
    tagged = rnncli.load(train("tag", "tagger")).tag(["the gate", "O bells O"])
    assert [[word.word for word in sentence] for sentence in tagged] == [["the", "gate"], ["O", "bells", "O"]]


def test_vectors_are_those_of_the_layer(home: Path) -> None:
    model = rnncli.load(train("wiki-lm", corpus=("hillside",), embedding=6))
    assert model.vectors("input").matrix.shape[1] == 6
    assert model.vectors().matrix.shape[1] == 4  # the output layer is the default
    assert "gate" in model.vectors().words


def test_evaluate_of_a_corpus_matches_the_verb(home: Path, tmp_path: Path, rnn) -> None:
    model = rnncli.load(train("poetry-lm", corpus=("hillside",)))
    (tmp_path / "other.txt").write_text("the gate was open\nthe snow fell on the gate\n")
    metrics = model.evaluate(corpus=tmp_path / "other.txt")
    assert metrics["lines"] == 2
    assert metrics == model.evaluate(corpus=[str(tmp_path / "other.txt")])


def test_unknown_options_are_refused() -> None:
    assert make_options(ScoreOptions, {"texts": "one"}).texts == ("one",)
    assert make_options(ScoreOptions, {"texts": ["one", "two"]}).texts == ("one", "two")
    with pytest.raises(UsageError, match="there is no option 'text': the options are texts, file, label, by"):
        make_options(ScoreOptions, {"text": "one"})
    with pytest.raises(UsageError, match="option length must be a whole number, not '10'"):
        make_options(WritingOptions, {"length": "10"})


def test_load_returns_a_model() -> None:
    assert rnncli.load.__annotations__["return"] is Model


def test_max_time_without_epochs_is_refused_for_several_processes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncli.training.distributed.world", lambda: 2)
    with pytest.raises(UsageError, match="--epochs 0: only the training of one process can end by a time limit"):
        Training.start("parity", resolve(TASKS["parity"], {"epochs": 0, "max_time": 1.0}))
    assert not (home / "checkpoints").exists()
