"""The book's companion, run: every command and program of docs/book/, in order, with its figures and seconds.

The pages are the only list of commands. In a block without a language, a line that begins with `$` is a command; a
backslash at its end joins the next line. A block in `python` is a program. Each page runs in an empty folder.
A command that names $RNN_CORPORA needs the folder of real corpora; without it the command is left out, by name, and
tasks learn from embedded texts.
Run: python benchmarks/companion.py [chapter-2 …] [--quick]
"""

import argparse
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, chdir, redirect_stdout
from pathlib import Path
from traceback import print_exc
from typing import NamedTuple

from rnncli.__main__ import run

PAGES = Path(__file__).parents[1] / "docs" / "book"
CORPORA = "RNN_CORPORA"
SHELL = re.compile(r"[|<>$*;]")
SMALL = {
    "train": "--epochs 1 --max-time 0.2",
    "train poetry-classify": "--epochs 1 --max-time 0.2 --ensemble 1",
    "compare": "--epochs 1 --max-time 0.2 --seeds 1",
    "gradients": "--length 12",
    "activations": "--max-tokens 40",
}
"""Flags that make a verb, or a verb with a task, short: for `--quick`."""


ENDED = (130, 143)
"""Exit codes after Ctrl-C and SIGTERM, which end the program."""


class Part(NamedTuple):
    """A command or a program of a page, and the heading above it."""

    heading: str
    text: str
    is_program: bool = False

    @property
    def verb(self) -> str:
        """The verb of `rnn`, or nothing."""
        words = self.text.split()
        return words[1] if words[0] == "rnn" and not self.is_program else ""

    @property
    def needs_corpora(self) -> bool:
        return f"${CORPORA}" in self.text

    def small(self) -> "Part":
        """The same with little training: programs make two rounds of a long loop, and write two lines."""
        if self.is_program:
            return self._replace(text=re.sub(r"(range\(|lines=)\d{3,}", r"\g<1>2", self.text))
        flags = SMALL.get(" ".join(self.text.split()[1:3]), SMALL.get(self.verb, "")) if self.verb else ""
        command, either, rest = self.text.partition(" || ")
        return self._replace(text=f"{command} {flags}{either}{rest}") if flags else self


class Ran(NamedTuple):
    """The exit code of a part, its output, and its seconds: by the clock, and of processors."""

    code: int
    out: str
    seconds: float
    processor: float


def pages() -> list[Path]:
    """The chapters in their order, then the tutorials."""
    return sorted(PAGES.glob("*.md"))


def parts_of(page: str) -> Iterator[Part]:
    """The commands and programs of a page, in order."""
    heading = ""
    for title, language, block in re.findall(r"^#+ ([^\n]+)$|^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        heading = title or heading
        if language == "python":
            yield Part(heading, block, is_program=True)
        elif not language:
            for command in re.findall(r"^\$ (.*)$", block.replace("\\\n", ""), re.MULTILINE):
                yield Part(heading, " ".join(command.split()))


def run_part(part: Part) -> Ran:
    """Run a part in the current folder; Ctrl-C ends it."""
    out, before, busy = io.StringIO(), time.perf_counter(), processor_seconds()
    try:
        with redirect_stdout(out):
            code = run_text(part)
    except KeyboardInterrupt:
        code = ENDED[0]
    return Ran(code, out.getvalue(), time.perf_counter() - before, processor_seconds() - busy)


def run_text(part: Part) -> int:
    """Run a program and `rnn` in this process, other commands by the shell; the exit code."""
    if part.is_program:
        return run_program(part.text)
    if part.verb and not SHELL.search(part.text):
        return run(shlex.split(part.text)[1:])
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where `rnn` is
    done = subprocess.run(
        ["bash", "-c", part.text],
        env={**os.environ, "PATH": paths},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
    sys.stdout.write(done.stdout)
    return done.returncode


def processor_seconds() -> float:
    """Seconds of processors that this process and those it started have used."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def run_program(text: str) -> int:
    """Run a program of a page; an error is part of its output."""
    try:
        exec(compile(text, "program", "exec"), {})
    except Exception:
        print_exc(file=sys.stdout)
        return 1
    return 0


def link_corpora(data: Path) -> None:
    """Fill the folder of corpora with links to the real ones, if they are here."""
    data.mkdir()
    if CORPORA in os.environ:
        for each in Path(os.environ[CORPORA]).iterdir():
            (data / each.name).symlink_to(each)


def run_page(page: Path, quick: bool) -> list[Ran]:
    """Run a page's parts in an empty folder, and print each with its output and seconds."""
    found = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        stack.enter_context(chdir(folder))
        os.environ["RNN_HOME"] = str(folder)
        link_corpora(folder / "data")
        for part in parts_of(page.read_text("utf-8")):
            print(f"\n{part.heading}\n" + ("(a program)" if part.is_program else f"$ {part.text}"), flush=True)
            if part.needs_corpora and CORPORA not in os.environ:
                print(f"left out: needs {CORPORA}, the folder of real corpora")
                continue
            found.append(run_part(part.small() if quick else part))
            print(
                f"{found[-1].out.rstrip()}\n[{found[-1].seconds:.1f} s, {found[-1].processor:.1f} of processors]",
                flush=True,
            )
            if found[-1].code:
                print(f"failed with exit code {found[-1].code}; the rest of the page is left out")
                break
    if found and found[-1].code in ENDED:
        sys.exit(found[-1].code)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", help="Names of pages, such as chapter-2 (default: all)")
    parser.add_argument("--quick", action="store_true", help="Train each net for a moment: shows that all runs")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="os.fork")
    corpora = f"embedded corpora ({CORPORA} is not set)"
    if not os.environ.get(CORPORA):
        os.environ.pop(CORPORA, None)
    else:
        folder = Path(os.environ[CORPORA]).absolute()
        if not folder.is_dir():
            parser.error(f"{CORPORA}: {folder} is no folder")
        os.environ[CORPORA], corpora = str(folder), f"real corpora of {folder}"
    by_name = {page.stem: page for page in pages()}
    for name in set(arguments.pages) - set(by_name):
        parser.error(f"{name} is no page: choose from {', '.join(by_name)}")
    print(f"companion on {corpora}")
    chosen = [by_name[name] for name in arguments.pages or by_name]
    ran = {page.stem: run_page(page, arguments.quick) for page in chosen}
    print("\n| page | parts | failed | seconds | of processors |\n| --- | --- | --- | --- | --- |")
    whole = [each for found in ran.values() for each in found]
    for name, parts in {**ran, "all": whole}.items():
        failed = sum(each.code != 0 for each in parts)
        seconds, processor = sum(each.seconds for each in parts), sum(each.processor for each in parts)
        print(f"| {name} | {len(parts)} | {failed} | {seconds:.0f} | {processor:.0f} |")
    sys.exit(any(each.code for each in whole))


if __name__ == "__main__":
    main()
