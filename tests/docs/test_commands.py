"""Command lines on the pages: every command and flag that they show exists. Nothing is run."""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from support.markdown import PAGES, ROOT, blocks, name_of, spans

from rnncli.cli import app

pytestmark = pytest.mark.no_backend

EXAMPLES = {("best",), ("train", "first"), ("evaluate", "first")}
"""The verb and the task that CONTRIBUTING writes."""


OF_TORCHRUN = ("--gpus-per-node", "--max-restarts", "--nnodes", "--nproc-per-node")
TAKES_RUNS = ("evaluate", "generate")
"""Verbs with commands in whose place a run's name may stand."""


@pytest.fixture(scope="module")
def root() -> Any:
    """The context of `rnn`, below which all commands are built."""
    command: Any = typer.main.get_command(app)
    return command.make_context("rnn", [], resilient_parsing=True)


def shown(page: Path) -> Iterator[tuple[int, list[str]]]:
    """Line and words of every `rnn …` in blocks and code spans, with each of several alternatives."""
    for block in blocks(page):
        if block.language not in ("", "console", "bash", "sh"):
            continue
        for number, line in enumerate(re.sub(r"\\\n", " ", block.text).splitlines()):
            if found := re.match(r"(?:\$ )?(?:torchrun .*-m rnncli|rnn)(?: (.*))?$", line):
                yield from ((block.line + number, words) for words in alternatives(found.group(1) or ""))
    for line, span in spans(page):
        if found := re.match(r"(?:torchrun .*-m rnncli|rnn) (.*)", span):
            yield from ((line, words) for words in alternatives(found.group(1)))


def alternatives(text: str) -> Iterator[list[str]]:
    """The words up to a comment, a pipe or a redirection; `a|b` gives two command lines."""
    text = re.sub(r"(--\S+) …", r"\1 X", re.split(r" [|>&<]| #|;", text)[0])  # the value of a flag
    words = [word.removesuffix("…") for word in shlex.split(text) if word not in ("…", "...")]
    if several := next((word for word in words if re.fullmatch(r"[\w-]+(\|[\w-]+)+", word)), None):
        for one in several.split("|"):
            yield [one if word is several else word for word in words]
    else:
        yield words


def fault(context: Any, words: Sequence[str]) -> str | None:
    """The fault of a command line, or None; a run's name may stand for any command below."""
    command = context.command
    if not hasattr(command, "list_commands"):
        return fault_of_flags(context, words)
    if not words or (fault_of_flags(context, words[:1]) is None and words[0].startswith("-")):
        return None
    if command.get_command(context, words[0]) is not None:
        return fault(below(context, words[0]), words[1:])
    if words[0].isupper() or words[0].startswith("-") or context.info_name in TAKES_RUNS:
        rest = words if words[0].startswith("-") else words[1:]
        faults = [fault(below(context, name), rest) for name in command.list_commands(context)]
        return None if None in faults else faults[0]
    return f"there is no {words[0]!r} below {context.command_path!r}"


def below(context: Any, name: str) -> Any:
    return context.command.get_command(context, name).make_context(name, [], parent=context, resilient_parsing=True)


def fault_of_flags(context: Any, words: Sequence[str]) -> str | None:
    """Parse flags by their names; a flag at the end may lack its value, as in a sentence about it."""
    parser = context.command.make_parser(context)
    context.resilient_parsing = False
    try:
        faults = []
        for given in ([*words], [*words, "X"]):
            try:
                _, rest, _ = parser.parse_args(args=given)
            except Exception as error:
                faults.append(str(error))
                continue
            arguments = [each for each in context.command.params if each.param_type_name == "argument"]
            takes = sum(each.nargs for each in arguments) if all(each.nargs > 0 for each in arguments) else len(rest)
            if len(rest) <= takes or hasattr(context.command, "list_commands"):
                return None
            faults.append(f"{context.command_path} takes {takes} arguments, not {rest}")
        return faults[0]
    finally:
        context.resilient_parsing = True


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name_of)
def test_commands_of_a_page_exist(page: Path, root: Any) -> None:
    faults = []
    for line, words in shown(page):
        known = (tuple(words[:1]) in EXAMPLES or tuple(words[:2]) in EXAMPLES) and page.name == "CONTRIBUTING.md"
        if not known and (found := fault(root, words)):
            faults.append(f"{name_of(page)}:{line}: rnn {' '.join(words)}: {found}")
    assert faults == []


def test_flags_in_sentences_exist(root: Any) -> None:
    """A span that begins with a flag names one of some command, of torchrun, or of a program in benchmarks/."""
    programs = "".join(file.read_text("utf-8") for file in (ROOT / "benchmarks").glob("*.py"))
    known = {*flags(root), *re.findall(r'add_argument\("(--[a-z-]+)"', programs), *OF_TORCHRUN, "--no-unit-vectors"}
    faults = []
    for page in PAGES:
        if page.name == "CHANGELOG.md":  # which names earlier flags too
            continue
        for line, span in spans(page):
            for flag in re.findall(r"(?:^|(?<=\s))--[a-z][a-z0-9-]*", span) if span.startswith("--") else ():
                if flag not in known:
                    faults.append(f"{name_of(page)}:{line}: {flag}")
    assert faults == []


def flags(context: Any) -> Iterator[str]:
    for param in context.command.get_params(context):
        yield from (*param.opts, *param.secondary_opts)
    if hasattr(context.command, "list_commands"):
        for name in context.command.list_commands(context):
            yield from flags(below(context, name))


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("train parity --hidden 8", None),
        ("train parity --hiden 8", "--hiden"),
        ("train pariti --hidden 8", "pariti"),
        ("train TASK --name NAME", None),
        ("generate char|poetry --temperature", None),
        ("generate RUN --lines 2 --nonsense", "--nonsense"),
        ("runs delete mine", None),
        ("vanish", "vanish"),
        ("version now", "takes 0 arguments"),
    ],
)
def test_wrong_commands_are_found(line: str, wanted: str | None, root: Any) -> None:
    faults = [fault(root, words) for words in alternatives(line)]
    assert faults == [None] * len(faults) if wanted is None else wanted in str(faults[0])
