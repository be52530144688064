"""Run folders: naming, finding, locking, falling back from a damaged file, deleting."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rnncli.errors import RnnError, RnnWarning, UsageError
from rnncli.files import write_file
from rnncli.training.checkpoint import CheckpointError, to_bytes
from rnncli.training.runs import (
    Run,
    all_runs,
    delete_run,
    find_run,
    new_run,
    newest_unfinished,
    prune_run,
    read_for_resume,
    read_model,
    run_of,
)

pytestmark = pytest.mark.no_backend


def make_run(home: Path, task: str, name: str, finished: str = "done", best: bool = True) -> Run:
    run = Run(home / "checkpoints" / task / name)
    for number in range(2):
        header = {"task": task, "number": number, "monitor": "loss", "progress": progress(finished)}
        run.save(to_bytes(header, {"w": torch.zeros(2), "random.torch": torch.zeros(1)}))
    if best:
        run.save_best(
            to_bytes(
                {"task": task, "number": "best", "monitor": "loss", "progress": progress("")}, {"w": torch.ones(2)}
            )
        )
    return run


def progress(finished: str) -> dict:
    return {"finished": finished, "step": 3, "best_step": 3, "history": [{"step": 3, "loss": 0.5}]}


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def test_default_names_hold_time_and_cell_and_never_collide(home: Path) -> None:
    runs = [new_run("toy", "lstm:none", None) for _ in range(5)]
    assert len({run.name for run in runs}) == 5
    assert all("-lstm-none" in run.name and run.folder.is_dir() for run in runs)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", "x" * 201, "é" * 101, " "])
def test_impossible_folder_names_are_refused(name: str, home: Path) -> None:
    with pytest.raises(UsageError, match="cannot be a folder's name"):
        new_run("toy", "elman", name)


def test_finding_a_run_does_not_read_the_others(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a shared file system every look is a network call; only `rnn runs` looks at all runs."""
    for number in range(20):
        make_run(home, "toy", f"run-{number}", best=False)
    seen: list[str] = []
    for name in ("stat", "scandir", "listdir", "open"):
        monkeypatch.setattr(os, name, noting(getattr(os, name), seen))
    assert read_model("run-7", None)[0].header["task"] == "toy"
    assert seen
    assert not [path for path in seen if "run-" in path and "run-7" not in path]
    assert len([path for path in seen if path.startswith(str(home))]) < 12


def noting(action: Callable[..., Any], seen: list[str]) -> Callable[..., Any]:
    def noted(path: Any, *rest: Any, **options: Any) -> Any:
        seen.append(str(path))
        return action(path, *rest, **options)

    return noted


def test_taken_name_is_refused(home: Path) -> None:
    make_run(home, "toy", "mine")
    with pytest.raises(UsageError, match="run 'mine' of toy is already there: take another --name, or --resume --name"):
        new_run("toy", "elman", "mine")


def test_runs_are_found_by_name_and_by_task(home: Path) -> None:
    make_run(home, "toy", "one")
    make_run(home, "other", "one")
    assert {run.task for run in all_runs()} == {"toy", "other"}
    assert find_run("one", "toy").task == "toy"
    assert find_run("other/one").task == "other"
    with pytest.raises(UsageError, match=r"names runs of .* and .*: write TASK/one"):
        find_run("one")
    with pytest.raises(UsageError, match=r"there is no run 'two' in .*checkpoints: `rnn runs` lists them"):
        find_run("two")


def test_other_files_of_a_run_do_not_make_it_the_newest(home: Path) -> None:
    old, new = make_run(home, "toy", "old"), make_run(home, "toy", "new")
    for run, when in ((old, 1000), (new, 2000)):
        for file in run.folder.iterdir():
            os.utime(file, (when, when))
    (old.folder / "report.html").write_text("a page")
    prune_run(old)
    assert all_runs() == [new, old]


def test_verbs_take_no_unvalidated_run_while_there_is_another(home: Path) -> None:
    """A second terminal once scored with the weights of a run that had just started."""
    make_run(home, "toy", "validated")
    begun = make_run(home, "toy", "begun", best=False)
    for file in begun.folder.iterdir():
        os.utime(file, (1 << 33, 1 << 33))
    assert all_runs()[0] == begun
    assert read_model(None, "toy")[1].parent.name == "validated"


