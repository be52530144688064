"""A session on disk: what it writes, that it goes on exactly, and that trouble with the disk does not end it."""

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
    """A listener that has a signal come after so many steps."""
    taken = []

    def listen(event: object) -> None:
        if isinstance(event, Stepped):
            taken.append(event)
            if len(taken) == steps:
                monkeypatch.setattr(Interrupts, "received", 2)

    return listen


def test_an_interrupted_run_resumed_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = session(tmp_path / "whole")
    whole.train(lambda _: None, pytest.fail)
    with monkeypatch.context() as patched:
        part = session(tmp_path / "part")
        with pytest.raises(Interrupted, match=r"saved at step 9: `rnn train .* --resume --name part` goes on") as stop:
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
    """Fail as torch does for want of memory: for that of a device, which may not be here, by its name for it."""
    if device:
        raise torch.OutOfMemoryError("CUDA out of memory")
    torch.empty(1 << 50)


@pytest.mark.parametrize("device", [False, True])
def test_where_memory_runs_out_the_state_before_that_step_is_saved(tmp_path: Path, device: bool) -> None:
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


def test_a_save_that_finds_no_memory_either_leaves_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = session(tmp_path)
    toy.save()
    before = (tmp_path / "last.safetensors").read_bytes()
    toy.trainer.loss = lambda *_: ask_for_too_much(device=False)
    monkeypatch.setattr(toy.trainer, "snapshot", lambda: ask_for_too_much(device=False))
    with pytest.raises(RnnError, match="memory ran out: the run stands as it was saved last"):
        toy.train(lambda _: None, pytest.fail)
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_half_a_step_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = session(tmp_path)
    toy.save()
    before = weights(toy.run)

    def half() -> None:
        toy.trainer.trainable[0].data.zero_()
        ask_for_too_much(device=False)

    monkeypatch.setattr(toy.trainer.optimizer, "step", half)
    with pytest.raises(RnnError, match="memory ran out: the run stands as it was saved last"):
        toy.train(lambda _: None, pytest.fail)
    after = weights(toy.run)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_the_best_model_knows_how_the_run_ended_where_it_is_the_last(tmp_path: Path) -> None:
    toy = session(tmp_path, epochs=1)
    toy.train(lambda _: None, pytest.fail)
    assert checkpoint.read(tmp_path / "best.safetensors").header["progress"]["finished"] == "done"


def test_the_best_model_is_kept_when_its_weights_are_given_up(tmp_path: Path) -> None:
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


def test_a_best_model_that_could_not_be_saved_is_not_overtaken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for a later try is the state of the best step, not of the step at which the disk has room again."""
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


def test_metrics_beyond_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    first = session(tmp_path, epochs=2)
    first.train(lambda _: None, pytest.fail)
    first.run.append_metrics({"step": 10**6})
    again = session(tmp_path, epochs=2)
    again.resume(checkpoint.read(tmp_path / "last.safetensors"))
    assert len(first.run.metrics.read_text().splitlines()) == 2


def test_a_failed_save_on_the_way_is_told_and_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy, warnings = session(tmp_path, save_every=0.0), []
    save, failures = Run.save, iter([True, True])

    def sometimes(run: Run, data: bytes) -> None:
        if next(failures, False):
            raise RnnError("cannot save: the disk is full")
        save(run, data)

    monkeypatch.setattr(Run, "save", sometimes)
    toy.train(lambda _: None, warnings.append)
    assert warnings == ["cannot save: the disk is full; training goes on"]  # once, not at every try
    assert checkpoint.read(tmp_path / "last.safetensors").header["progress"]["finished"] == "done"


def test_metrics_cut_short_by_a_full_disk_are_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy, warnings = session(tmp_path, epochs=6), []
    append, full = Run.append_metrics, iter([False, True, True])

    def cut_short(run: Run, record: dict[str, Any]) -> None:
        if next(full, False):
            with run.metrics.open("a") as file:
                file.write('{"step": 1')
            raise RnnError(f"cannot write {run.metrics}: no room")
        append(run, record)

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
        f"cannot write {toy.run.metrics}: no room; training goes on, and a later save writes the file again"
    ]


def test_metrics_that_cannot_be_written_do_not_end_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy, warnings = session(tmp_path), []
    toy.run.metrics.mkdir()
    toy.train(lambda _: None, warnings.append)
    assert len(warnings) == 2  # the line that is not added, the file that is not written again
    assert checkpoint.read(tmp_path / "last.safetensors").header["progress"]["finished"] == "done"


def test_an_ill_model_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
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
