"""The pages of the book's companion: commands and linked headings exist, and programs print what the pages show."""

import importlib.util
import re
import shlex
import signal
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rnncli.cli import VERBS

ROOT = Path(__file__).parents[1]
FILE = ROOT / "benchmarks" / "companion.py"
BOOK = ROOT / "docs" / "book.md"


def load_companion() -> Any:
    """The program, as a module."""
    spec = importlib.util.spec_from_file_location("companion", FILE)
    assert spec
    assert spec.loader
    sys.modules["companion"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


companion = load_companion()
PAGES = [BOOK, *companion.pages()]


@cache
def command_of(verb: str, name: str = "") -> Any:
    """The command of a verb, or one below it."""
    command = VERBS[verb].build(verb)
    return command.commands[name] if name else command


def parse(words: str) -> None:
    """Parse command lines of `rnn` as the program does, and run nothing; raises the error of a wrong one."""
    for line in re.split(r" (?:[|]{1,2}|&&|>) ", words):
        if line.startswith("rnn "):
            verb, *rest = shlex.split(line)[1:]
            command = command_of(verb)
            if hasattr(command, "list_commands") and rest:
                command = command_of(verb, rest.pop(0))
            if rest:  # a verb without words is a mention
                command.make_context(verb, rest)


def commands_of(page: Path) -> list[str]:
    """The commands of a page: those to run, and those within sentences and tables that are whole."""
    text = page.read_text("utf-8")
    spans = [
        " ".join(span.split())
        for span in re.findall(r"`(rnn [^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M))
    ]
    return [part.text for part in companion.parts_of(text) if part.verb] + [
        span for span in spans if "…" not in span and "TASK" not in span
    ]


@pytest.mark.no_backend
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_exists_with_its_flags(page: Path) -> None:
    commands = commands_of(page)
    assert len(commands) >= 5
    for words in commands:
        parse(words)


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "wrong", ["rnn train parity --bitz 3", "rnn trane parity", "rnn train parities", "rnn train parity --bits x"]
)
def test_a_wrong_command_is_found(wrong: str) -> None:
    with pytest.raises(BaseException, match=r"bitz|trane|parities|valid integer"):
        parse(wrong)


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    anchors: list[str] = []
    for title in re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.S | re.M), re.M
    ):
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        earlier = sum(re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", each) is not None for each in anchors)
        anchors.append(f"{anchor}-{earlier}" if earlier else anchor)
    return set(anchors)


@pytest.mark.no_backend
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_of_a_page_leads_to_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors_of(file), target


LIGHT = [
    pytest.param(program, printed, id=f"{page.stem}-{number}")
    for page in companion.pages()
    for number, (program, printed) in enumerate(
        re.findall(r"^```python\n(.*?)^```\n```\n(.*?)^```$", page.read_text("utf-8"), re.S | re.M)
    )
    if "Adam" not in program and "rnncli.load" not in program and not printed.startswith("$ ")
]
"""Programs that train nothing and need no run, with their output on the page."""


@pytest.mark.usefixtures("plain_loops")
@pytest.mark.parametrize(("program", "printed"), LIGHT)
def test_a_program_prints_what_the_page_shows(
    program: str, printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert companion.run_part(companion.Part("", program, is_program=True)).out == printed


def test_there_are_light_programs() -> None:
    assert len(LIGHT) >= 9


PAGE = """# Title

```
$ echo first \\
    second
an output
$ echo $RNN_CORPORA
```
## Below
```python
print(1 + 1)  # a comment
```
```
2
```
```
$ false
$ echo never
```
"""


def test_parts_run_in_order_until_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RNN_CORPORA", raising=False)
    monkeypatch.setenv("RNN_HOME", str(tmp_path))
    (tmp_path / "page.md").write_text(PAGE, "utf-8")
    found = companion.run_page(tmp_path / "page.md", quick=False)
    assert [(each.code, each.out) for each in found] == [(0, "first second\n"), (0, "2\n"), (1, "")]
    printed = capsys.readouterr().out
    assert "Below\n(a program)\n2\n[0.0 s, 0.0 of processors]" in printed
    assert "left out: needs RNN_CORPORA" in printed
    assert "never" not in printed


def test_an_error_of_a_program_is_printed_and_ends_its_page() -> None:
    ran = companion.run_part(companion.Part("", "1 / 0", is_program=True))
    assert ran.code == 1
    assert ran.out.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    "text",
    [
        "print('so far'); raise KeyboardInterrupt",
        pytest.param("echo so far; kill -2 $PPID; sleep 9", marks=pytest.mark.posix("bash")),
    ],
)
def test_ctrl_c_ends_a_part_without_a_traceback(text: str) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        ran = companion.run_part(companion.Part("", text, is_program=text.startswith("print")))
    finally:
        signal.signal(signal.SIGINT, before)
    assert ran.code == 130
    assert "Traceback" not in ran.out


@pytest.mark.parametrize(
    ("corpora", "pages", "told"),
    [("no folder", [], "is no folder"), ("", ["chapter-9"], "chapter-9 is no page: choose from chapter-1, ")],
)
def test_wrong_words_are_refused_in_a_line(
    corpora: str, pages: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RNN_CORPORA", corpora)
    monkeypatch.setattr(sys, "argv", ["companion.py", *pages])
    with pytest.raises(SystemExit, match="2"):
        companion.main()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert told in printed.err


def test_an_empty_name_of_corpora_means_embedded_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RNN_CORPORA", "")
    monkeypatch.setattr(sys, "argv", ["companion.py", "chapter-1"])
    monkeypatch.setattr(companion, "run_page", lambda _page, _quick: [])
    with pytest.raises(SystemExit) as ended:
        companion.main()
    assert not ended.value.code
    assert "companion on embedded corpora (RNN_CORPORA is not set)" in capsys.readouterr().out


def test_small_parts_are_short_and_others_stay() -> None:
    words = ("rnn train parity || true", "rnn train poetry-classify", "rnn score rnn", "ls")
    assert [companion.Part("", each).small().text for each in words] == [
        "rnn train parity --epochs 1 --max-time 0.2 || true",
        "rnn train poetry-classify --epochs 1 --max-time 0.2 --ensemble 1",
        "rnn score rnn",
        "ls",
    ]
    program = companion.Part("", "for _ in range(150): write(lines=300, count=12)", is_program=True)
    assert program.small().text == "for _ in range(2): write(lines=2, count=12)"


def test_real_corpora_are_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "robert_frost.txt").write_text("two roads", "utf-8")
    monkeypatch.setenv("RNN_CORPORA", str(tmp_path / "corpora"))
    companion.link_corpora(tmp_path / "data")
    assert (tmp_path / "data" / "robert_frost.txt").read_text("utf-8") == "two roads"


@pytest.mark.slow
@pytest.mark.posix("bash")
@pytest.mark.parametrize("page", companion.pages(), ids=lambda page: page.stem)
def test_a_whole_page_runs_at_reduced_size(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On embedded texts: real ones would take minutes."""
    for name in ("RNN_CORPORA", "NLTK_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RNN_HOME", "")
    found = companion.run_page(page, quick=True)
    assert all(each.code == 0 for each in found)
    parts = [part for part in companion.parts_of(page.read_text("utf-8")) if not part.needs_corpora]
    assert len(found) == len(parts) >= 8
