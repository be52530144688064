"""Several voices in one model: each label is written, held out and measured separately, and stored."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnncli.api import Training, load
from rnncli.data.batching import built
from rnncli.data.streams import RunningText
from rnncli.errors import UsageError
from rnncli.models.voices import UNLABELLED, Voices
from rnncli.presets import resolve
from rnncli.task import Trained
from rnncli.tasks import TASKS
from rnncli.training import checkpoint
from rnncli.training.runs import Run

WORDS = {"sea": "wave salt gull tide", "farm": "barn corn mule gate"}


@pytest.fixture
def corpora(tmp_path: Path) -> tuple[str, ...]:
    generator = np.random.default_rng(0)
    for name, words in WORDS.items():
        lines = [" ".join(generator.choice(words.split(), size=4)) for _ in range(60)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return tuple(str(tmp_path / f"{name}.txt") for name in WORDS)


def train(task: str, corpora: tuple[str, ...], **flags: Any) -> Trained:
    settings = {"hidden": "24", "embedding": 16, "lr": 0.02, "corpus": corpora, "hold_out": 0.1}
    if task == "char-lm":
        settings |= {"epochs": 20, "bptt": 20, "batch_size": 8}
    training = Training.start(task, resolve(TASKS[task], {**settings, **flags}))
    training.train(lambda _: None, pytest.fail)
    return load(training.run.folder / "last.safetensors")


def written(trained: Trained, **options: Any) -> str:
    action = TASKS[trained.task].uses["generate"]
    return "\n".join(action.run(trained, action.Options(**{"seed": 1, "temperature": 0.7, **options})).texts)


@pytest.mark.parametrize("task", ["poetry-lm", "char-lm"])
def test_each_label_writes_its_own_words(task: str, corpora: tuple[str, ...], home: Path) -> None:
    trained = train(task, corpora)
    assert trained.payload["labels"] == ["sea", "farm"]
    for name, words in WORDS.items():
        found = written(trained, label=name, count=8, length=40).split()
        assert len(found) > 30
        assert sum(word in words.split() for word in found) > 0.85 * len(found)
    anyone = written(trained, count=40, length=40).split()
    fractions = [sum(word in words.split() for word in anyone) / len(anyone) for words in WORDS.values()]
    assert min(fractions) > 0.02  # without a label, both voices occur
    with pytest.raises(UsageError, match=r"has no voice 'poe': its labels are sea, farm"):
        written(trained, label="poe")


@pytest.mark.parametrize("task", ["poetry-lm", "char-lm"])
def test_text_is_measured_in_the_voice_of_its_name(task: str, corpora: tuple[str, ...], home: Path) -> None:
    trained = train(task, corpora)
    evaluate = TASKS[task].evaluate
    held_out = evaluate.run(trained, evaluate.Options())
    assert held_out["loss"] == pytest.approx(trained.header["progress"]["history"][-1]["loss"], rel=1e-5)
    own, others, unlabelled = (
        evaluate.run(trained, evaluate.Options(corpus=(f"{name}={corpora[0]}",)))["loss"]
        for name in ("sea", "farm", "other")
    )
    assert own < unlabelled < others
    if task == "poetry-lm":
        assert {"perplexity_sea", "perplexity_farm"} <= held_out.keys()
        assert held_out["perplexity_sea"] != held_out["perplexity_farm"]


@pytest.mark.parametrize("task", ["poetry-lm", "char-lm"])
def test_without_voices_corpora_are_one_text(task: str, corpora: tuple[str, ...], home: Path) -> None:
    trained = train(task, corpora, voices=False, epochs=1)
    assert "labels" not in trained.payload
    assert trained.model.voices is None
    with pytest.raises(UsageError, match="has no voices: leave --label out"):
        written(trained, label="sea")
    same = train(task, (f"mine={corpora[0]}", f"mine={corpora[1]}"), epochs=1)
    assert "labels" not in same.payload


@pytest.mark.parametrize("task", ["poetry-lm", "char-lm"])
def test_checkpoint_older_than_voices_is_of_one_text(task: str, corpora: tuple[str, ...], home: Path) -> None:
    """Its settings lack `voices`; it is still evaluated on its held-out text, and resumes."""
    trained = train(task, corpora, voices=False, epochs=1)
    evaluate = TASKS[task].evaluate
    wanted = evaluate.run(trained, evaluate.Options())
    for file in trained.source.parent.glob("*.safetensors"):
        found = checkpoint.read(file)
        header = {**found.header, "config": {k: v for k, v in found.header["config"].items() if k != "voices"}}
        file.write_bytes(checkpoint.to_bytes(header, found.tensors))
    assert evaluate.run(load(trained.source), evaluate.Options()) == wanted
    resumed = Training.resume(Run(trained.source.parent), {"epochs": 2})
    resumed.train(lambda _: None, pytest.fail)
    assert not resumed.config.voices


def test_the_end_of_each_voice_is_held_out(corpora: tuple[str, ...], home: Path) -> None:
    trained = train("char-lm", corpora, epochs=1)
    corpus = TASKS["char-lm"].token_access.data(trained, "")
    texts = [Path(file).read_text(encoding="utf-8") for file in corpora]
    cuts = [len(text) - int(0.1 * len(text)) for text in texts]
    assert corpus.voices == {name: (cut, len(text) - cut) for name, cut, text in zip(WORDS, cuts, texts, strict=True)}
    spelled = "".join(corpus.codec.join(corpus.ids.tolist()))
    training, held_out = (
        "".join(text[side] for text, side in zip(texts, sides, strict=True))
        for sides in ([slice(cut) for cut in cuts], [slice(cut, None) for cut in cuts])
    )
    assert spelled == training + held_out
    assert corpus.counts.tolist() == np.bincount(corpus.training_ids, minlength=len(corpus.counts)).tolist()


def test_running_text_labels_each_token() -> None:
    text = RunningText(np.arange(100), 1, 30, voices=[(1, 40), (0, 25), (2, 35)])
    wanted = np.repeat([1, 0, 2], [40, 25, 35])
    for batches in map(built, (text.batches(torch.device("cpu")), text.eval_batches(torch.device("cpu"), 5))):
        for batch in batches:
            assert batch.labels is not None
            assert batch.labels.tolist() == wanted[batch.inputs.clamp(max=99).numpy()].tolist()


def test_a_tenth_of_the_columns_trains_without_a_label() -> None:
    torch.manual_seed(0)
    voices = Voices(3, 4)
    labels = torch.randint(3, (7, 4000))
    vectors = voices(labels)
    dropped = (vectors == 0).all(-1)
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))
    assert float(dropped[0].double().mean()) == pytest.approx(UNLABELLED, abs=0.02)
    assert torch.equal(vectors[~dropped], voices.weight[labels[~dropped]])
    assert torch.equal(voices.eval()(labels), voices.weight[labels])
