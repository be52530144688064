"""--init-from: another model's weights, shape and vocabulary, for every language-model task."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rnncli import warm_start
from rnncli.api import Training, load
from rnncli.errors import RnnError, UsageError
from rnncli.presets import resolve
from rnncli.tasks import TASKS
from rnncli.training import checkpoint

LINES = [
    f"the {name} {verb} on the {place}"
    for name in ("cat", "dog", "owl")
    for verb in ("sat", "lay")
    for place in ("mat", "bed", "roof", "wall")
]
TASK_FLAGS = {
    "char-lm": {"bptt": 8, "batch_size": 2},
    "poetry-lm": {"min_count": 1, "batch_size": 4},
    "wiki-lm": {"batch_size": 4},
}
SMALL = {"hidden": "6,5", "embedding": 4, "cell": "lstm:diagonal", "epochs": 2}


@pytest.fixture
def text(tmp_path: Path, home: Path) -> Path:
    return write(tmp_path / "mine.txt", LINES)


def write(file: Path, lines: list[str]) -> Path:
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def train(task: str, text: Path, name: str, **flags: Any) -> Training:
    training = Training.start(task, resolve(TASKS[task], {**TASK_FLAGS[task], "corpus": (str(text),), **flags}), name)
    training.train(lambda _: None, pytest.fail)
    return training


def started(task: str, text: Path, name: str, **flags: Any) -> Training:
    return Training.start(task, resolve(TASKS[task], {**TASK_FLAGS[task], "corpus": (str(text),), **flags}), name)


def validated(training: Training) -> float:
    training.experiment.model.eval()
    with torch.no_grad():
        return training.experiment.validate(training.experiment.model)["loss"]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("task", TASK_FLAGS)
def test_loss_on_the_same_text_is_unchanged(task: str, text: Path, tied: bool) -> None:
    first = train(task, text, "first", tied=tied, **SMALL)
    again = started(task, text, "again", init_from="first")
    assert (again.config.cell, again.config.sizes, again.config.embedding) == ("lstm:diagonal", (6, 5), 4)
    assert "known tokens, no new ones" in again.begun
    trained = load(first.run.folder / "best.safetensors")
    evaluate = TASKS[task].evaluate
    assert validated(again) == pytest.approx(evaluate.run(trained, evaluate.Options())["loss"], rel=1e-5)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("task", TASK_FLAGS)
def test_new_tokens_leave_the_scores_of_known_ones_unchanged(task: str, text: Path, tied: bool) -> None:
    first = train(task, text, "first", tied=tied, **SMALL)
    more = write(text.with_name("more.txt"), [f"{line} zwölf vögel" for line in LINES])
    again = started(task, more, "again", init_from=str(first.run.folder))
    old, new = (each.experiment.payload["vocabulary"] for each in (first, again))
    assert new[: len(old)] == old
    assert len(new) > len(old)
    assert f"{len(old)} known tokens, {len(new) - len(old)} new (initialized to their mean): " in again.begun
    models = first.experiment.model.eval(), again.experiment.model.eval()
    tokens = torch.randint(3, len(old), (7, 2), generator=torch.Generator().manual_seed(0))
    best = load(first.run.folder / "best.safetensors").model
    with torch.no_grad():
        theirs, ours = best(tokens)[0], models[1](tokens)[0]
    torch.testing.assert_close(ours[..., : len(old)], theirs)
    torch.testing.assert_close(ours[..., len(old) :], theirs.mean(-1, keepdim=True).expand(-1, -1, len(new) - len(old)))
    again.train(lambda _: None, pytest.fail)


def test_resumed_run_does_not_need_the_model_it_started_from(text: Path) -> None:
    first = train("char-lm", text, "first", **SMALL)
    more = write(text.with_name("more.txt"), [f"{line} zwölf" for line in LINES])
    again = train("char-lm", more, "again", init_from="first", epochs=1)
    for file in first.run.folder.iterdir():
        file.unlink()
    resumed = Training.resume(again.run, {"epochs": 2})
    resumed.train(lambda _: None, pytest.fail)
    assert resumed.trainer.progress.step == 2 * again.trainer.progress.step
    assert resumed.config.init_from == again.config.init_from
    evaluate = TASKS["char-lm"].evaluate
    assert evaluate.run(load(again.run.folder / "last.safetensors"), evaluate.Options())["loss"] > 0


def test_fixed_vocabulary_does_not_grow(text: Path) -> None:
    train("wiki-lm", text, "first", spelling=3, epochs=1)
    more = write(text.with_name("more.txt"), [f"{line} birds" for line in LINES])
    again = started("wiki-lm", more, "again", init_from="first")
    assert "birds" not in again.experiment.payload["vocabulary"]
    assert again.begun.endswith("known tokens; its vocabulary cannot grow, so new tokens are UNKNOWN")


@pytest.mark.parametrize(
    ("flags", "refusal"),
    [
        ({"cell": "gru"}, "--cell is lstm:diagonal in .*, not gru: leave --cell out, or --init-from"),
        ({"hidden": "7"}, "--hidden is 6,5 in .*, not 7"),
        ({"tokens": "bytes"}, "--tokens is char in .*, not bytes"),
        ({"init_from": "absent"}, "there is no run 'absent'"),
    ],
)
def test_another_shape_is_refused(text: Path, flags: dict[str, Any], refusal: str) -> None:
    train("char-lm", text, "first", **{**SMALL, "epochs": 1})
    with pytest.raises(UsageError, match=refusal):
        started("char-lm", text, "again", **{"init_from": "first", **flags})


def test_a_model_of_another_task_is_refused(text: Path, home: Path) -> None:
    parity = Training.start("parity", resolve(TASKS["parity"], {"epochs": 1}), "odd")
    parity.train(lambda _: None, pytest.fail)
    with pytest.raises(UsageError, match="'odd' is a run of parity, not of wiki-lm"):
        started("wiki-lm", text, "again", init_from="odd")
    file = str(parity.run.folder / "last.safetensors")
    with pytest.raises(UsageError, match="is a model of parity, not of wiki-lm"):
        started("wiki-lm", text, "again", init_from=file)
    (home / "junk").write_bytes(b"junk")
    with pytest.raises(RnnError, match="junk is not a checkpoint"):
        started("wiki-lm", text, "again", init_from=str(home / "junk"))


def test_other_voices_are_refused(text: Path) -> None:
    more = write(text.with_name("more.txt"), LINES)
    train("poetry-lm", text, "first", corpus=(str(text), str(more)), **{**SMALL, "epochs": 1})
    with pytest.raises(UsageError, match="has other voices: train with the corpora mine, more"):
        started("poetry-lm", text, "again", init_from="first")
    assert started("poetry-lm", text, "both", corpus=(str(text), str(more)), init_from="first").begun


@pytest.mark.parametrize("task", ["char-lm", "poetry-lm"])
def test_voices_in_another_order_are_the_same_voices(task: str, text: Path) -> None:
    more = write(text.with_name("more.txt"), LINES[::-1])
    first = train(task, text, "first", corpus=(str(text), str(more)), **{**SMALL, "epochs": 1})
    again = started(task, text, "again", corpus=(str(more), str(text)), init_from="first")
    assert again.experiment.payload["labels"] == first.experiment.payload["labels"] == ["mine", "more"]


def test_model_to_start_from_is_read_once(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train("poetry-lm", text, "first", **SMALL)
    reads = list[Path]()
    read = checkpoint.read

    def counted(path: Path) -> checkpoint.Checkpoint:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(checkpoint, "read", counted)
    again = started("poetry-lm", text, "again", init_from="first")
    assert reads == [first.run.folder / "best.safetensors"]
    assert "no new ones" in again.begun
    assert not warm_start._last_read  # the weights are not kept in memory during training
    again.train(lambda _: None, pytest.fail)
    Training.resume(again.run, {"epochs": 3})
    assert not warm_start._last_read
