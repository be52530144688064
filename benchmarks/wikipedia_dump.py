"""How fast, in how much memory and how cleanly is a dump prepared? Times `rnn data prepare` and wikiextractor.

Makes a dump of 20 copies of a sample's pages (multistream bz2, 100 pages per stream) in a temporary folder. Times, in
turns, decoding only on two threads, `prepare --text`, `prepare --name`, and wikiextractor 3.1.0 `--no-templates
--processes 2`; the best round counts. Memory is the peak over all processes of a command (proportional set size,
sampled). Then compares the quality of both on the sample itself.
Run: python benchmarks/wikipedia_dump.py SAMPLE.xml.bz2 [--wikiextractor PROGRAM] [--copies 20] [--rounds 3]
"""

import argparse
import bz2
import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

RNN = [sys.executable, "-m", "rnncli", "data", "prepare"]
MARKUP = ("[[", "]]", "{{", "}}", "{|", "|}", "<ref", "</", "&nbsp;", "&lt;", "&amp;", "'''", "''", "|", "==", "()")
"""Signs of markup that was left in a text."""


class Cost(NamedTuple):
    """The cost of a command."""

    seconds: float
    cpu: float  # seconds of all its processes together
    megabytes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sample", type=Path)
    parser.add_argument("--wikiextractor", default=shutil.which("wikiextractor"))
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["RNN_HOME"] = name
        dump = folder / "dump.xml.bz2"
        size = make_dump(arguments.sample, dump, arguments.copies)
        twice = folder / "twice.xml.bz2"
        make_dump(arguments.sample, twice, 2 * arguments.copies)
        single = folder / "single.xml.bz2"
        single.write_bytes(bz2.compress(bz2.decompress(dump.read_bytes())))
        print(f"dump: {size / 1e6:.1f} MB of XML, {dump.stat().st_size / 1e6:.1f} MB as bz2", flush=True)
        rows = {
            "prepare --text": [*RNN, str(dump), "--text", str(folder / "out")],
            "prepare --name": [*RNN, str(dump), "--name", "out"],
            "prepare --name, twice the dump": [*RNN, str(twice), "--name", "out"],
            "prepare --name, one bz2 stream": [*RNN, str(single), "--name", "out"],
        }
        if arguments.wikiextractor:
            rows["wikiextractor --no-templates --processes 2"] = extractor(
                arguments.wikiextractor, dump, folder / "out"
            )
        costs: dict[str, list[Cost]] = {row: [] for row in rows}
        decoding = []
        for _ in range(arguments.rounds):
            decoding.append(decode_on_two_threads(dump))
            for row, command in rows.items():
                costs[row].append(measured(command))
                for out in (folder / "out", folder / "data"):
                    shutil.rmtree(out, ignore_errors=True)
        print("| what | seconds (best) | all rounds | CPU seconds (best) | peak MB |\n| --- | --- | --- | --- | --- |")
        show("bz2 decoding only, two threads", decoding)
        for row, each in costs.items():
            show(row, each)
        if arguments.wikiextractor:
            compare_quality(arguments.sample, arguments.wikiextractor, folder)


def show(row: str, costs: list[Cost]) -> None:
    """Print a row of the table."""
    seconds = [cost.seconds for cost in costs]
    rounds = ", ".join(f"{each:.1f}" for each in seconds)
    cpu, memory = min(cost.cpu for cost in costs), max(cost.megabytes for cost in costs)
    print(f"| {row} | {min(seconds):.1f} | {rounds} | {cpu:.1f} | {f'{memory:.0f}' if memory else ''} |", flush=True)


