"""`rnn pull`: make a run from a repository of a Hugging Face hub."""

from typing import Annotated

import typer

from rnncli.cli.screen import AsJson, note, print_json, print_text
from rnncli.cli.verb import Verb


def pull(
    repo: Annotated[str, typer.Argument(metavar="REPO", help="OWNER/NAME on the hub, written by `rnn push`.")],
    name: Annotated[str | None, typer.Option(help="The run's name. (default: the repository's)")] = None,
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit. (default: the newest)")] = None,
    as_json: AsJson = False,
) -> None:
    """Download a run that was pushed to a Hugging Face hub, verify it, and save it with your own runs."""
    from rnncli.hub import pull as download

    pulled = download(repo, name=name, revision=revision)
    run = pulled.run
    if as_json:
        facts = {"task": run.task, "run": run.name, "folder": str(run.folder)}
        print_json({**facts, **{key: value for key, value in pulled._asdict().items() if key != "run"}})
        return
    note(f"{pulled.repo} at {pulled.revision}; SHA-256 {pulled.sha256} verified")
    if pulled.cell:
        note(f"its cell {pulled.cell} is from outside: name its code by --cell PATH.py:{pulled.cell}")
    print_text(f"{run.task}/{run.name}")


VERB = Verb(pull, "rnn pull me/my-model")
