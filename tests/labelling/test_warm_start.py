"""--init-from: classifiers and taggers that start from a language model read its tokens, and compute its states."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rnncli.api import Training, load
from rnncli.data.labelled import TaggedSentences
from rnncli.errors import UsageError
from rnncli.labelling.inputs import TokenInputs, inputs_of
from rnncli.presets import resolve
from rnncli.tasks import TASKS, tag

pytestmark = pytest.mark.usefixtures("plain_loops")

LINES = {
    "ay": [f"the {name} sat on the {place}" for name in ("cat", "dog", "owl") for place in ("mat", "bed", "roof")],
    "be": [f"a {name} lay in my {place}!" for name in ("cat", "fox", "owl") for place in ("mat", "box", "barn")],
}
SMALL = {"cell": "lstm:diagonal", "hidden": "6,5", "embedding": 4, "epochs": 1}
LANGUAGE: dict[str, dict[str, Any]] = {
    "poetry-lm": {"min_count": 1, "batch_size": 4, "voices": False},
    "wiki-lm": {"batch_size": 4, "spelling": 3, "unit_vectors": "row", "block": "residual"},
    "char-lm": {"bptt": 8, "batch_size": 2},
}
LABEL = {"poetry-classify": {"folds": 0, "ensemble": 2, "batch_size": 6}, "tag": {"batch_size": 3}}
FLAGS = {"epochs": 1, "seed": 4}


@pytest.fixture
def files(home: Path, tmp_path: Path) -> dict[str, str]:
    """Lines of two voices, in a file each and in one, and with the length of each word as its label."""
    for name, lines in {**LINES, "all": [*LINES["ay"], *LINES["be"]] * 2}.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    sentences = ["\n".join(f"{word}\tL{len(word)}" for word in line.split()) for line in LINES["ay"]]
    (tmp_path / "mine.conll").write_text("\n\n".join(sentences), encoding="utf-8")
    return {name: str(tmp_path / name) for name in ("ay.txt", "be.txt", "all.txt", "mine.conll")}


def language(files: dict[str, str], task: str, **flags: Any) -> Any:
    """A language model with random weights of usual sizes, saved as run `lm`."""
    settings = resolve(TASKS[task], {**SMALL, **LANGUAGE[task], "corpus": (files["all.txt"],), **flags})
    training = Training.start(task, settings, "lm")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for each in training.experiment.model.parameters():
            each.copy_(torch.randn(each.shape, generator=generator) / 2)
    training.session.save()
    return load(training.run.folder / "last.safetensors")


def start(task: str, files: dict[str, str], name: str = "mine", preset: str | None = None, **flags: Any) -> Training:
    corpus = (files["mine.conll"],) if task == "tag" else (files["ay.txt"], files["be.txt"])
    values = {**FLAGS, **LABEL[task], "corpus": corpus, "init_from": "lm", **flags}
    return Training.start(task, resolve(TASKS[task], values, preset), name)


@pytest.mark.parametrize("source", LANGUAGE)
def test_encoder_computes_the_states_of_the_language_model(source: str, files: dict[str, str]) -> None:
    lm = language(files, source)
    training = start("poetry-classify", files)
    text = "the cat lay in my barn"
    inputs = inputs_of(training.config, training.experiment.payload)
    assert isinstance(inputs, TokenInputs)
    features = inputs.encode(inputs.split_all([text]))
    ids = torch.tensor([lm.codec.opening, *lm.codec.encode(text).tolist()])[:, None]
    assert features.words.tolist() == ids[:, 0].tolist()
    assert (training.config.cell, training.config.sizes, training.config.block) == (
        lm.config.cell,
        (6, 5),
        lm.config.block,
    )
    members: Any = training.experiment.model.eval().members
    assert len(members) == 2
    for net in members:
        h, states = net.stack(net.reader(features.tokens(torch.tensor([0]))))
        theirs, their_states = lm.model.outputs(ids)
        torch.testing.assert_close(h, theirs)
        torch.testing.assert_close([*map(tuple, states)], [*map(tuple, their_states)])
    assert not torch.equal(members[0].output.weight, members[1].output.weight)


def test_words_that_the_language_model_lacks_are_reported_and_unknown(files: dict[str, str]) -> None:
    lm = language(files, "poetry-lm", corpus=(files["ay.txt"],))
    known = len(lm.payload["vocabulary"])
    training = start("poetry-classify", files)
    assert training.begun == (
        f"starts from {lm.source}: {known} known tokens, 8 new ones, read as UNKNOWN: '!', 'a', 'barn', 'box', 'fox', …"
    )
    assert training.experiment.payload["vocabulary"] == lm.payload["vocabulary"]
    assert "the folds are fair only if it has not read" in start("poetry-classify", files, "two", folds=3).begun
    assert start("tag", files).begun.endswith(f"{known} known tokens, no new ones")


@pytest.mark.parametrize("source", ["poetry-lm", "char-lm"])
def test_a_tagger_labels_a_word_at_its_last_token(source: str, files: dict[str, str]) -> None:
    lm = language(files, source)
    training = start("tag", files)
    model: Any = training.experiment.model.eval()
    words = ["the", "owl", "§", "sat"]
    text = "the owl sat" if source == "poetry-lm" else "the owl § sat"
    data = TaggedSentences("", [words], [["L3"] * len(words)])
    features = tag._encode(training.config, training.experiment.payload, data)
    ids = features.words.tolist()
    scores = tag.score(model, features)
    ends = [1, 2, 3, 4] if source == "poetry-lm" else [3, 7, 9, 13]
    if source == "char-lm":  # every letter and blank is a step
        assert ids == [lm.codec.opening, *lm.codec.encode(text).tolist()]
    else:
        assert ids == [lm.codec.opening, *lm.codec.vocabulary.encode(words)]
        assert ids[3] == 2  # UNKNOWN
    h, _ = lm.model.outputs(torch.tensor(ids)[:, None])
    wanted = model.output(h[ends, 0]).log_softmax(-1)
    torch.testing.assert_close(scores, wanted)
    answers = tag._answers(training.experiment.payload["classes"], data)
    targets = tag._targets(features, answers)
    assert targets[ends].tolist() == answers.tolist()
    assert (targets == -100).sum() == len(ids) - len(words)


@pytest.mark.parametrize("task", LABEL)
def test_fine_tuned_run_resumes_bit_for_bit_without_the_language_model(task: str, files: dict[str, str]) -> None:
    lm = language(files, "poetry-lm")
    runs = []
    for name, epochs in (("whole", 4), ("part", 2)):
        training = start(task, files, name, "ulmfit", epochs=epochs, schedule="constant")
        training.train(lambda _: None, pytest.fail)
        runs.append(training)
    whole, part = runs
    for file in lm.source.parent.iterdir():
        file.unlink()
    resumed = Training.resume(part.run, {"epochs": 4})
    resumed.train(lambda _: None, pytest.fail)
    assert resumed.trainer.progress.step == whole.trainer.progress.step
    ours, theirs = (dict(each.trainer.snapshot()[1]) for each in (resumed, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items() if name.startswith(("model", "opt")))
    assert {group["lr_factor"] for group in whole.trainer.optimizer.param_groups} == {2.6**-depth for depth in range(4)}


def test_fine_tuned_models_serve_their_verbs(files: dict[str, str], rnn: Any) -> None:
    language(files, "poetry-lm")
    for task in LABEL:
        start(task, files, preset="ulmfit").train(lambda _: None, pytest.fail)
    ran = rnn('classify --json "the cat, the zebra"')
    assert ran.code == 0, ran.err
    assert '"word": "zebra"' in ran.out
    assert rnn('classify "…" --json').code == 0  # no token at all
    ran = rnn('tag "the zebra sat"')
    assert [line.split("\t")[0] for line in ran.out.splitlines()] == ["the", "zebra", "sat"]
    for command in (
        "evaluate poetry-classify",
        f"evaluate tag --corpus {files['mine.conll']}",
        f"activations poetry-classify/mine --text 'the cat sat' --states {files['mine.conll']}.npz",
        f"activations tag/mine --text 'the cat sat' --states {files['mine.conll']}.2.npz",
        "inspect tag/mine",
    ):
        ran = rnn(command)
        assert ran.code == 0, ran.err


@pytest.mark.parametrize(
    ("flags", "refusal"),
    [
        ({"cell": "gru"}, "--cell is lstm:diagonal in .*, not gru: leave --cell out, or --init-from"),
        ({"hidden": "7"}, "--hidden is 6,5 in .*, not 7"),
        ({"bidirectional": True}, "--bidirectional is False in .*, not True"),
        ({"features": ("words", "chars")}, "--features is tokens in .*, not words, chars"),
        ({"word_size": 9}, "--word-size is 4 in .*, not 9"),
        ({"init": "book"}, "--init-from and --init both set the initial weights"),
        ({"embeddings": "vectors.txt"}, "--init-from and --embeddings both set the initial word vectors"),
        ({"init_from": "absent"}, "there is no run 'absent'"),
        ({"init_from": "other"}, "is a model of parity: --init-from takes a language model"),
    ],
)
def test_what_does_not_fit_is_refused(files: dict[str, str], flags: dict[str, Any], refusal: str) -> None:
    language(files, "poetry-lm")
    Training.start("parity", resolve(TASKS["parity"], {}), "other")
    for task in LABEL:
        with pytest.raises(UsageError, match=refusal):
            start(task, files, **flags)


def test_what_needs_a_language_model_is_refused_without_one(files: dict[str, str]) -> None:
    for task in LABEL:
        with pytest.raises(UsageError, match="--features tokens reads the tokens of a language model: add --init-from"):
            start(task, files, init_from=None, features=("tokens",))
        with pytest.raises(UsageError, match="freezes layers that nothing has trained: add --init-from, or --unf"):
            start(task, files, preset="ulmfit", init_from=None)


def test_model_that_was_read_for_a_classifier_is_of_another_task(files: dict[str, str]) -> None:
    """The file is read once, and its task is compared each time."""
    file = str(language(files, "poetry-lm").source)
    corpora = files["ay.txt"], files["be.txt"]
    resolve(TASKS["poetry-classify"], {**LABEL["poetry-classify"], "corpus": corpora, "init_from": file})
    with pytest.raises(UsageError, match="is a model of poetry-lm, not of char-lm"):
        resolve(TASKS["char-lm"], {"corpus": corpora, "init_from": file})
