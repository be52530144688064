"""The shell completes runs, corpora, presets and commands, in bash and zsh, without an import of torch."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rnncli.cli import app

pytestmark = pytest.mark.no_backend


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with runs, a prepared corpus and files."""
    for run in ("poetry-lm/verse", "poetry-lm/both", "parity/both"):
        (home / "checkpoints" / run).mkdir(parents=True)
        (home / "checkpoints" / run / "best.safetensors").touch()
    (home / "data" / "hillwiki").mkdir(parents=True)
    (home / "data" / "hillwiki" / "vocabulary.tsv").touch()
    (home / "data" / "hills-of-mine").mkdir()
    (home / "hillbillies").mkdir()
    for name in ("hill.txt", "voyage.txt", ".hidden"):
        (home / name).touch()
    monkeypatch.chdir(home)
    return home


def completed(words: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What bash is offered for a command line, whose last word may be empty."""
    monkeypatch.setenv("_RNN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"rnn {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" "))))
    return set(CliRunner().invoke(app, prog_name="rnn").output.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("report ver", {"verse"}),
        ("inspect --from ver", {"verse"}),
        ("generate ver", {"verse"}),
        ("generate --lines 2 ver", {"verse"}),
        ("generate poetry ver", {"verse"}),
        ("score --from ver", {"verse"}),
        ("plot verse par", {"parity/both"}),
        ("runs delete poe", {"poetry-lm/both"}),
        ("runs prune ver", {"verse"}),
        ("train poetry-lm --resume --name ver", {"verse"}),
        ("train poetry-lm --init-from ver", {"verse"}),
        ("evaluate v", {"verse"}),
        ("evaluate ta", {"tag"}),
        ("inspect vo", set()),  # a file: the shell completes it
        ("inspect v", {"verse", "voyage.txt"}),
        ("train wiki-lm --corpus hill", {"hillside", "hillwiki", "hill.txt", "hillbillies/"}),
        ("train char-lm --corpus hill.", set()),
        ("train poetry-lm --preset ", {"book"}),
        ("compare poetry-lm --preset b", {"book"}),
        ("data get fro", {"frost"}),
        ("embeddings neighbors the --layer in", {"input"}),
        ("train wik", {"wiki-lm"}),
    ],
)
def test_names_are_completed(words: str, expected: set[str], here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed(words, monkeypatch) == expected


def test_flags_are_completed_before_and_after_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"--from", "--lines", "--json"} <= completed("generate --", monkeypatch)
    assert "--preset" in completed("train parity --pre", monkeypatch)


def test_completion_imports_no_torch(here: Path) -> None:
    program = (
        "import sys\n"
        "from rnncli.cli import app\n"
        "try: app(prog_name='rnn')\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'nltk', 'numba'} & set(sys.modules), sorted(sys.modules)\n"
    )
    for words in ("generate ver", "train wiki-lm --corpus hill", "train "):
        variables = {
            "_RNN_COMPLETE": "complete_bash",
            "COMP_WORDS": f"rnn {words}",
            "COMP_CWORD": str(len(words.split(" "))),
        }
        ran = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, ""), words
        assert ran.stdout


@pytest.mark.posix("bash")
def test_bash_completes_a_run_by_the_installed_script(here: Path) -> None:
    if not shutil.which("bash"):
        pytest.skip("waits for bash")
    (here / "bin").mkdir()
    (here / "bin" / "rnn").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rnncli "$@"\n')
    (here / "bin" / "rnn").chmod(0o755)
    environment = {**os.environ, "PATH": f"{here / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    script = (
        'eval "$(_RNN_COMPLETE=source_bash rnn)"; COMP_WORDS=(rnn report ver); COMP_CWORD=2; '
        '_rnn_completion rnn; echo "${COMPREPLY[@]}"'
    )
    ran = subprocess.run(
        ["bash", "--norc", "-c", script], env=environment, cwd=here, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "verse\n"
