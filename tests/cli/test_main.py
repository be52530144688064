"""The whole command line: a fast start, an example in every help, one line for every error."""

import dataclasses
import errno
import gc
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from rnncli.__main__ import main
from rnncli.cli import VERBS, app
from rnncli.cli.helped import print_help
from rnncli.launch import LAUNCHED, WAITING
from rnncli.settings import flag_of
from rnncli.tasks import TASKS
from rnncli.version import __version__

pytestmark = pytest.mark.no_backend

README = Path(__file__).parents[2] / "README.md"
CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"


@pytest.fixture(scope="module")
def pages() -> dict[tuple[str, ...], Any]:
    """The context of every command, by the words that call it: one tree for all tests."""
    root: Any = typer.main.get_command(app)
    found = {(): root.make_context("rnn", [], resilient_parsing=True)}
    for name, verb in VERBS.items():
        found[name,] = context_below(found[()], name)
        for command in verb.commands() if verb.commands else ():
            found[name, command] = context_below(found[name,], command)
    return found


def context_below(parent: Any, name: str) -> Any:
    return parent.command.get_command(parent, name).make_context(name, [], parent=parent, resilient_parsing=True)


def commands_of(verb: str) -> set[str]:
    commands = VERBS[verb].commands
    assert commands is not None
    return set(commands())


