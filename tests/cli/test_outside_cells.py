"""Verbs with a cell from outside: training, use and resuming name its code; without that no file is ever run."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import outside as file

import rnncli
from rnncli.analysis import bench, bench_cells, bench_costs
from rnncli.api import Training
from rnncli.cells import BUILT_IN, use_cell
from rnncli.errors import RnnWarning, UsageError
from rnncli.kernels.fused import trouble
from rnncli.presets import resolve
from rnncli.tasks import TASKS
from rnncli.training.checkpoint import read

FILE = Path(file.__file__)
TESTS = FILE.parents[1]
SMALL = "--bits 3 --hidden 3 --seed 1 --backend reference"


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the file of cells in the current folder, which writes `ran` when it runs."""
    copy = tmp_path / "mine.py"
    copy.write_text(f"{FILE.read_text('utf-8')}\nopen({str(tmp_path / 'ran')!r}, 'w').close()\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    return copy


def fresh_process(home: Path, program: str) -> list[str]:
    """What a program prints, line by line, in a process that has seen no cell."""
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, "RNN_HOME": str(home)}
    begin = "from pathlib import Path\nfrom rnncli.__main__ import run\nimport rnncli, shlex, sys\n"
    begin += "sys.stderr = sys.stdout\nrnn = lambda words: print(run(shlex.split(words)))\n"
    ran = subprocess.run(
        [sys.executable, "-c", begin + program], capture_output=True, text=True, env=environment, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_resumed_run_equals_an_uninterrupted_one(rnn, mine: Path, home: Path) -> None:
    assert rnn(f"train parity --cell mine.py:Deep {SMALL} --epochs 2 --name whole").code == 0
    started = rnn(f"train parity --cell mine.py:Deep {SMALL} --epochs 1 --name half")
    assert "Deep 3: " in started.err
    assert rnn("train parity --resume --name half --cell mine.py:Deep --epochs 2").code == 0
    whole, half = (read(home / "checkpoints" / "parity" / run / "last.safetensors") for run in ("whole", "half"))
    assert half.header["config"]["cell"] == f"{mine}:Deep"
    assert half.header["cell"].keys() == {"class", "sha256"}
    assert whole.tensors.keys() == half.tensors.keys()
    assert all(torch.equal(whole.tensors[name], half.tensors[name]) for name in whole.tensors)
    assert "elman" in rnn("train parity --resume --name half --cell elman --epochs 2").err


def test_restarted_process_names_the_code_again(rnn, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = f"train parity --cell mine.py:Deep {SMALL} --epochs 1 --name bits"
    assert rnn(train).code == 0
    monkeypatch.setattr(rnncli.cells.outside, "_LOADED", {})
    monkeypatch.setattr(rnncli.training.distributed, "begun", lambda: "bits")
    restarted = rnn(train)
    assert (restarted.code, "run bits, resumed" in restarted.err) == (0, True)


def test_no_file_runs_unasked_or_before_the_checksum(rnn, mine: Path, home: Path) -> None:
    assert rnn(f"train parity --cell mine.py:CoupledLSTM:peephole {SMALL} --epochs 1 --name bits").code == 0
    assert rnn(f"train parity --cell elman {SMALL} --epochs 1 --name plain").code == 0
    (mine.parent / "ran").unlink()
    best = home / "checkpoints" / "parity" / "bits" / "best.safetensors"
    damaged = bytearray(best.read_bytes())
    damaged[-3] ^= 1
    (mine.parent / "damaged.safetensors").write_bytes(damaged)
    told = fresh_process(
        home,
        "rnn('evaluate parity bits')\n"
        "rnn('train parity --resume --name bits --epochs 2')\n"
        "rnn('evaluate parity damaged.safetensors --cell mine.py:CoupledLSTM')\n"
        "rnn('inspect plain --cell mine.py:CoupledLSTM')\n"
        "rnn('report bits --cell elman')\n"
        "print('ran', Path('ran').exists())\n"
        "rnn('evaluate parity bits --cell mine.py:CoupledLSTM --json')\n"
        "print('ran', Path('ran').exists())\n",
    )
    option = f"--cell {shlex.quote(f'{mine}:CoupledLSTM:peephole')}"
    lacking = f"was trained with a cell from outside, whose code runs only if you name it again: {option}"
    assert lacking in told[0]
    assert lacking in told[2]
    assert "is damaged: its contents do not match its SHA-256" in told[4]
    assert told[6].endswith("best.safetensors has the cell elman: leave --cell out")
    assert told[8].endswith("was trained with the cell CoupledLSTM, not with elman")
    assert told[10] == "ran False"
    assert [told[place] for place in (1, 3, 5, 7, 9)] == ["2", "2", "1", "2", "2"]
    assert json.loads(told[-3])["task"] == "parity"
    assert told[-2:] == ["0", "ran True"]


@pytest.mark.slow
def test_python_loads_and_resumes_with_a_class(rnn, mine: Path, home: Path) -> None:
    assert rnn(f"train parity --cell mine.py:Deep {SMALL} --epochs 1 --name bits").code == 0
    told = fresh_process(
        home,
        "from support.outside import CoupledLSTM, Deep\n"
        "from rnncli.api import Training\n"
        "from rnncli.training.runs import find_run\n"
        "def refused(call):\n"
        "    try: call()\n"
        "    except rnncli.errors.UsageError as error: print(error)\n"
        "refused(lambda: rnncli.load('bits'))\n"
        "refused(lambda: rnncli.load('bits', cell=CoupledLSTM))\n"
        "refused(lambda: Training.resume(find_run('bits'), {'epochs': 2}))\n"
        "print(type(rnncli.load('bits', cell=Deep).model.stack.cells[0]) is Deep)\n"
        "training = Training.resume(find_run('bits'), {'epochs': 2, 'cell': Deep})\n"
        "training.train(lambda _: None, print)\n"
        "print(training.config.cell, training.trainer.progress.finished)\n",
    )
    assert "(in Python, cell=Deep)" in told[0]
    assert told[1].endswith("was trained with the cell Deep, not with CoupledLSTM")
    assert told[2] == told[0].replace("best.", "last.")
    assert [line for line in told if "warning" not in line.lower() and "warn(" not in line][3:] == [
        "True",
        "support.outside:Deep done",
    ]


@pytest.mark.slow
def test_installed_entry_point_needs_no_flag(rnn, home: Path, tmp_path: Path) -> None:
    info = tmp_path / "site" / "cells_outside-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cells-outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[rnncli.cells]\ndeep = support.outside:Deep\nno-cell = support.outside:NotACell\n"
    )
    told = fresh_process(
        home,
        f"sys.path.append({str(info.parent)!r})\n"
        f"rnn('train parity --cell deep {SMALL} --epochs 1 --name short --json')\n"
        f"rnn('train parity --cell support.outside:Deep {SMALL} --epochs 1 --name long --json')\n"
        f"sys.modules['rnncli.cells.outside']._LOADED.clear()\n"
        "rnn('evaluate parity short --json')\n"
        "rnn('evaluate parity long --json')\n",
    )
    assert [line for line in told if line.isdecimal()] == ["0"] * 4
    assert (
        sum("'no-cell' of package cells-outside is left out: TypeError: it is not a subclass" in line for line in told)
        == 1
    )
    told = fresh_process(
        home, "rnn('evaluate parity short')\nrnn('evaluate parity short --cell support.outside:Deep --json')\n"
    )
    assert "was trained with the cell deep of a package that is not installed: install it, or name the" in told[0]
    assert told[-1] == "0"


def test_changed_source_is_a_warning(rnn, mine: Path, plain_loops: None) -> None:
    assert rnn(f"train parity --cell mine.py:Deep {SMALL} --epochs 1 --name bits").code == 0
    assert "warning" not in rnn("evaluate parity bits --cell mine.py:Deep").err
    mine.write_text(mine.read_text("utf-8").replace("Hidden(torch.tanh(F", "Hidden(torch.sin(F"), "utf-8")
    with pytest.warns(RnnWarning, match="the source of the cell Deep has changed since .* was written: its results"):
        rnncli.load("bits", cell="mine.py:Deep")
    moved = mine.rename(mine.with_name("moved.py"))
    assert "rnn: warning: the source of the cell Deep has changed" in rnn(f"inspect bits --cell {moved.name}:Deep").err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("mine.py:Dep", "mine.py has no Dep: did you mean mine.py:Deep?"),
        (
            "mine.py",
            f"unknown cell 'mine.py': choose one of {', '.join(BUILT_IN)}, or your own by PATH.py:Class; name",
        ),
        ("gone.py:Deep", "cannot read the cell's file {folder}gone.py: No such file or directory"),
        ("mine.py:NotACell", "mine.py: NotACell is not a cell: derive it from rnncli.cells.base.Cell"),
        ("mine.py:Deep:odd", "cell Deep has no variant 'odd': it has none"),
        ("mine.py:Doubled", "cell Doubled: step returns a tensor of 2 x 6 as h, not a tensor of 2 x 3"),
        ("mine.py:Clashing", "cell Clashing fails at {folder}mine.py:"),
        ("broken.py:Deep", "{folder}broken.py:2: SyntaxError: "),
        ("failing.py:Deep", "{folder}failing.py:3: ZeroDivisionError: division by zero"),
        ("leaving.py:Deep", "{folder}leaving.py:1: SystemExit: 3"),
        ("no_such.module:Deep", "unknown cell 'no_such.module:Deep': there is no cell and no module no_such.module"),
        ("outside_failing:Deep", "{folder}outside_failing.py:2: ZeroDivisionError: division by zero"),
        ("mine:Deep", "there is no cell and no module mine; did you mean mine.py:Deep?"),
        ("json:loads", "json: loads is not a cell"),
    ],
)
def test_wrong_cells_are_one_line(
    rnn, mine: Path, home: Path, monkeypatch: pytest.MonkeyPatch, words: str, message: str
) -> None:
    (mine.parent / "outside_failing.py").write_text("x = 1\ny = x / 0\n")
    if words.startswith("outside_failing"):
        monkeypatch.syspath_prepend(mine.parent)
    (mine.parent / "broken.py").write_text("x = 1\ndef f(:\n")
    (mine.parent / "failing.py").write_text("def f():\n    pass\nx = 1 / 0\n")
    (mine.parent / "leaving.py").write_text("raise SystemExit(3)\n")
    ran = rnn(f"train parity {SMALL} --cell {words}")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert message.format(folder=f"{mine.parent}{os.sep}") in ran.err
    assert not (home / "checkpoints").exists()


