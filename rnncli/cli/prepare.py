"""`rnn data prepare`: make clean text and shards of token ids from dumps of Wikipedia and other texts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnncli.cli.screen import AsJson, note, print_json, print_text, warn
from rnncli.errors import Interrupted, UsageError
from rnncli.home import data_dir, mark
from rnncli.terminal import counted, progress_bar

if TYPE_CHECKING:
    from rnncli.wikipedia.prepare import Hooks

Dumps = Annotated[
    list[str],
    typer.Argument(metavar="DUMP…", help="pages-articles XML (plain or bz2), text files, or folders of them."),
]
Name = Annotated[str | None, typer.Option("--name", help="Make shards of token ids, in data/NAME.")]
Text = Annotated[Path | None, typer.Option("--text", help="Write the clean text to this folder, one article per line.")]
ByParagraph = Annotated[
    bool, typer.Option("--by-paragraph", help="Make one sequence from each paragraph, not from each sentence.")
]
MaxArticles = Annotated[int | None, typer.Option("--max-articles", min=1, help="Only the first N articles.")]
MaxFiles = Annotated[int | None, typer.Option("--max-files", min=1, help="Only the first N files.")]
MaxWords = Annotated[
    int, typer.Option("--max-words", min=1, help="Number of most frequent words with an id; others become UNKNOWN.")
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes. (default: one per core)")]
KeepGoing = Annotated[bool, typer.Option("--keep-going", help="Keep the readable part of a damaged dump.")]


def prepare_corpus(
    dumps: Dumps,
    name: Name = None,
    text: Text = None,
    by_paragraph: ByParagraph = False,
    max_articles: MaxArticles = None,
    max_files: MaxFiles = None,
    max_words: MaxWords = 1_000_000,
    workers: Workers = None,
    keep_going: KeepGoing = False,
    as_json: AsJson = False,
) -> None:
    """Prepare a dump of Wikipedia, or texts, for training: clean text (--text), shards of token ids (--name), or both.

    The same command continues an interrupted preparation.
    """
    from rnncli.data.shards import Shards
    from rnncli.data.tokenizers import LOOKED_AT, hint_of_unspaced
    from rnncli.wikipedia.dump import find_dump_files
    from rnncli.wikipedia.prepare import Outputs, Settings, loss_summary, prepare, shards_folder
    from rnncli.wikipedia.workers import default_workers

    if name is None and text is None:
        raise UsageError(
            "there is no output: give --name NAME for shards of token ids, --text DIR for clean text, or both"
        )
    outputs = Outputs(None if name is None else shards_folder(name), text)
    sources = find_dump_files(dumps, max_files, exclude=outputs.folders)
    settings = Settings(by_paragraph, max_articles, max_words)
    with _shown(sum(source.size for source in sources)) as hooks:
        facts = prepare(
            sources, outputs, settings, workers=workers or default_workers(), keep_going=keep_going, hooks=hooks
        )
    if name is not None:
        mark(data_dir())
    where = [str(folder) for folder in outputs.folders]
    if outputs.shards is not None and (hint := hint_of_unspaced(Shards.open(outputs.shards).most_frequent(LOOKED_AT))):
        note(f"{facts['name']}: {hint}")
    if as_json:
        print_json(facts | {"data_dir": str(data_dir()), "folders": where})
        return
    if facts["lost"]["first"] is not None:
        warn(loss_summary(facts["lost"]))
    for line in _lines(facts, outputs.shards, outputs.text):
        print_text(line)


def _lines(facts: dict[str, Any], shards: Path | None, text: Path | None) -> Iterator[str]:
    def status(folder: Path) -> str:
        return "prepared" if str(folder) in facts["made"] else "already there"

    articles = counted(facts["articles"], "article")
    if text is not None:
        yield f"{text}: {status(text)} ({articles} of text)"
    if shards is not None:
        sequences = counted(facts["sequences"], "paragraph" if facts["settings"]["by_paragraph"] else "sentence")
        tokens, words = counted(facts["tokens"], "token"), counted(facts["vocabulary"]["words"], "word")
        rarer = facts["vocabulary"]["left_out"]
        left = f", {counted(rarer, 'rarer word')} left to UNKNOWN" if rarer else ""
        yield f"{facts['name']}: {status(shards)} ({shards}: {articles}, {sequences}, {tokens}, {words}{left})"


@contextmanager
def _shown(total: int) -> "Iterator[Hooks]":
    """Hooks that draw a bar on standard error during the work, and stop it after a signal."""
    from rnncli.training.interrupts import noted_interrupts
    from rnncli.wikipedia.prepare import Hooks

    class Shown(Hooks):
        count = 0
        bar: Any = None

        def progress(self, size: int, articles: int) -> None:
            if self.bar is None:
                self.bar = progress_bar(total, "B", scaled=True)
            self.count += articles
            self.bar.set_postfix_str(f"{self.count:,} articles", refresh=False)
            self.bar.update(size)

        def check(self) -> None:
            if interrupts.received:
                raise Interrupted("stopped: the same command continues from here", interrupts.received)

    with noted_interrupts() as interrupts:
        shown = Shown()
        try:
            yield shown
        finally:
            if shown.bar is not None:
                shown.bar.close()