@pytest.mark.parametrize(
    ("given", "spins"), [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)]
)
def test_waiting_threads_sleep_soon_unless_the_user_says_otherwise(
    given: dict[str, str], spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    code = "import os, sys, rnncli.__main__; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == f"{spins} False\n"  # set before torch reads it


def test_garbage_is_looked_for_less_often_than_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    thresholds: list[int] = []
    monkeypatch.setattr(gc, "set_threshold", thresholds.append)
    monkeypatch.setattr(sys, "argv", ["rnn", "--version"])
    with pytest.raises(SystemExit, match=r"^0$"):
        main()
    assert thresholds == [5_000]  # not much more: what a user's cell leaves in circles may be large


def test_every_help_has_an_example_and_explains_each_flag(pages, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for words, context in pages.items():
        print_help(context)
        page = capsys.readouterr().out
        assert "\nExample: rnn " in page or "\nExamples:\n  rnn " in page, words
        assert page.split("\n\n")[1].endswith((".", "?")), (words, "has no sentence that describes it")
        assert max(len(line) for line in page.splitlines() if "rnn " not in line) < 80, words
        assert re.findall(r"<\w+>|\[default", page.replace("<unk>", "")) == [], words
        assert [each.name for each in context.command.params if not getattr(each, "help", "")] == [], words


@pytest.mark.parametrize("task", TASKS)
def test_help_of_training_hides_tuning_flags_and_has_at_most_50_lines(task: str, pages, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    context = pages["train", task]
    print_help(context)
    page = capsys.readouterr().out
    assert len(page.splitlines()) <= 50
    print_help(context, folded=False)
    full = capsys.readouterr().out
    shown, known = (set(re.findall(r"^  (?:-h, )?(--\S+)", text, re.MULTILINE)) for text in (page, full))
    fields = dataclasses.fields(TASKS[task].Config)
    flags = {
        f"--[no-]{each.name.replace('_', '-')}" if each.type in (bool, "bool") else flag_of(each.name)
        for each in fields
    }
    assert flags <= known
    expert = {each.name for each in fields if each.metadata.get("expert")}
    assert {"--momentum", "--backend"} <= known - shown
    assert len(known - shown) == len(expert)
    completed = {each.value for each in context.command.shell_complete(context, "--")}
    assert {flag_of(name) for name in expert} | {"--help-all"} <= completed


def test_all_ways_to_help_print_the_same(rnn) -> None:
    for words in ("", "train", "train parity", "runs delete"):
        page = rnn(f"{words} --help")
        assert page.code == 0
        assert page.out.startswith(f"Usage: rnn {words}".strip())
        assert rnn(f"{words} -h") == rnn(f"help {words}") == page
    assert rnn("help train parity --all") == rnn("train parity --help-all")
    assert rnn("help flay").err == "rnn: error: No such command 'flay': `rnn --help` lists them\n"
    assert rnn("help version now").err == "rnn: error: rnn version has no commands: leave 'now' out\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_row_in_the_readme(verb: str) -> None:
    rows = [line.split("|")[1] for line in README.read_text().splitlines() if line.startswith("| `")]
    assert any(f"`rnn {verb}" in row for row in rows)


def test_every_task_can_be_trained_and_evaluated() -> None:
    assert commands_of("train") == set(TASKS)
    assert commands_of("compare") == set(TASKS)
    assert commands_of("evaluate") >= set(TASKS)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("data prepare '' --name x", "DUMP…"),
        ("score --file ''", "--file"),
        ("train char-lm --corpus=", "--corpus"),
        ("report mine --out ''", "--out"),
        ("plot mine ''", "RUN…"),
        ("inspect ''", "RUN"),
    ],
)
def test_an_empty_value_is_refused(rnn, words: str, name: str) -> None:
    assert rnn(words) == (2, "", f"rnn: error: {name} is empty: give it a value\n")


def test_commands_without_a_model_import_nothing_heavy(home: Path) -> None:
    """In a separate process: help imports no numeric library, and lists and pictures of runs import no torch."""
    program = (
        "import sys; from rnncli.__main__ import run\n"
        "for line in sys.argv[2:]:\n"
        "    assert run(line.split()) == 0, line\n"
        "    assert not set(sys.argv[1].split()) & set(sys.modules), line\n"
        "    if line == '--help': assert 'rnncli.tasks.parity' not in sys.modules\n"
        "    if line == 'train parity --help': assert 'rnncli.tasks.translate' not in sys.modules\n"
    )
    shutil.copytree(CHECKPOINTS / "parity-solved", home / "checkpoints" / "parity" / "mine")
    record = {"step": 1, "epoch": 1, "seconds": 1.0, "loss": 0.5, "train_loss": 0.5}
    (home / "checkpoints" / "parity" / "mine" / "metrics.jsonl").write_text(json.dumps(record))
    pages = ["--help", "version", "train --help", "train parity --help", "generate --help", "compare parity --help"]
    pages += ["analogy --help", "gradients --help", "embeddings plot --help", "evaluate analogies --help"]
    lists = ["data list --json", "data list", "runs", "runs list --json"]
    for heavy, lines in (("torch numpy nltk matplotlib", pages + lists), ("torch", ["plot mine"])):
        subprocess.run([sys.executable, "-c", program, heavy, *lines], check=True, capture_output=True)


def test_version(rnn) -> None:
    assert rnn("--version") == rnn("version") == (0, f"rnn {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("fly", 2, "No such command 'fly': `rnn --help` lists them"),
        ("train", 2, ""),
        ("train chess", 2, "No such command 'chess': `rnn train --help` lists them"),
        ("train parity --bits twelve", 2, "Invalid value for '--bits'"),
        ("train parity --bits 0", 2, "--bits must be at least 1, not 0"),
        ("train parity --cell lstm:odd", 2, "cell lstm has no variant 'odd': it has full, diagonal, none"),
        ("train parity --hidden -4", 2, "--hidden must be sizes such as 64 or 64,32, not '-4'"),
        ("train parity --backend library --cell gru", 2, "torch has no layer with its equations"),
        ("train parity --activation relu --cell lstm", 2, "cell lstm has no activation 'relu': it has tanh"),
        ("train parity --config absent.toml", 2, "cannot read --config absent.toml: No such file or directory"),
        ("train parity --resume", 2, "no run of parity in "),
        ("train parity --resume --preset book", 2, "leave --preset and --config out"),
        ("train parity --name a/b", 2, "--name 'a/b' cannot be a folder's name"),
        ("train poetry-lm --corpus froast", 2, "frost"),
        ("train poetry-lm --corpus frost", 1, "frost is not downloaded: run `rnn data get frost`"),
        ("train poetry-lm --corpus ./absent.txt", 1, "absent.txt"),
        ("generate poetry", 2, "there is no model of poetry-lm in "),
        ("generate poetry --lines 0", 2, "--lines must be at least 1, not 0"),
        ("generate poetry --from nothing", 2, "there is no run 'nothing' in "),
        ("evaluate parity", 2, "there is no model of parity in "),
        ("evaluate parity --baselines", 2, "No such option: --baselines"),
        ("inspect /nowhere/nothing.safetensors", 2, "there is no /nowhere/nothing.safetensors"),
        ("train parity --seed 99999999999999999999", 2, "--seed"),
        ("train parity --cell lstm:", 2, "cell lstm has no variant ''"),
        ("train parity --name ' '", 2, "cannot be a folder's name"),
        ("train parity --batch-size 99999999999999999999", 2, "--batch-size must be at most"),
        ("generate poetry --temperature inf", 2, "--temperature must be a finite number, not inf"),
        ("inspect", 2, "there is no run in "),
        ("evaluate nothing", 2, "`rnn evaluate nothing`: there is no such command (parity, "),
        ("inspect nothing", 2, "there is no run 'nothing' in "),
        ("gradients --cell gru,fly", 2, "unknown cell 'fly': choose one of"),
        ("gradients --length 0", 2, "--length must lie between 1 and 10,000, not 0"),
        ("gradients --radius -1", 2, "--radius must lie above 0 and be at most 100, not -1"),
        ("gradients --radius one", 2, "--radius must be numbers such as 0.5,1,1.5, not 'one'"),
        ("gradients --from nothing", 2, "there is no run 'nothing' in "),
        ("gradients --text 01", 2, "--text needs a trained net that reads it: name its RUN"),
        (
            "gradients --from nothing --radius 1",
            2,
            "--radius is for fresh cells, and nothing is a trained net: leave --radius out",
        ),
        ("compare chess", 2, "No such command 'chess': `rnn compare --help` lists them"),
        ("compare parity --cell gru --cell fly", 2, "unknown cell 'fly': choose one of"),
        ("compare parity --cell lstm --activation relu", 2, "cell lstm has no activation 'relu': it has tanh"),
        ("compare parity --seeds 0", 2, "Invalid value for '--seeds'"),
        (
            "compare parity --hidden 4,x",
            2,
            "--hidden must be sizes to compare such as 32,64, or of layers such as 64+32",
        ),
        ("compare parity --hidden 4,4", 2, "--hidden 4,4 compares 4 with itself; + joins the layers of one net"),
        ("compare parity --match size", 2, "--match must be one of hidden, params, time, not 'size'"),
        ("compare parity --model mlp", 2, "a net of kind mlp has no cell to compare"),
        ("compare parity --target inf", 2, "--target must be a finite number, not inf"),
        ("compare parity --name a/b", 2, "--name 'a/b' cannot be a folder's name"),
        ("compare poetry-lm --corpus -", 2, "--corpus -: standard input serves only one run"),
        ("runs delete nothing", 2, "there is no run 'nothing' in "),
    ],
)
def test_errors_are_one_line(rnn, words: str, code: int, message: str) -> None:
    ran = rnn(words)
    assert ran.code == code
    if message:
        assert message in ran.err
        assert ran.err.count("\n") == 1
        assert ran.err.startswith("rnn: error: ")
        assert ran.out == ""