def test_file_of_settings_runs_no_code(rnn, mine: Path) -> None:
    (mine.parent / "my.toml").write_text('cell = "mine.py:Deep"\n')
    ran = rnn(f"train parity {SMALL} --config my.toml")
    assert (ran.code, (mine.parent / "ran").exists()) == (2, False)
    assert "code from outside, which runs only if you name it: --cell mine.py:Deep" in ran.err


@pytest.mark.slow
def test_fields_of_two_sizes_serve_every_verb_of_a_language_model(rnn, mine: Path) -> None:
    cell = "--cell mine.py:ProjectedLSTM"
    train = f"train char-lm {cell} --hidden 4,3 --embedding 4 --epochs 1 --corpus hillside --weight-drop 0.1"
    assert rnn(f"{train} --optimizer muon --name text").code == 0
    told = {
        words: json.loads(rnn(f"{words} {cell} --json").out)
        for words in (
            "generate text --length 20 --seed 1",
            "generate char --from text --length 5 --beam 2",
            "score 'the gate' --from text",
            "activations text --text 'the gate is open'",
            "gradients text --text 'the gate'",
            "export text --onnx text.onnx",
            "evaluate text",
            "report text",
            "inspect text",
            "embeddings neighbors e --from text",
        )
    }
    rows = told["gradients text --text 'the gate'"]["rows"]
    assert {row["name"] for row in rows} == {"ProjectedLSTM 4,3, trained", "ProjectedLSTM 4,3, fresh"}
    assert {row["state"] for row in rows} == {"h1", "c1", "h2", "c2"}
    assert told["inspect text"]["shapes"]["stack.cells.1.c0"] == [6]
    again = "train char-lm --init-from text --corpus hillside --epochs 1 --name more"
    assert rnn(f"{again} {cell}").code == 0