def test_newest_unfinished_run_is_resumed(home: Path) -> None:
    with pytest.raises(UsageError, match=r"no run of toy in .* is unfinished: `rnn train toy` starts a new one"):
        newest_unfinished("toy")
    make_run(home, "toy", "stopped", finished="")
    make_run(home, "toy", "whole")
    assert newest_unfinished("toy").name == "stopped"


def test_damaged_last_is_reported_and_previous_used(home: Path) -> None:
    run = make_run(home, "toy", "mine", best=False)
    assert read_for_resume(run)[0].header["number"] == 1
    damage(run.folder / "last.safetensors")
    with pytest.warns(RnnWarning, match=r"last\.safetensors is damaged.*: using previous\.safetensors$") as told:
        assert read_for_resume(run)[0].header["number"] == 0
    assert told[0].filename == __file__  # the caller's line, not one inside the package
    damage(run.folder / "previous.safetensors")
    ends = r"SHA-256 \(previous.safetensors too\); no other checkpoint is there: restore a copy, or train again$"
    with pytest.raises(CheckpointError, match=ends):
        read_for_resume(run)


def test_a_sound_best_is_named_and_a_damaged_one_is_not(home: Path) -> None:
    run = make_run(home, "toy", "mine")
    for name in ("last", "previous"):
        damage(run.folder / f"{name}.safetensors")
    with pytest.raises(CheckpointError, match=r"best\.safetensors is still there"):
        read_for_resume(run)
    damage(run.folder / "best.safetensors")
    with pytest.raises(CheckpointError, match=r"\(previous.safetensors and best.safetensors too\); no other"):
        read_for_resume(run)


@pytest.mark.posix("links to nothing")
def test_a_best_that_cannot_be_read_is_reported(home: Path) -> None:
    best = make_run(home, "toy", "mine").folder / "best.safetensors"
    best.unlink()
    best.symlink_to("nowhere")
    with pytest.warns(RnnWarning, match=r"best\.safetensors is not there: .*: using last\.safetensors$"):
        read_model("mine", None)


