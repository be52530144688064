"""`rnn data`: which corpora there are, where they lie, getting those that are not here yet, and preparing dumps."""

from typing import Annotated

import typer

from rnncli.cli.prepare import prepare_corpus
from rnncli.cli.screen import AsJson, print_json, print_table
from rnncli.data.corpora import CORPORA, registered
from rnncli.data.sources import Builtin, Source
from rnncli.home import data_dir

verb = typer.Typer(
    help="List the corpora that rnn knows by name, download them, and prepare dumps of Wikipedia.",
    epilog="Example: rnn data get frost poe",
    no_args_is_help=True,
)


@verb.command("list", epilog="Example: rnn data list --json")
def list_corpora(as_json: AsJson = False) -> None:
    """List the registered corpora: what each is, its size, and whether it is here or how to get it."""
    if as_json:
        print_json(_answer([_facts(source) for source in CORPORA.values()]))
        return
    rows = [(source.name, source.what, source.size, _state(source)) for source in CORPORA.values()]
    print_table(["corpus", "what", "bytes", "here"], rows)
    typer.echo(f"Downloads go to {data_dir().absolute()} (set RNN_HOME to choose the folder above it).")


@verb.command("get", epilog="Example: rnn data get frost poe")
def get_corpora(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names from `rnn data list`.")],
    as_json: AsJson = False,
) -> None:
    """Download corpora by name, checked by size and SHA-256; a download that was cut goes on.

    What is already there, or comes with rnn, is left alone.
    """
    facts = []
    for source in [registered(name) for name in names]:  # all names are checked before any download
        status = source.fetch()
        facts.append(_facts(source) | {"status": status})
        if not as_json:
            typer.echo(f"{source.name}: {status} ({source.origin}, {source.size:,} bytes)")
    if as_json:
        print_json(_answer(facts))


verb.command("prepare", epilog="Example: rnn data prepare enwiki-pages-articles.xml.bz2 --name enwiki")(prepare_corpus)


def _facts(source: Source) -> dict[str, object]:
    return {
        "name": source.name,
        "what": source.what,
        "bytes": source.size,
        "here": source.here(),
        "origin": source.origin,
        "get": None if source.here() else _command(source),
    }


def _state(source: Source) -> str:
    if isinstance(source, Builtin):
        return source.origin
    return "yes" if source.here() else f"no: {_command(source)}"


def _command(source: Source) -> str:
    return f"rnn data get {source.name}"


def _answer(corpora: list[dict[str, object]]) -> dict[str, object]:
    return {"data_dir": str(data_dir()), "corpora": corpora}