def test_a_bad_or_taken_name_is_refused_before_the_corpus_is_read(rnn, home: Path) -> None:
    (home / "checkpoints" / "char-lm" / "mine").mkdir(parents=True)
    (home / "checkpoints" / "char-lm" / "mine" / "last.safetensors").touch()
    for name, complaint in (("a/b", "cannot be a folder's name"), ("mine", "is already there")):
        ran = rnn(f"train char-lm --corpus no-such-file.txt --name {name}")
        assert (ran.code, ran.out) == (2, "")
        assert complaint in ran.err


def test_a_home_that_is_no_folder_is_one_line(rnn, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("RNN_HOME", str(home / "file"))
    for words in ("train parity", "generate poetry"):
        ran = rnn(words)
        assert ran.code in (1, 2)
        assert ran.err.count("\n") == 1
        assert "bug in rnn" not in ran.err


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "there is not enough memory: "),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "there is not enough memory: "),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "there is not enough memory: "),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), "there is not enough memory: "),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "there is not enough memory: "),
        (RuntimeError("std::bad_alloc"), "there is not enough memory: "),
        (ImportError("a.so: undefined symbol: b", name="a"), "a library cannot be loaded: a.so: undefined symbol: b: "),
        (ImportError("cannot import name", name="rnncli.cli"), "ImportError: cannot import name (this is a bug in rnn"),
        (OSError(errno.EIO, "I/O error", "some/file"), "some/file: I/O error"),
        (RuntimeError("the memory of a net"), "RuntimeError: the memory of a net (this is a bug in rnn"),
    ],
)
def test_missing_memory_and_libraries_are_one_line(error: Exception, reason: str, rnn, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("rnncli.training.runs.all_runs", fail)
    ran = rnn("runs list")
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert ran.err.startswith(f"rnn: error: {reason}")


@pytest.mark.parametrize(("rank", "message"), [(None, "rnn: stopped\n"), ("0", "rnn: stopped\n"), ("1", "")])
def test_an_interrupt_that_leaves_a_library_half_imported_is_one_line(
    rank: str | None, message: str, rnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rnn does not import it again to choose the process that prints: the import would fail."""

    def interrupted(*_: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise SystemError("bad call flags")

    monkeypatch.setattr("rnncli.training.runs.all_runs", interrupted)
    if rank is not None:
        monkeypatch.setenv(LAUNCHED, "1")
        monkeypatch.setenv("RANK", rank)
        monkeypatch.delitem(sys.modules, "rnncli.training.meeting", raising=False)
    assert rnn("runs list") == (130, "", message)
    assert rank is None or "rnncli.training.meeting" not in sys.modules


def test_a_bug_is_one_line_and_debug_shows_the_traceback(rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by hand")

    monkeypatch.setattr("rnncli.training.runs.all_runs", fail)
    ran = rnn("runs list")
    assert ran == (
        1,
        "",
        "rnn: error: ZeroDivisionError: by hand (this is a bug in rnn; --debug shows the traceback)\n",
    )
    monkeypatch.setenv("RNN_DEBUG", "1")
    assert "Traceback" in rnn("runs list").err


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("train pa", {"parity"}),
        ("train parity --cell ls", {"lstm"}),
        ("train parity --optimizer ad", {"adam", "adamw"}),
        ("train poetry-lm --corpus h", {"hillside"}),
        ("gen", {"generate"}),
    ],
)
def test_the_shell_completes(words: str, completed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_RNN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"rnn {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
    result = CliRunner().invoke(app, prog_name="rnn")
    assert set(result.output.split()) == completed
