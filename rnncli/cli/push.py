"""`rnn push`: upload a run to a Hugging Face hub."""

from typing import Annotated

import typer

from rnncli.cli.completing import complete_run
from rnncli.cli.screen import AsJson, note, print_json, print_text, size
from rnncli.cli.verb import Verb


def push(
    name: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's name, TASK/RUN or folder.", autocompletion=complete_run)
    ],
    repo: Annotated[str, typer.Argument(metavar="REPO", help="OWNER/NAME on the hub; made if it is not there.")],
    public: Annotated[bool, typer.Option("--public", help="Let everyone read it; by default it is private.")] = False,
    as_json: AsJson = False,
) -> None:
    """Upload a run's best model, its metrics and a model card to a Hugging Face hub, after `hf auth login`."""
    from rnncli.hub import push as upload
    from rnncli.training.runs import run_of

    run = run_of(name)
    pushed = upload(run, repo, public=public)
    if as_json:
        print_json({"task": run.task, "run": run.name, **pushed._asdict()})
        return
    files = ", ".join(f"{file} ({size(count)})" for file, count in pushed.files.items())
    note(f"{run.task}/{run.name}: {files}; {'private' if pushed.private else 'public'}")
    print_text(pushed.url)


VERB = Verb(push, "rnn push my-run me/my-model")
