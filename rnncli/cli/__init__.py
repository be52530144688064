"""The command line, one module per verb; a new verb is registered in `SUMMARIES`. Nothing here imports torch."""

import os
from pathlib import Path
from typing import Annotated

import typer

from rnncli.cli.helped import HELP_NAMES
from rnncli.cli.screen import note, print_text
from rnncli.cli.verb import Later, Verb, group_of
from rnncli.home import begin
from rnncli.kernels.compiling import COMPILATION
from rnncli.plugins import Registry
from rnncli.tasks import FIRST_STEPS
from rnncli.version import __version__

SUMMARIES = {
    "train": "Train a model of a task.",
    "generate": "Write new text.",
    "score": "Score texts by a language model, token by token.",
    "classify": "Label texts, and color the words that decided.",
    "tag": "Label every word of a sentence.",
    "translate": "Translate sentences.",
    "analogy": "Find D where A is to B as C is to D.",
    "embeddings": "Look at word vectors, import and export them.",
    "evaluate": "Measure a trained model.",
    "activations": "Show what the units of a net do on a text.",
    "gradients": "Show how a gradient vanishes or explodes over time.",
    "compare": "Train a task with several cells, and compare them.",
    "plot": "Draw losses and metrics of runs.",
    "report": "Put a run on one page: curves, samples, units.",
    "serve": "Serve a run's page on this machine, where it writes.",
    "inspect": "Show what a checkpoint holds.",
    "export": "Write a model for other programs: ONNX, weights, n-grams.",
    "push": "Upload a run to a Hugging Face hub.",
    "pull": "Download a run from a Hugging Face hub.",
    "runs": "List trained runs, delete them, or make them smaller.",
    "data": "List, download and prepare corpora.",
    "check-cell": "Check a cell of your own: shapes, gradients, padding, speed.",
    "bench": "Measure speed on this machine.",
    "help": "Print the help of a verb or a task.",
    "version": "Print the version.",
}
"""Our own verbs in the order in which a new user needs them, each with its line of `rnn --help`."""

VERBS: Registry[Verb] = Registry(
    "rnncli.verbs", Verb, {name: f"{__name__}.{name.replace('-', '_')}:VERB" for name in SUMMARIES}
)
"""All verbs by name, each imported when it is looked up."""


def _summary_of(name: str) -> str:
    return SUMMARIES[name] if VERBS.is_pending(name) else VERBS[name].summary


app = typer.Typer(
    name="rnn",
    cls=group_of(lambda: Later(VERBS, VERBS.__getitem__, _summary_of), "rnn"),
    help="Train, use and explain recurrent networks on text.",
    epilog=FIRST_STEPS,
    context_settings={"help_option_names": HELP_NAMES},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(requested: bool) -> None:
    if requested:
        print_text(f"rnn {__version__}")
        raise typer.Exit


def _announce_compilation() -> None:
    from rnncli.training.distributed import is_first

    if is_first():
        note("compiling kernels (once per machine)…")


def _announce_home(home: Path) -> None:
    if os.environ.get("RANK", "0") == "0":
        note(f"home {home}: the nearest folder that rnn has written to (RNN_HOME=. means this one)")


@app.callback()
def rnn(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train, use and explain recurrent networks on text."""
    del version  # its callback has run already
    if debug:
        os.environ["RNN_DEBUG"] = "1"
    COMPILATION.announce = _announce_compilation
    begin(_announce_home)