def test_model_is_found_by_file_folder_name_or_as_the_newest(home: Path) -> None:
    run = make_run(home, "toy", "mine")
    for source in (None, "mine", "toy/mine", str(run.folder), str(run.folder / "best.safetensors")):
        assert read_model(source, "toy")[0].header["number"] == "best"
    assert read_model(str(run.folder / "previous.safetensors"), "toy")[0].header["number"] == 0
    with pytest.raises(UsageError, match=r"there is no model of parity in .* yet: run `rnn train parity` first"):
        read_model(None, "parity")
    with pytest.raises(UsageError, match=r"best\.safetensors is a model of toy, not of parity"):
        read_model(str(run.folder / "best.safetensors"), "parity")


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current directory, which holds files and folders other than runs."""
    (home / "here").mkdir()
    monkeypatch.chdir(home / "here")
    return home / "here"


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
@pytest.mark.parametrize("name", ["mine", "toy/mine"])
def test_run_wins_over_a_file_of_its_name(name: str, kind: str, home: Path, here: Path) -> None:
    run = make_run(home, "toy", "mine")
    (here / name).parent.mkdir(exist_ok=True)
    if kind == "folder":
        (here / name).mkdir()
    elif kind == "file":
        (here / name).write_bytes(b"no checkpoint")
    else:
        (here / name).symlink_to("nowhere")
    kind = "folder" if kind == "folder" else "file"
    said = f"^'{name}' is a run, which is used, and a {kind} here: ./{name} means the {kind}$"
    for task in (None, "toy"):
        with pytest.warns(RnnWarning, match=said):
            assert read_model(name, task)[1] == run.folder / "best.safetensors"
    with pytest.warns(RnnWarning, match=said):
        assert run_of(name) == run
    with pytest.raises(CheckpointError, match=r"mine (holds no checkpoint|is not a checkpoint|is not there)"):
        read_model(f"./{name}", "toy")


def test_path_is_never_a_run(home: Path, here: Path) -> None:
    run = make_run(home, "toy", "mine")
    for source in ("./mine", "../mine", "./toy/mine", "x/toy/mine", f"{here}/mine"):
        with pytest.raises(UsageError, match=r"there is no .*mine: name a run, its folder or a checkpoint file"):
            read_model(source, None)
    for source in ("../checkpoints/toy/mine", str(run.folder), "../checkpoints/toy/mine/best.safetensors"):
        assert read_model(source, "toy")[0].header["number"] == "best"


def test_path_without_a_run_of_its_name_is_used(home: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(home, "toy", "mine")
    make_run(home, "other", "copy")
    (here / "copy").symlink_to(run.folder)
    for source in ("copy", "copy/best.safetensors", "./copy"):
        found, file = read_model(source, "toy")
        assert (found.header["number"], file) == ("best", Path("copy/best.safetensors"))
    monkeypatch.chdir(home / "checkpoints")
    assert read_model("toy/mine", None)[1].parent.samefile(run.folder)  # both are the same folder: no warning


def test_only_one_process_holds_a_run(home: Path) -> None:
    run = make_run(home, "toy", "mine")
    program = (
        "import sys, pathlib; from rnncli.training.runs import Run; from rnncli.errors import RnnError\n"
        "try:\n    Run(pathlib.Path(sys.argv[1])).locked().__enter__()\nexcept RnnError as error:\n    print(error)"
    )
    with run.locked():
        other = subprocess.run([sys.executable, "-c", program, run.folder], capture_output=True, text=True, check=True)
    assert other.stdout.startswith("run mine is being trained by another process")
    free = subprocess.run([sys.executable, "-c", program, run.folder], capture_output=True, text=True, check=True)
    assert free.stdout == ""


def test_run_in_training_is_not_resumed(home: Path) -> None:
    run = make_run(home, "toy", "busy", finished="")
    with run.locked():
        assert run.is_trained
        with pytest.raises(UsageError, match=r"no run of toy in .* is unfinished"):
            newest_unfinished("toy")
    assert newest_unfinished("toy") == run


def test_damaged_header_hides_no_other_run(home: Path) -> None:
    good, bad = make_run(home, "toy", "good", finished=""), make_run(home, "toy", "bad", finished="", best=False)
    for file in bad.folder.glob("*.safetensors"):
        file.write_bytes(file.read_bytes().replace(b"progress", b"prowress"))
    assert bad.summary is None
    assert good.summary == ("", "loss", 0.5, 3, "")
    assert newest_unfinished("toy") == good


def test_names_never_leave_the_folder(home: Path) -> None:
    outside = home / "elsewhere" / "mine"
    outside.mkdir(parents=True)
    (outside / "model.safetensors").write_bytes(b"not ours")
    (home / "checkpoints").mkdir()
    for name in ("../elsewhere/mine", str(outside), "*/mine"):
        with pytest.raises(UsageError, match="there is no run"):
            find_run(name)


def test_no_temporary_file_remains_where_two_names_are_one_file(home: Path) -> None:
    """A process killed between the two renames leaves `last` and `previous` as one file; a later save left a tmp."""
    run = make_run(home, "toy", "mine", best=False)
    (run.folder / "previous.safetensors").unlink()
    (run.folder / "previous.safetensors").hardlink_to(run.folder / "last.safetensors")
    run.save(to_bytes({"task": "toy"}, {"w": torch.zeros(1)}))
    assert not list(run.folder.glob("*.tmp"))


def test_files_of_a_killed_process_are_removed(home: Path) -> None:
    run = make_run(home, "toy", "mine")
    (run.folder / "last.safetensors.tmp").write_bytes(b"half")
    with run.locked():
        assert not list(run.folder.glob("*.tmp"))


def test_deleting_removes_the_folder(home: Path) -> None:
    run = make_run(home, "toy", "mine", finished="")
    (home / "checkpoints/toy/.mine.lock").touch()  # left by a killed process
    assert (all_runs(), run.is_trained, newest_unfinished("toy")) == ([run], False, run)
    delete_run(run)
    assert not (home / "checkpoints/toy").exists()


def test_folder_named_tmp_stays_until_the_run_is_deleted(home: Path) -> None:
    run = make_run(home, "toy", "mine")
    (run.folder / "x.tmp").mkdir()
    with run.locked():
        assert (run.folder / "x.tmp").is_dir()
    delete_run(run)
    assert not run.folder.exists()


def test_deleting_a_linked_run_removes_only_the_link(home: Path) -> None:
    target = make_run(home / "elsewhere", "toy", "real").folder
    (target / "notes.tmp").write_text("keep me")
    before = sorted(target.iterdir())
    (home / "checkpoints" / "toy").mkdir(parents=True)
    (home / "checkpoints" / "toy" / "link").symlink_to(target)
    delete_run(find_run("link"))
    assert all_runs() == []
    assert sorted(target.iterdir()) == before


def test_file_in_place_of_the_runs_folder_is_refused_in_one_line(home: Path) -> None:
    """Making the folder was once retried forever."""
    (home / "checkpoints").mkdir()
    (home / "checkpoints" / "toy").write_text("a file")
    with pytest.raises(RnnError, match="cannot make a folder for the run"):
        new_run("toy", "elman", None)


def test_prune_removes_previous_only(home: Path) -> None:
    run = make_run(home, "toy", "mine")
    size = (run.folder / "previous.safetensors").stat().st_size
    assert (prune_run(run), prune_run(run)) == (size, 0)
    assert {file.name for file in run.folder.iterdir()} == {"last.safetensors", "best.safetensors"}


@pytest.mark.parametrize("last", ["damaged", "missing", "a copy of best"])
def test_prune_keeps_previous_where_last_is_of_no_use(home: Path, last: str) -> None:
    run = make_run(home, "toy", "mine")
    file = run.folder / "last.safetensors"
    if last == "damaged":
        damage(file)
    elif last == "missing":
        file.unlink()
    else:
        file.write_bytes((run.folder / "best.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"last\.safetensors (is damaged|is not there|holds only a model)"):
        prune_run(run)
    assert (run.folder / "previous.safetensors").exists()


def test_run_in_training_is_not_pruned(home: Path) -> None:
    run = make_run(home, "toy", "mine")
    with run.locked(), pytest.raises(RnnError, match="is being trained by another process"):
        prune_run(run)
    assert (run.folder / "previous.safetensors").exists()


def test_a_model_without_the_state_of_training_is_not_resumed(home: Path) -> None:
    run = make_run(home, "toy", "mine")
    (run.folder / "last.safetensors").write_bytes((run.folder / "best.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"last\.safetensors holds only a model, as best\.safetensors does"):
        read_for_resume(run)


def test_metrics_are_json_lines_without_nan(home: Path) -> None:
    run = make_run(home, "toy", "mine")
    history: list[dict[str, Any]] = [{"loss": float("inf")}]
    run.write_metrics(history)
    history.append({"loss": 1.5})
    run.append_metrics(history)
    assert run.metrics.read_text() == '{"loss": null}\n{"loss": 1.5}\n'


def test_metrics_are_also_a_table_with_the_same_columns_in_every_row(home: Path) -> None:
    run, history = make_run(home, "toy", "mine"), [{"step": 1, "loss": 0.1, "bits": float("nan"), "a, b": None}]
    run.append_metrics(history)  # the first validation
    history.append({"step": 2, "loss": 1e-9, "a, b": 7})
    run.append_metrics(history)
    assert run.table.read_bytes() == b'step,loss,bits,"a, b"\n1,0.1,,\n2,1e-09,,7\n'
    history.append({"step": 3, "loss": 2.5, "rank": 4})
    run.append_metrics(history)  # a new column is the last one
    assert [[*row.values()] for row in read_table(run)] == [
        ["1", "0.1", "", "", ""],
        ["2", "1e-09", "", "7", ""],
        ["3", "2.5", "", "", "4"],
    ]
    run.table.unlink()  # as in a run of an earlier version
    history.append({"step": 4, "loss": 2.25})
    run.append_metrics(history)
    assert [row["step"] for row in read_table(run)] == ["1", "2", "3", "4"]
    assert [float(row["loss"]) for row in read_table(run)] == [record["loss"] for record in history]
    run.write_metrics([])
    assert run.table.read_text() == ""


def read_table(run: Run) -> list[dict[str, str]]:
    with run.table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_unwritable_folder_is_refused_in_one_line(home: Path) -> None:
    (home / "checkpoints").write_text("a file stands here")
    with pytest.raises(RnnError, match=r"cannot save .*; what was saved before is untouched"):
        write_file(home / "checkpoints/toy/mine/last.safetensors", b"")