@pytest.mark.slow
def test_step_that_looks_at_values_trains_and_writes_but_is_no_graph(rnn, mine: Path) -> None:
    cell = "--cell mine.py:Branching"
    small = "--hidden 4 --embedding 4 --epochs 1 --corpus hillside"
    assert rnn(f"train char-lm {cell} {small} --name text").code == 0
    assert rnn(f"generate text {cell} --length 9 --seed 1").code == 0
    refused = rnn(f"export text {cell} --onnx text.onnx")
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert "torch cannot write the step of cell Branching as a graph: " in refused.err
    assert not Path("text.onnx").exists()


def test_code_that_fails_in_training_is_named(rnn, mine: Path) -> None:
    text = mine.read_text("utf-8").replace("/ self.steps)", "/ self.steps if self.steps < 30 else state.c)")
    mine.write_text(text, "utf-8")
    line = text[: text.index("else state.c")].count("\n") + 1
    ran = rnn(f"train parity {SMALL} --cell mine.py:Counting")
    assert ran.code == 1
    assert f"the cell's code fails at {mine}:{line}: AttributeError: 'Hidden' object has no attribute 'c'" in ran.err


@pytest.mark.slow
def test_translator_starts_fields_of_two_sizes(rnn, mine: Path) -> None:
    cell = "--cell mine.py:ProjectedLSTM"
    small = "--corpus dates --hidden 3 --embedding 4 --epochs 1 --max-time 1"
    assert rnn(f"train translate {small} {cell} --name dates").code == 0
    assert rnn(f"translate --from dates {cell} 'May 5, 1990' --beam 2 --json").code == 0


