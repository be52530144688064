"""The command line, one module a verb; `NAMES` is where a new one is registered. No torch is imported here."""

import os
from typing import Annotated

import typer

from rnncli.cli.actions import first_task, tasks_with
from rnncli.cli.screen import note, print_text
from rnncli.cli.verb import Verb, group_of
from rnncli.kernels.compiling import COMPILATION
from rnncli.plugins import Registry
from rnncli.version import __version__

NAMES = (
    "train",
    "generate",
    "score",
    "classify",
    "tag",
    "translate",
    "analogy",
    "embeddings",
    "evaluate",
    "activations",
    "gradients",
    "compare",
    "plot",
    "report",
    "serve",
    "inspect",
    "export",
    "runs",
    "data",
    "bench",
)

VERBS: Registry[Verb] = Registry("rnncli.verbs", Verb, {name: f"{__name__}.{name}:VERB" for name in NAMES})
"""The verbs in the order in which a new user needs them, each imported when it is looked up."""

_writer = tasks_with("generate")[0]
app = typer.Typer(
    name="rnn",
    cls=group_of(lambda: VERBS, "rnn"),
    help="Train, use and explain recurrent networks on text.",
    epilog=f"Example: rnn train {first_task().name}    then: rnn train {_writer.name}    "
    f"then: rnn generate {_writer.called}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        print_text(f"rnn {__version__}")
        raise typer.Exit


def _announce_compilation() -> None:
    from rnncli.training.distributed import is_first

    if is_first():
        note("compiling kernels (once per machine)…")


@app.callback()
def rnn(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train, use and explain recurrent networks on text."""
    del version  # it acted when it was parsed
    if debug:
        os.environ["RNN_DEBUG"] = "1"
    COMPILATION.announce = _announce_compilation
