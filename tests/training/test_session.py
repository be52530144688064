"""A session on disk: what it writes, that it continues exactly, and that disk errors do not end it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.experiments import make_trainer

from rnncli.errors import Interrupted, RnnError
from rnncli.records import json_line
from rnncli.training import checkpoint
from rnncli.training.experiment import BestPart
from rnncli.training.interrupts import Interrupts
from rnncli.training.loop import Restarted, Stepped, Validated, below
from rnncli.training.runs import Run
from rnncli.training.session import Session


def weights(run: Run, name: str = "last") -> dict[str, torch.Tensor]:
    return below("model", checkpoint.read(run.folder / f"{name}.safetensors").tensors)


def session(folder: Path, **settings: Any) -> Session:
    folder.mkdir(exist_ok=True)
    return Session(make_trainer(**settings), Run(folder), {"task": "toy"})


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a listener that sends a signal after `steps` steps."""
    taken = []

    def listen(event: object) -> None:
        if isinstance(event, Stepped):
            taken.append(event)
            if len(taken) == steps:
                monkeypatch.setattr(Interrupts, "received", 2)

    return listen


def test_interrupted_and_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = session(tmp_path / "whole")
    whole.train(lambda _: None, pytest.fail)
    with monkeypatch.context() as patched:
        part = session(tmp_path / "part")
        with pytest.raises(
            Interrupted, match=r"saved at step 9: `rnn train .* --resume --name part` continues"
        ) as stop:
            part.train(stop_after(9, patched), pytest.fail)
    assert stop.value.exit_code == 130
    again = session(tmp_path / "part")
    again.resume(checkpoint.read(again.run.folder / "last.safetensors"))
    again.train(lambda _: None, pytest.fail)
    for name in ("last", "best"):
        ours, theirs = weights(again.run, name), weights(whole.run, name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    records = [[json.loads(line) for line in each.run.metrics.read_text().splitlines()] for each in (again, whole)]
    for record in (*records[0], *records[1]):
        del record["seconds"]
    assert records[0] == records[1]


def ask_for_too_much(device: bool) -> None:
    """Fail as torch does without memory; for a device, which may be absent here, by its error class."""
    if device:
        raise torch.OutOfMemoryError("CUDA out of memory")
    torch.empty(1 << 50)


@pytest.mark.parametrize("device", [False, True])
def test_out_of_memory_saves_the_state_before_the_step(tmp_path: Path, device: bool) -> None:
    toy, before = session(tmp_path / "greedy"), dict[str, torch.Tensor]()
    loss = toy.trainer.loss

    def greedy(*given: Any) -> Any:
        if toy.trainer.progress.step == 7:
            before.update({name: value.clone() for name, value in toy.trainer.model.state_dict().items()})
            ask_for_too_much(device)
        return loss(*given)

    toy.trainer.loss = greedy
    with pytest.raises(
        RnnError, match=r"^memory ran out: saved at step 7: `.* --resume --name greedy` .* a smaller --"
    ):
        toy.train(lambda _: None, pytest.fail)
    saved = weights(toy.run)
    assert saved.keys() == before.keys()
    assert all(torch.equal(saved[name], before[name]) for name in before)


def test_save_without_memory_keeps_the_previous_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = session(tmp_path)
    toy.save()
    before = (tmp_path / "last.safetensors").read_bytes()
    toy.trainer.loss = lambda *_: ask_for_too_much(device=False)
    monkeypatch.setattr(toy.trainer, "snapshot", lambda: ask_for_too_much(device=False))
    with pytest.raises(RnnError, match="memory ran out: the last save remains"):
        toy.train(lambda _: None, pytest.fail)
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_half_finished_step_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = session(tmp_path)
    toy.save()
    before = weights(toy.run)

    def half() -> None:
        toy.trainer.trainable[0].data.zero_()
        ask_for_too_much(device=False)

    monkeypatch.setattr(toy.trainer.optimizer, "step", half)
    with pytest.raises(RnnError, match="memory ran out: the last save remains"):
        toy.train(lambda _: None, pytest.fail)
    after = weights(toy.run)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_best_model_at_the_last_step_records_how_the_run_ended(tmp_path: Path) -> None:
    toy = session(tmp_path, epochs=1)
    toy.train(lambda _: None, pytest.fail)
    assert checkpoint.read(tmp_path / "best.safetensors").header["progress"]["finished"] == "done"


def test_best_holds_the_model_without_the_state_of_training(tmp_path: Path) -> None:
    """The optimizer, the random state and the weights that are averaged are in `last` and `previous` only."""
    toy = session(tmp_path, average=0.9)
    toy.trainer.experiment = replace(toy.trainer.experiment, tensors={"numbers": torch.arange(3)})
    toy.train(lambda _: None, pytest.fail)
    best, last = (checkpoint.read(tmp_path / f"{name}.safetensors") for name in ("best", "last"))
    model = {f"model.{name}" for name in toy.trainer.model.state_dict()}
    assert best.tensors.keys() == model | {"task.numbers"}
    assert {name.partition(".")[0] for name in last.tensors} > {"model", "learned", "optimizer", "random"}
    assert (best.is_resumable, last.is_resumable) == (False, True)
    assert best.header.keys() == last.header.keys() | {"payload"}


def test_best_leaves_out_weights_that_only_measure(tmp_path: Path) -> None:
    toy = session(tmp_path)
    part = BestPart(lambda name: name.startswith("stack."), {"part": "stack"})
    toy.trainer.experiment, toy.identity = replace(toy.trainer.experiment, best_part=part), {"payload": {"corpus": "x"}}
    toy.train(lambda _: None, pytest.fail)
    names = list(toy.trainer.model.state_dict())
    assert weights(toy.run, "best").keys() == {name for name in names if name.startswith("stack.")} < set(names)
    assert weights(toy.run).keys() == set(names)
    assert checkpoint.read(tmp_path / "best.safetensors").header["payload"] == {"corpus": "x", "part": "stack"}
    assert checkpoint.read(tmp_path / "last.safetensors").header["payload"] == {"corpus": "x"}


def test_best_model_is_kept_when_its_weights_are_discarded(tmp_path: Path) -> None:
    toy = session(tmp_path, epochs=2)
    seen: list[dict[str, torch.Tensor]] = []

    def validate(model: torch.nn.Module) -> dict[str, float]:
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"loss": float(len(seen))}

    def reset() -> None:
        for parameter in toy.trainer.trainable:
            parameter.data.zero_()

    hopeful = replace(toy.trainer.experiment, validate=validate, hopeless=lambda _, steps: steps >= 7, reset=reset)
    toy.trainer.experiment = hopeful

    def save_after_restart(event: object) -> None:
        if isinstance(event, Restarted):
            toy.save()

    toy.train(save_after_restart, pytest.fail)
    best = weights(toy.run, "best")
    assert all(torch.equal(best[name], seen[0][name]) for name in seen[0])


