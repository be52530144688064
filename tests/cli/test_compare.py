"""`rnn compare` as a user runs it: its table against the runs' records, interrupted and continued, and matched."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncli.analysis.comparisons import smallest_size
from rnncli.cells import CELLS
from rnncli.cells.elman import Elman
from rnncli.errors import UsageError
from rnncli.models.stack import StackShape
from rnncli.models.tagger import Tagger
from rnncli.training import checkpoint, progress
from rnncli.training.interrupts import Interrupts
from rnncli.training.loop import NotFinite, Stepped
from rnncli.training.runs import Run, all_runs, find_run

TINY = "compare parity --bits 4 --batch-size 512 --epochs 3 --validate-every 6 --patience-steps 0 --seeds 2"
BITS, BATCH = 4, 512


def records(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def header(name: str) -> dict[str, Any]:
    return checkpoint.read(find_run(name).folder / "last.safetensors").header


def written(name: str) -> dict[str, int]:
    """The time of the last write to each file of a run."""
    return {file.name: file.stat().st_mtime_ns for file in find_run(name).folder.iterdir()}


def test_the_table_matches_the_records_of_the_runs(rnn, tmp_path: Path) -> None:
    picture = tmp_path / "cells.png"
    printed = json.loads(rnn(f"{TINY} --cell elman --cell gru --hidden 2,3+2 --out {picture} --json").out)
    assert (printed["task"], printed["corpus"], printed["metric"], printed["match"]) == (
        "parity",
        "4 bits",
        "loss",
        "hidden",
    )
    assert [(net["cell"], net["hidden"]) for net in printed["nets"]] == [
        (cell, hidden) for cell in ("elman", "gru") for hidden in ("2", "3,2")
    ]
    assert picture.read_bytes().startswith(b"\x89PNG")
    losses = {each["run"]: [record["loss"] for record in records(find_run(each["run"]))] for each in printed["members"]}
    assert printed["target"] == pytest.approx(max(map(min, losses.values())))
    for net in printed["nets"]:
        names = [f"compare-{net['cell']}-{net['hidden'].replace(',', '+')}-{seed}" for seed in range(2)]
        best = np.array([min(losses[name]) for name in names])
        assert net["mean"] == pytest.approx(best.mean())
        assert net["spread"] == pytest.approx(best.std(ddof=1))
        assert net["seconds"] == pytest.approx(np.mean([records(find_run(n))[-1]["seconds"] for n in names]), abs=2e-3)
        firsts = [
            next(each for each in records(find_run(name)) if each["loss"] <= printed["target"] + 1e-12)
            for name in names
        ]
        assert net["reached"] == 2
        assert net["steps_to_target"] == np.median([each["step"] for each in firsts])
        assert net["seconds_to_target"] == pytest.approx(np.median([each["seconds"] for each in firsts]))
        kept = [header(name)["progress"] for name in names]
        assert all(each["predictions"] == each["step"] * BITS * BATCH for each in kept)
        assert net["tokens_a_second"] == pytest.approx(np.mean([e["predictions"] / e["stepping"] for e in kept]))
        assert all(0 < each["stepping"] < each["seconds"] for each in kept)
    shown = rnn(f"{TINY} --cell elman --cell gru --hidden 2,3+2").out
    first = printed["nets"][0]
    assert re.search(rf"elman +2 +16 +{first['mean']:.4g} ± {first['spread']:.4g} ", shown)
    assert f"target: loss at most {printed['target']:.4g}, which every run reached" in shown


def test_a_given_target_and_only_one_seed(rnn) -> None:
    one_seed = f"{TINY} --cell elman --hidden 2 --seeds 1 --target 1e-9"
    net = json.loads(rnn(f"{one_seed} --json").out)["nets"][0]
    assert (net["spread"], net["reached"], net["steps_to_target"], net["seconds_to_target"]) == (None, 0, None, None)
    out = rnn(one_seed).out
    assert "means of one seed: no spread" in out
    assert "0 of 1" in out
    assert "target: loss at most 1e-09; the median" in out


def test_interrupted_comparison_prints_how_to_continue_and_trains_nothing_twice(
    rnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = f"{TINY} --cell elman --cell lstm --hidden 2 --name whole"
    assert rnn(whole).code == 0
    steps, listen = [], progress.Bar.listen

    def stop_in_the_third(bar: progress.Bar, event: Any) -> None:
        listen(bar, event)
        steps.append(isinstance(event, Stepped))
        if sum(steps) == 2 * 24 + 7:
            patched.setattr(Interrupts, "received", 2)

    with monkeypatch.context() as patched:
        patched.setattr(progress.Bar, "listen", stop_in_the_third)
        stopped = rnn(whole.replace("whole", '"it\'s"'))
    assert stopped.code == 130
    command = re.search(r"rnn: stopped and saved: `rnn (compare .*)` continues from here\n$", stopped.err)[1]
    assert "rnn train" not in stopped.err
    before = {seed: written(f"it's-elman-2-{seed}") for seed in range(2)}
    assert len(records(find_run("it's-lstm-2-0"))) == 1
    assert rnn(command).code == 0
    assert {seed: written(f"it's-elman-2-{seed}") for seed in range(2)} == before
    for run in ("elman-2-0", "elman-2-1", "lstm-2-0", "lstm-2-1"):
        ours, theirs = ([{**each, "seconds": 0} for each in records(find_run(f"{n}-{run}"))] for n in ("it's", "whole"))
        assert ours == theirs
    more = rnn(command.replace("--seeds 2", "--seeds 3"))
    assert (more.code, more.err.count("it is finished already"), more.err.count(", started")) == (0, 4, 2)


def test_a_run_with_other_settings_is_refused(rnn) -> None:
    assert rnn(f"{TINY} --cell elman --cell gru --hidden 2").code == 0
    before = written("compare-elman-2-0")
    ran = rnn(f"{TINY} --cell lstm --cell gru --hidden 2 --lr 0.01")
    assert (ran.code, ran.err.count("\n"), ran.out) == (2, 1, "")
    assert "run compare-gru-2-0 of parity was trained with --lr 0.05, not 0.01" in ran.err
    assert "give the comparison another --name, or delete that run" in ran.err
    assert written("compare-elman-2-0") == before


def test_sizes_are_matched_by_parameters(rnn, tmp_path: Path) -> None:
    cells, picture = ("gru", "elman", "lstm:none"), tmp_path / "cells.svg"
    words = f"{TINY} --cell {','.join(cells)} --hidden 5,4+2 --seeds 1 --match params --out {picture} --json"
    printed = json.loads(rnn(words).out)
    assert printed["match"] == "params"
    assert "as many parameters as gru has" in picture.read_text()

    def count(cell: str, sizes: tuple[int, ...]) -> int:
        return sum(each.numel() for each in Tagger(1, 2, StackShape(cell, sizes)).parameters() if each.requires_grad)

    layouts = {"5": lambda size: (size,), "4,2": lambda size: (size, max(1, round(size / 2)))}
    expected = []
    for cell in cells:
        for hidden, layout in layouts.items():
            wanted = count("gru", tuple(map(int, hidden.split(","))))
            best = min(range(1, 30), key=lambda size: abs(count(cell, layout(size)) - wanted))
            expected.append((cell, ",".join(map(str, layout(best))), count(cell, layout(best))))
    assert [(net["cell"], net["hidden"], net["parameters"]) for net in printed["nets"]] == expected


class InPairs(Elman):
    """An Elman unit whose units come in pairs, as those of a cell in heads do."""

    name = "pairs"

    def add_parameters(self) -> None:
        if self.hidden_size % 2:
            raise UsageError(f"cell pairs: 2 does not divide {self.hidden_size} units")
        super().add_parameters()


def test_a_cell_in_heads_is_matched_by_sizes_that_it_takes(rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CELLS, "pairs", InPairs)
    assert (smallest_size("elman"), smallest_size("pairs")) == (1, 2)
    ran = rnn(f"{TINY} --cell elman --cell pairs --hidden 4,5")
    assert (ran.code, ran.out, ran.err) == (2, "", "rnn: error: cell pairs: 2 does not divide 5 units\n")
    printed = json.loads(rnn(f"{TINY} --cell gru --cell pairs --hidden 5,4+2 --seeds 1 --match params --json").out)
    sizes = [net["hidden"].split(",") for net in printed["nets"] if net["cell"] == "pairs"]
    assert [len(each) for each in sizes] == [1, 2]
    assert all(int(size) % 2 == 0 for each in sizes for size in each)


def test_seconds_are_matched(rnn) -> None:
    assert rnn(f"{TINY} --cell gru --cell elman --hidden 2 --lr 1e-9 --match time --schedule cosine").code == 0
    for seed in range(2):
        first, other = header(f"compare-gru-2-{seed}"), header(f"compare-elman-2-{seed}")
        seconds = first["progress"]["seconds"]
        assert (other["config"]["epochs"], other["config"]["max_time"]) == (0, seconds)
        assert other["progress"]["finished"] == f"{seconds:g} s are over"
        assert other["progress"]["seconds"] >= seconds
        assert first["config"]["epochs"] == 3


def test_a_default_that_does_not_suit_a_cell_is_left_out_for_that_cell(rnn, tmp_path: Path) -> None:
    text = tmp_path / "small.txt"
    text.write_text("the gate stood open, and the snow came in\n" * 20)
    net = "--cell elman --cell mingru --hidden 2 --embedding 2 --backend reference"
    words = f"compare char-lm --corpus {text} {net} --epochs 1 --seeds 1"
    ran = rnn(f"{words} --weight-drop 0.1")
    assert (ran.code, "cell mingru:positive declares no recurrent matrices" in ran.err) == (2, True)
    assert rnn(words).code == 0
    drops = [header(f"compare-{cell}-2-0")["config"]["weight_drop"] for cell in ("elman", "mingru")]
    assert drops == [0.5, 0.0]


def test_a_net_whose_loss_is_not_finite_does_not_count(rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    from rnncli.cli import compare

    follow = compare.follow

    def burst(training: Any, *, resumed: bool) -> None:
        if training.config.cell == "gru" and training.config.seed == 1:
            raise NotFinite("the loss is nan")
        follow(training, resumed=resumed)

    monkeypatch.setattr(compare, "follow", burst)
    ran = rnn(f"{TINY} --cell elman --cell gru --hidden 2 --json")
    assert "rnn: warning: run compare-gru-2-1 does not count: the loss is nan" in ran.err
    printed = json.loads(ran.out)
    assert [sum(net["ended"].values()) for net in printed["nets"]] == [2, 1]
    assert printed["nets"][1]["mean"] == min(record["loss"] for record in records(find_run("compare-gru-2-0")))
    assert printed["members"][3]["finished"] == ""


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        ("--cell gru --cell gru", 2, "--cell gru,gru compares gru:reset-before with itself"),
        ("--cell lstm --cell lstm:full", 2, "compares lstm:full with itself"),
        ("--cell elman --cell elmn", 2, "unknown cell 'elmn'"),
        ("--out a.nothing", 1, "cannot draw a.nothing: name a file such as picture.png"),
        ("--out .", 1, "cannot draw .: name a file"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_trained(rnn, words: str, code: int, complaint: str) -> None:
    ran = rnn(f"{TINY} --hidden 2 {words}")
    assert (ran.code, ran.out, ran.err.count("\n")) == (code, "", 1)
    assert complaint in ran.err
    assert all_runs("parity") == []


def test_several_processes_are_refused(rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a launch")
    monkeypatch.setattr("rnncli.training.meeting.speaks", lambda: True)
    ran = rnn(f"{TINY} --cell elman")
    assert (ran.code, "start it without torchrun" in ran.err) == (2, True)


@pytest.mark.usefixtures("plain_loops")
def test_runs_start_from_a_model_with_its_cell_and_size(rnn, home: Path) -> None:
    text = home / "text.txt"
    text.write_text("the cat sat on the mat\n" * 30)
    few = f"char-lm --corpus {text} --epochs 1 --bptt 8 --batch-size 8 --hold-out 0.1"
    assert rnn(f"train {few} --cell gru --hidden 4,3 --embedding 2 --name first").code == 0
    again = f"compare {few} --init-from first --lr 1e-30 --optimizer sgd --seeds 2 --json"
    printed = json.loads(rnn(again).out)
    assert [(net["cell"], net["hidden"]) for net in printed["nets"]] == [("gru", "4,3")]
    expected = header("first")["progress"]["best"]
    assert [each["best"] for each in printed["members"]] == pytest.approx([math.exp(expected)] * 2, rel=1e-4)
    assert json.loads(rnn(again).out)["seconds"] == printed["seconds"]  # read, not trained
    for flag, message in (
        ("--cell gru --cell lstm --match params", "--cell is gru in .*first.*, not lstm"),
        ("--cell gru --cell lstm --match time", "--cell is gru in .*first.*, not lstm"),
        ("--hidden 4+3,5", "--hidden is 4,3 in .*first.*, not 5"),
    ):
        refused = rnn(f"{again} {flag} --name other")
        assert (refused.code, refused.out) == (2, "")
        assert re.search(rf"^rnn: error: {message}", refused.err.splitlines()[-1])
    assert [run.name for run in all_runs("char-lm")] == ["compare-gru-4+3-1", "compare-gru-4+3-0", "first"]
