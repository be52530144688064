"""The command line, one module a verb; `NAMES` is where a new one is registered. No torch is imported here."""

import os
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rnncli.cli.actions import first_task, tasks_with
from rnncli.cli.screen import note, print_text
from rnncli.kernels.compiling import COMPILATION
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

MODULES = {name: import_module(f"{__name__}.{name}") for name in NAMES}
VERBS: dict[str, typer.Typer | Callable[..., None]] = {name: module.verb for name, module in MODULES.items()}


class InOrder(TyperGroup):
    """Lists the verbs in the order of `VERBS`, that in which a new user needs them."""

    def list_commands(self, _ctx: Any) -> list[str]:
        return list(VERBS)


_writer = tasks_with("generate")[0]
app = typer.Typer(
    name="rnn",
    cls=InOrder,
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


for _name, _verb in VERBS.items():
    if isinstance(_verb, typer.Typer):
        app.add_typer(_verb, name=_name)
    else:
        app.command(_name, epilog=f"Example: {MODULES[_name].EXAMPLE}")(_verb)