def test_unsaved_best_model_is_not_replaced_by_a_later_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state kept for a later try is that of the best step, not of the step at which the disk has room again."""
    toy, seen = session(tmp_path, epochs=2), []
    save_best, failures = Run.save_best, iter([True])

    def validate(model: torch.nn.Module) -> dict[str, float]:
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"loss": float(len(seen))}

    def full_at_first(run: Run, data: bytes) -> None:
        if next(failures, False):
            raise RnnError("the disk is full")
        save_best(run, data)

    monkeypatch.setattr(Run, "save_best", full_at_first)
    toy.trainer.experiment = replace(toy.trainer.experiment, validate=validate)
    progress = toy.trainer.progress
    for event in toy.trainer.events():
        if isinstance(event, Validated):
            toy._note(event)
            if progress.step == 7:
                toy._save()  # fails, with the best state pending and the trainer still at its step
    toy.save()
    best = weights(toy.run, "best")
    assert progress.step == 14
    assert all(torch.equal(best[name], seen[0][name]) for name in seen[0])
    assert not all(torch.equal(best[name], seen[1][name]) for name in seen[1])


def test_metrics_after_the_checkpoint_are_discarded(tmp_path: Path) -> None:
    first = session(tmp_path, epochs=2)
    first.train(lambda _: None, pytest.fail)
    first.run.append_metrics([*first.trainer.progress.history, {"step": 10**6}])
    again = session(tmp_path, epochs=2)
    again.resume(checkpoint.read(tmp_path / "last.safetensors"))
    assert len(first.run.metrics.read_text().splitlines()) == 2
    assert len(first.run.table.read_text().splitlines()) == 3


def test_failed_intermediate_save_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy, warnings = session(tmp_path, save_every=0.0), []
    save, failures = Run.save, iter([True, True])

    def sometimes(run: Run, data: bytes) -> None:
        if next(failures, False):
            raise RnnError("cannot save: the disk is full")
        save(run, data)

    monkeypatch.setattr(Run, "save", sometimes)
    toy.train(lambda _: None, warnings.append)
    assert warnings == ["cannot save: the disk is full; training continues"]  # once, not at every attempt
    assert checkpoint.read(tmp_path / "last.safetensors").header["progress"]["finished"] == "done"


def test_metrics_cut_short_by_a_full_disk_are_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy, warnings = session(tmp_path, epochs=6), []
    append, full = Run.append_metrics, iter([False, True, True])

    def cut_short(run: Run, history: list[dict[str, Any]]) -> None:
        if next(full, False):
            with run.metrics.open("a") as file:
                file.write('{"step": 1')
            raise RnnError(f"cannot write {run.metrics}: no room")
        append(run, history)

    def save_now(event: object) -> None:
        if isinstance(event, Validated) and toy.trainer.progress.step == 28:
            toy.save()
            assert toy.run.metrics.read_text() == "".join(json_line(each) + "\n" for each in history)

    history = toy.trainer.progress.history
    monkeypatch.setattr(Run, "append_metrics", cut_short)
    toy.train(save_now, warnings.append)
    assert [json.loads(line) for line in toy.run.metrics.read_text().splitlines()] == history
    assert len(history) == 6
    assert warnings == [
        f"cannot write {toy.run.metrics}: no room; training continues, and a later save rewrites the file"
    ]


def test_unwritable_metrics_do_not_end_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy, warnings = session(tmp_path), []
    toy.run.metrics.mkdir()
    toy.train(lambda _: None, warnings.append)
    assert len(warnings) == 2  # for the missing line, and for the file that is not rewritten
    assert checkpoint.read(tmp_path / "last.safetensors").header["progress"]["finished"] == "done"


def test_diverged_model_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    toy = session(tmp_path)
    loss, calls = toy.trainer.loss, []

    def ill(*arguments: Any) -> Any:
        calls.append(True)
        outcome = loss(*arguments)
        return outcome._replace(loss_sum=outcome.loss_sum * float("nan")) if len(calls) > 10 else outcome

    toy.trainer.loss = ill
    with pytest.raises(RnnError, match=r"the loss is nan at batch 4 of epoch 2 \(step 11\)"):
        toy.train(lambda _: None, pytest.fail)
    found = checkpoint.read(tmp_path / "last.safetensors")
    assert found.header["progress"]["step"] == 10
    assert all(value.isfinite().all() for value in found.tensors.values())
    assert checkpoint.read(tmp_path / "best.safetensors").header["progress"]["step"] == 7
