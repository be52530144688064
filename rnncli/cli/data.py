"""`rnn data`: list the corpora, download those that are missing, and prepare dumps."""

from typing import Annotated

import typer

from rnncli.cli.completing import completion
from rnncli.cli.prepare import prepare_corpus
from rnncli.cli.screen import AsJson, print_json, print_table, print_text
from rnncli.cli.verb import Verb
from rnncli.data.corpora import CORPORA, registered
from rnncli.data.sources import AnyEntry, Builtin
from rnncli.home import data_dir


def list_corpora(as_json: AsJson = False) -> None:
    """List the registered corpora: contents, size, source, licence, and whether each is here."""
    if as_json:
        print_json(_answer([_facts(source) for source in CORPORA.values()]))
        return
    rows = [
        (each.name, f"{each.what}\n{each.source}: {each.licence}", each.size, _state(each)) for each in CORPORA.values()
    ]
    print_table(["corpus", "what, source: licence", "bytes", "here"], rows)
    print_text(
        f"`rnn data get NAME` downloads what is missing to {data_dir().absolute()} (RNN_HOME sets the folder above it)."
    )


def get_corpora(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME", help="Names from `rnn data list`.", autocompletion=completion(CORPORA)),
    ],
    as_json: AsJson = False,
) -> None:
    """Download corpora by name, and check their size and SHA-256; continues an interrupted download.

    Corpora that are already there, or come with rnn, stay unchanged.
    """
    facts = []
    for source in [registered(name) for name in names]:  # all names are checked before any download
        status = source.fetch()
        facts.append(_facts(source) | {"status": status})
        if not as_json:
            print_text(f"{source.name}: {status} ({source.origin}, {source.size:,} bytes)")
    if as_json:
        print_json(_answer(facts))


def _facts(source: AnyEntry) -> dict[str, object]:
    return {
        "name": source.name,
        "what": source.what,
        "bytes": source.size,
        "source": source.source,
        "licence": source.licence,
        "here": source.here(),
        "origin": source.origin,
        "get": None if isinstance(source, Builtin) or source.complete() else f"rnn data get {source.name}",
    }


def _state(source: AnyEntry) -> str:
    if isinstance(source, Builtin):
        return source.origin
    return "yes" if source.complete() else "in part" if source.here() else "no"


def _answer(corpora: list[dict[str, object]]) -> dict[str, object]:
    return {"data_dir": str(data_dir()), "corpora": corpora}


VERB = Verb(
    example="rnn data get frost poe",
    help="List the corpora that rnn knows, download them, and prepare dumps of Wikipedia.",
    commands=lambda: {
        "list": Verb(list_corpora, "rnn data list --json"),
        "get": Verb(get_corpora, "rnn data get frost poe"),
        "prepare": Verb(prepare_corpus, "rnn data prepare enwiki-pages-articles.xml.bz2 --name enwiki"),
    },
)
