"""No text of a corpus, a name or a checkpoint controls the terminal, or is interpreted as markup."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.terminals import on_a_terminal

from rnncli.cli.screen import confirm, in_colours, note, print_styled, print_table, warn
from rnncli.training import checkpoint
from rnncli.training.runs import Run

pytestmark = pytest.mark.no_backend

EVIL = "[/b]\x1b]0;title\x07\x1b[31m\u202e"
COLOURS = re.compile(r"\x1b\[[\d;]*m")
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
RED = "\x1b[31m"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a model of letters; the name and text of its corpus, and its vocabulary, have control characters."""
    from rnncli.api import Training
    from rnncli.presets import resolve
    from rnncli.tasks import TASKS

    home = tmp_path_factory.mktemp("hostile")
    text = home / f"{EVIL}.txt".replace("/", "")
    text.write_text(f"ab{RED}cd\u202ee\n" * 40)
    settings = {"hidden": "8", "embedding": 8, "epochs": 10, "bptt": 20, "batch_size": 4, "corpus": (str(text),)}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RNN_HOME", str(home))
        Training.start("char-lm", resolve(TASKS["char-lm"], settings), "[draft]").train(lambda _: None, pytest.fail)
    return home


@pytest.mark.parametrize(
    "words",
    [
        "generate char --length 100 --seed 1",
        "score ab",
        f"score '{RED}x'",
        "inspect [draft]",
        "runs",
        "activations [draft] --max-tokens 50",
        "evaluate char-lm",
        "evaluate char-lm --corpus nowhere\x1b[31m",
        "inspect \x1b[31m",
        "runs \x1b[31m",
    ],
)
def test_a_terminal_gets_only_our_own_colours(
    words: str, hostile: Path, rnn: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RNN_HOME", str(hostile))
    with on_a_terminal() as screen:
        rnn(words)
    assert screen.text
    assert "bug in rnn" not in screen.text
    assert not ACTING.search(COLOURS.sub("", screen.text))
    assert f"{RED}cd" not in screen.text
    assert f"{RED}\u202e" not in screen.text


def test_piped_text_is_exact(hostile: Path, rnn: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    from rnncli.api import load

    monkeypatch.setenv("RNN_HOME", str(hostile))
    (written,) = load("[draft]").generate(length=200, seed=1).texts
    ran = rnn("generate char --length 200 --seed 1")
    assert ran.out.rstrip("\n") == written.rstrip("\n")
    assert RED in ran.out
    assert not ACTING.search(ran.err)


def test_tables_show_markup_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["[i]name", "[/b]"], [["[draft]", "[/nothing]"], [EVIL, "$x$ :smile:"]], title="[bold]title[/]")
    out = capsys.readouterr().out
    shown = ("[bold]title[/]", "[i]name", "[/b]", "[draft]", "[/nothing]", ":smile:", r"[/b]\x1b]0;title\x07\x1b[31m")
    assert all(each in out for each in shown)
    assert not ACTING.search(out)


def test_only_a_terminal_gets_styles(capsys: pytest.CaptureFixture[str]) -> None:
    with on_a_terminal() as screen:
        assert in_colours()
        print_styled([("[b]a\x1b", "red"), ("c", "")])
    assert screen.text == "\x1b[31m[b]a\\x1b\x1b[0mc\n"
    assert not in_colours()
    print_styled([("a\x1b", "red"), ("c", "")])
    assert capsys.readouterr().out == "a\x1bc\n"


def test_messages_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    note("a\nb\x1b")
    warn("a\r\nb")
    assert capsys.readouterr().err == "a\\nb\\x1b\nrnn: warning: a\\r\\nb\n"


def test_questions_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    questions = []
    monkeypatch.setattr("typer.confirm", lambda question, default: questions.append(question) or not default)
    assert confirm("delete a\nb\x1b?")
    assert questions == ["delete a\\nb\\x1b?"]


@pytest.mark.parametrize(
    "changes",
    [
        {"monitor": ["loss"]},
        {"monitor": {"[/b]": 1}},
        {"monitor": None},
        {"progress": {"finished": "[/b]", "step": 3, "best_step": 3, "history": [{"step": 3, "loss": "[/b]"}]}},
        {"progress": {"finished": "", "step": True, "best_step": 3, "history": [{"step": 3, "loss": []}]}},
        {"progress": {"finished": "", "step": 3, "best_step": 3, "history": [{"step": 3, "loss": {}}]}},
        {"progress": {"finished": "", "step": 3, "best_step": 3, "history": 7}},
        {"progress": {"finished": "", "step": 3, "best_step": 3, "history": ["x"]}},
        {"progress": []},
    ],
)
def test_one_bad_header_hides_no_run(changes: dict[str, object], home: Path, rnn: Callable[..., object]) -> None:
    good = {"finished": "done", "step": 3, "best_step": 3, "history": [{"step": 3, "loss": 0.5}]}
    for name, header in (("good", {}), ("[/b]", changes)):
        run = Run(home / "checkpoints" / "toy" / "x").folder.with_name(name.replace("/", ""))
        run.mkdir(parents=True)
        data = checkpoint.to_bytes({"task": "toy", "monitor": "loss", "progress": good, **header}, {})
        (run / "last.safetensors").write_bytes(data)
    ran = rnn("runs")
    assert (ran.code, ran.err) == (0, "")
    assert re.search(r"toy +good +done +loss 0.5", ran.out)
    assert "[b]" in ran.out