def make_dump(sample: Path, target: Path, copies: int) -> int:
    """Write a multistream dump of N copies of the sample's pages; returns the bytes of XML in it."""
    xml = bz2.decompress(sample.read_bytes())
    begin, end = xml.index(b"  <page>"), xml.rindex(b"</mediawiki>")
    pages = re.findall(rb"  <page>.*?</page>\n", xml[begin:end], re.DOTALL)
    streams = [bz2.compress(b"".join(pages[at : at + 100])) for at in range(0, len(pages), 100)]
    with target.open("wb") as file:
        file.write(bz2.compress(xml[:begin]))
        for _ in range(copies):
            file.writelines(streams)
        file.write(bz2.compress(xml[end:]))
    return begin + copies * sum(map(len, pages)) + len(xml) - end


def decode_on_two_threads(dump: Path) -> Cost:
    """The cost of decoding every stream."""
    data = dump.read_bytes()
    starts = [found.start() for found in re.finditer(rb"BZh91AY&SY", data)]
    began, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(2) as threads:
        for _ in threads.map(
            lambda at: bz2.decompress(data[at[0] : at[1]]), zip(starts, [*starts[1:], len(data)], strict=True)
        ):
            pass
    return Cost(time.perf_counter() - began, time.process_time() - cpu, 0)


def extractor(program: str, dump: Path, out: Path) -> list[str]:
    return [program, "--no-templates", "--processes", "2", "--json", "-q", "-o", str(out), str(dump)]


def measured(command: list[str]) -> Cost:
    """Run a command to completion."""
    began, before = time.perf_counter(), cpu_of_children()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(memory, family(process.pid))))
        time.sleep(0.05)
    seconds = time.perf_counter() - began
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{errors}")
    return Cost(seconds, cpu_of_children() - before, peak / 1e6)


def cpu_of_children() -> float:
    """CPU seconds of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for member in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{member}/task").iterdir():
                found.extend(map(int, (task / "children").read_text().split()))
    return found


def memory(pid: int) -> int:
    """Bytes of a process; shared memory is divided among its processes."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def compare_quality(sample: Path, program: str, folder: Path) -> None:
    """Markup left per million characters, and words, in both texts of the sample."""
    measured([*RNN, str(sample), "--text", str(folder / "ours")])
    measured(extractor(program, sample, folder / "theirs"))
    texts = {
        "rnn": read(folder / "ours", "articles-*.jsonl"),
        "wikiextractor": read(folder / "theirs", "*/wiki_*"),
    }
    headings = headings_of(sample)
    texts["wikiextractor"] = {
        title: "\n".join(line for line in text.split("\n") if line.rstrip(".") not in headings[title])
        for title, text in texts["wikiextractor"].items()
    }
    print("\n| the sample's text, headings aside | articles | characters | words | markup per million characters |")
    print("| --- | --- | --- | --- | --- |")
    for name, articles in texts.items():
        text = "\n".join(articles.values())
        left = sum(text.count(mark) for mark in MARKUP) / len(text) * 1e6
        print(f"| {name} | {len(articles)} | {len(text):,} | {len(words(text)):,} | {left:.1f} |")
    ours, theirs = (Counter(words("\n".join(articles.values()))) for articles in texts.values())
    print(f"\nof wikiextractor's words {(ours & theirs).total() / theirs.total():.2%} are in rnn's text")


def headings_of(sample: Path) -> dict[str, set[str]]:
    """The headings of each page of a dump."""
    xml = bz2.decompress(sample.read_bytes()).decode()
    pages = re.findall(r"<title>([^<]*)</title>.*?<text[^>]*>(.*?)</text>", xml, re.DOTALL)
    return {
        title.replace("&amp;", "&").replace("&quot;", '"'): {
            heading.strip().replace("''", "") for heading in re.findall(r"^=+([^\n]*?)=+[^\n=]*$", text, re.MULTILINE)
        }
        for title, text in pages
    }


def read(folder: Path, pattern: str) -> dict[str, str]:
    """Articles by title."""
    lines = [line for file in sorted(folder.glob(pattern)) for line in file.read_text("utf-8").split("\n") if line]
    records = [json.loads(line) for line in lines]
    return {record["title"]: record["text"] for record in records}


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


if __name__ == "__main__":
    main()