@pytest.mark.slow
def test_two_classes_of_one_name_are_compared(rnn, mine: Path) -> None:
    other = mine.with_name("other.py")
    other.write_text(mine.read_text("utf-8").replace("Hidden(torch.tanh(F", "Hidden(torch.sin(F"), "utf-8")
    cells = "--cell mine.py:Deep --cell other.py:Deep --cell elman,gru"
    words = f"compare parity {cells} --hidden 2 --bits 2 --epochs 1 --seeds 1"
    nets = json.loads(rnn(f"{words} --json").out)["nets"]
    assert [net["cell"] for net in nets] == [f"{mine}:Deep", f"{other}:Deep", "elman", "gru"]
    assert "it is finished already" in rnn(words).err
    assert "with itself" in rnn("compare parity --cell mine.py:Deep --cell ./mine.py:Deep --bits 2").err
    rows = json.loads(rnn("gradients --cell mine.py:Deep --cell gru --hidden 4 --length 5 --json").out)["rows"]
    assert {row["name"].partition(",")[0] for row in rows} == {"Deep", "gru:reset-before"}


@pytest.mark.slow
def test_check_cell_prints_checks_times_and_the_backend(rnn, mine: Path) -> None:
    quick = "--hidden 4 --rounds 1"
    told = json.loads(rnn(f"check-cell mine.py:Deep {quick} --json").out)
    assert told["cell"] == f"{mine}:Deep"
    assert [check["name"] for check in told["checks"] if check["passed"]] == [
        "shapes",
        "state",
        "gradients",
        "padding",
        "directions",
        "backends",
    ]
    assert told["milliseconds"].keys() == {"auto", "step loop", "torch.nn.RNN"}
    assert told["auto"]
    shown = rnn(f"check-cell mine.py:Deep {quick}")
    assert (shown.code, "auto takes " in shown.out, "torch.nn.RNN" in shown.out) == (0, True, True)
    assert rnn(f"check-cell rated --activation relu {quick}").code == 0
    failed = rnn("check-cell mine.py:Counting")
    assert failed.code == 1
    assert "WRONG" in failed.out
    assert "rnn: error: cell Counting fails" in failed.err
    assert rnn("check-cell mine.py:Doubled").err.count("\n") == 1


@pytest.mark.slow
def test_bench_measures_it(rnn, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "LONG_ENOUGH", 0.0)
    monkeypatch.setattr(bench_cells, "SHAPES", (bench_cells.Shape(3, 2, 4, 4), bench_cells.Shape(3, 2, 5, 5)))
    monkeypatch.setattr(bench_costs, "STEPS", (2, 3))
    monkeypatch.setattr(bench_costs, "BATCHES", (2, 3))
    floor = [] if trouble() else ["floor"]  # numba may be absent
    rows = json.loads(rnn("bench cells --cell mine.py:Deep --shape M5 --rounds 1 --json").out)["rows"]
    assert [(row["name"], *row["milliseconds"]) for row in rows] == [("Deep", "ours", "plain loop", *floor)]
    assert rnn("bench growth --cell mine.py:ProjectedLSTM --hidden 4 --rounds 1").out.startswith(
        "ProjectedLSTM, 4 units"
    )


@pytest.mark.slow
def test_settings_take_a_class(home: Path) -> None:
    settings = resolve(TASKS["parity"], {"cell": file.Deep, "bits": 2, "hidden": "2", "epochs": 1})
    assert (settings.cell, settings.label) == ("support.outside:Deep", "Deep")
    training = Training.start("parity", settings)
    assert training.run.name.endswith("-Deep")
    training.train(lambda _: None, pytest.fail)
    assert isinstance(rnncli.load(training.run.name).model.stack.cells[0], file.Deep)
    kind = f"{use_cell(file.Deep)}:x"
    with pytest.raises(UsageError, match="cell Deep has no variant 'x'"):
        Training.start("parity", resolve(TASKS["parity"], {"cell": kind, "bits": 2}))
