"""Pretrained word vectors in all tasks: which words get one, freezing, spellings, and the adaptive softmax."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnncli.analysis.vectors import default_layer, of_model
from rnncli.api import Training, load
from rnncli.data.vectors import WordVectors, write_vectors
from rnncli.errors import UsageError
from rnncli.presets import resolve
from rnncli.tasks import TASKS
from rnncli.training.experiment import Experiment

TASK = TASKS["poetry-lm"]
GIVEN = WordVectors(
    ("The", "the", "Wall", "zebra"), np.random.default_rng(0).normal(size=(4, 3)).astype("f4")
)  # "the" matches exactly, "wall" by ignoring case; "zebra" does not occur in the text
FLAGS = {"hidden": "4", "epochs": 1, "corpus": ("hillside",), "seed": 3}


@pytest.fixture
def file(tmp_path: Path) -> str:
    write_vectors(GIVEN, tmp_path / "given.txt", "word2vec")
    return str(tmp_path / "given.txt")


def start(name: str, **flags: object) -> Training:
    return Training.start("poetry-lm", resolve(TASK, {**FLAGS, "tokens": "words", **flags}), name)


def rows(experiment: Experiment) -> tuple[torch.Tensor, list[str]]:
    model = experiment.model
    return model.embedding.weight.detach().clone(), experiment.payload["vocabulary"]


@pytest.mark.parametrize("tied", [True, False])
def test_words_of_the_file_get_its_vectors_and_others_random_ones(home: Path, file: str, tied: bool) -> None:
    random_rows, tokens = rows(start("random", embedding=3, tied=tied).experiment)
    training = start("given", embeddings=file, tied=tied)
    begun, _ = rows(training.experiment)
    assert training.begun == f"vectors for 2 of {len(tokens)} words from {file}, to train further"
    the, wall = tokens.index("the"), tokens.index("wall")
    np.testing.assert_array_equal(begun[[the, wall]].numpy(), GIVEN.matrix[[1, 2]])
    others = [row for row in range(len(tokens)) if row not in (the, wall)]
    assert torch.equal(begun[others], random_rows[others])


def test_vectors_of_other_words_are_refused(home: Path, tmp_path: Path) -> None:
    unknown = WordVectors(("zzz", "yyy"), np.ones((2, 3), dtype="f4"))
    write_vectors(unknown, tmp_path / "unknown.txt", "word2vec")
    with pytest.raises(UsageError, match=r"no word of the vocabulary has a vector in .*unknown\.txt"):
        start("unknown", embeddings=str(tmp_path / "unknown.txt"))


@pytest.mark.parametrize("tied", [True, False])
def test_frozen_vectors_stay_and_others_change(home: Path, file: str, tied: bool) -> None:
    for frozen in (True, False):
        training = start(f"frozen {frozen}", embeddings=file, freeze_embeddings=frozen, tied=tied)
        begun, _ = rows(training.experiment)
        training.train(lambda _: None, pytest.fail)
        ended = load(training.run.folder / "last.safetensors").model.embedding.weight
        assert torch.equal(ended, begun) == frozen


def test_run_with_frozen_vectors_resumes_bit_for_bit(home: Path, file: str) -> None:
    whole = start("whole", embeddings=file, freeze_embeddings=True, epochs=2)
    whole.train(lambda _: None, pytest.fail)
    part = start("part", embeddings=file, freeze_embeddings=True)
    part.train(lambda _: None, pytest.fail)
    Path(file).unlink()
    resumed = Training.resume(part.run, {"epochs": 2})
    assert resumed.begun == ""
    begun, _ = rows(whole.experiment)
    assert torch.equal(rows(resumed.experiment)[0], begun)


def test_unreadable_vectors_leave_no_run(home: Path, file: str) -> None:
    from rnncli.errors import RnnError

    Path(file).write_text("2 3\nthe 1 2 3\n", encoding="utf-8")
    with pytest.raises(RnnError, match="it is cut off after 1 of 2 words"):
        start("broken", embeddings=file)
    assert not (home / "checkpoints" / "poetry-lm" / "broken").exists()


def test_spelling_is_stored_and_refused_with_pretrained_vectors(home: Path, file: str) -> None:
    training = start("spelled", spelling=3)
    training.train(lambda _: None, pytest.fail)
    trained = load(training.run.folder / "last.safetensors")
    model: Any = trained.model
    assert len(model.embedding.grams) > 20
    assert default_layer(trained) == "input"
    assert torch.equal(model.word_vectors("input"), training.experiment.model.word_vectors("input"))
    assert not torch.equal(model.word_vectors("input"), model.word_vectors("output"))
    with pytest.raises(UsageError, match="--embeddings sets whole word vectors: leave --spelling out"):
        start("both", spelling=3, embeddings=file)


def test_adaptive_softmax_trains_loads_and_generates(home: Path) -> None:
    training = start("mine", softmax="adaptive", tied=False, label_smoothing=0.0, embedding=3, hidden="16")
    training.train(lambda _: None, pytest.fail)
    trained = load(training.run.folder / "last.safetensors")
    metrics = TASK.evaluate.run(trained, TASK.evaluate.Options())
    assert metrics["loss"] == pytest.approx(training.trainer.progress.history[-1]["loss"], rel=1e-5)
    vocabulary = trained.payload["vocabulary"]
    write = TASK.uses["generate"]
    lines = write.run(trained, write.Options(lines=3, seed=1)).lines
    assert all(word in vocabulary for line in lines for word in line.split())
    assert of_model(trained, default_layer(trained)).matrix.shape == (len(vocabulary) - 3, 3)
    with pytest.raises(UsageError, match="use --layer input"):
        of_model(trained, "output")


def test_unsupported_settings_of_a_softmax_are_refused(home: Path) -> None:
    with pytest.raises(UsageError, match=r"add --no-tied --label-smoothing 0$"):
        start("mine", softmax="adaptive")
    with pytest.raises(UsageError, match=r"add --no-tied$"):
        start("mine", softmax="adaptive", label_smoothing=0.0)
    with pytest.raises(UsageError, match=r"--softmax sampled .* add --label-smoothing 0$"):
        start("mine", softmax="sampled")


OTHERS: dict[str, dict[str, Any]] = {
    "poetry-classify": {"corpus": ("hillside", "nocturne"), "folds": 0, "ensemble": 2, "features": ("words",)},
    "tag": {"corpus": ("hillside",), "batch_size": 64, "features": ("words",)},
    "translate": {"tokens": "word", "batch_size": 4},
}
"""Tasks other than language models."""


def other(task: str, name: str, tmp_path: Path, **flags: Any) -> Training:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("\n".join(f"the {word} Wall\tein {word} haus" for word in "abcdefghijklmno"), encoding="utf-8")
    own = {"corpus": (str(pairs),)} if task == "translate" else {}
    values = {**FLAGS, "backend": "reference", **OTHERS[task], **own, **flags}
    return Training.start(task, resolve(TASKS[task], values), name)


def embeddings_of(task: str, training: Training) -> tuple[list[torch.Tensor], dict[str, list[int]]]:
    """The word vectors of all nets, and the rows of "the" and of "wall" (which translate also has after a blank)."""
    model: Any = training.experiment.model
    payload = training.experiment.payload
    nets = getattr(model, "members", [model])
    weights = [(net.embedding if task == "translate" else net.reader.words).weight.detach().clone() for net in nets]
    words = payload["vocabulary"] if task == "translate" else ["", *payload["lexicon"]["words"]]
    return weights, {
        each: [n for n, word in enumerate(words) if word.strip().lower() == each] for each in ("the", "wall")
    }


@pytest.mark.parametrize("task", OTHERS)
def test_other_tasks_start_from_word_vectors(task: str, home: Path, tmp_path: Path, file: str) -> None:
    size = "embedding" if task == "translate" else "word_size"
    random, rows = embeddings_of(task, other(task, "random", tmp_path, **{size: 3}))
    training = other(task, "given", tmp_path, embeddings=file, freeze_embeddings=True)
    given, same_rows = embeddings_of(task, training)
    assert rows == same_rows
    assert rows["the"]
    assert rows["wall"]
    for before, after in zip(random, given, strict=True):
        for word, row in (("the", 1), ("wall", 2)):
            np.testing.assert_array_equal(after[rows[word]].numpy(), GIVEN.matrix[[row] * len(rows[word])])
        others = [row for row in range(len(before)) if row not in rows["the"] + rows["wall"]]
        assert torch.equal(after[others], before[others])
    known = sum(map(len, rows.values()))
    assert training.begun == f"vectors for {known} of {len(given[0]) - (task != 'translate')} words from {file}, frozen"
    training.train(lambda _: None, pytest.fail)
    Path(file).unlink()  # the run does not need it any more
    resumed = Training.resume(training.run, {"epochs": 2})
    resumed.train(lambda _: None, pytest.fail)
    assert all(torch.equal(one, two) for one, two in zip(given, embeddings_of(task, resumed)[0], strict=True))


@pytest.mark.parametrize(
    ("task", "flags", "refusal"),
    [
        ("poetry-classify", {"word_size": 5}, "--word-size 5: the vectors in .* are of size 3; leave --word-size out"),
        ("tag", {"features": ("chars",)}, "--embeddings sets the vectors of words: add words to --features"),
        ("translate", {"tokens": "char"}, "--embeddings sets the vectors of words, not of --tokens char: add --tokens"),
        ("tag", {"embeddings": None, "freeze_embeddings": True}, "--freeze-embeddings needs word vectors: add"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(
    home: Path, tmp_path: Path, file: str, task: str, flags: dict[str, Any], refusal: str
) -> None:
    with pytest.raises(UsageError, match=refusal):
        other(task, "none", tmp_path, **{"embeddings": file, **flags})
