"""`rnn export`: write a model, or n-grams of its text, for programs without rnn."""

from pathlib import Path
from typing import Annotated

import typer

from rnncli.cli.completing import completion
from rnncli.cli.models import open_model
from rnncli.cli.screen import AsJson, CellCode, From, Named, named, note, print_json, print_text, size
from rnncli.cli.verb import Verb
from rnncli.data.suggested import corpus_names
from rnncli.errors import UsageError


def export(
    run: Named = None,
    onnx: Annotated[Path | None, typer.Option("--onnx", help="An ONNX graph of one step of a language model.")] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="All weights, as safetensors.")] = None,
    torch: Annotated[
        Path | None, typer.Option("--torch", help="The weights as torch.nn.LSTM, GRU or RNN have them, as safetensors.")
    ] = None,
    arpa: Annotated[
        Path | None, typer.Option("--arpa", help="Kneser-Ney n-grams of a language model's training text.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="The voice, for --onnx or --torch of a model of several voices.")
    ] = None,
    order: Annotated[int | None, typer.Option(min=1, help="The length of the n-grams. (default: 5)")] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(help="Another text for the n-grams.", autocompletion=completion(corpus_names)),
    ] = None,
    source: From = None,
    cell: CellCode = None,
    as_json: AsJson = False,
) -> None:
    """Write a model, or n-grams of its text, for programs without rnn: ONNX, safetensors, ARPA; one file or several."""
    files = {"onnx": onnx, "weights": weights, "torch": torch, "arpa": arpa}
    if not any(files.values()):
        raise UsageError(f"name the file to write: {', '.join(f'--{form} FILE' for form in files)}")
    needs_text = bool(onnx or arpa)
    trained = open_model(
        "export",
        named(run, source),
        lambda task: not needs_text or task.token_access is not None,
        cell=cell,
        as_json=as_json,
    )
    exported = trained.export(**files, label=label, order=order, corpus=corpus or ())
    if as_json:
        files_written = [{**each._asdict(), "file": str(each.file)} for each in exported]
        print_json({"task": trained.task, "checkpoint": str(trained.source), "files": files_written})
        return
    note(f"from {trained.source} ({trained.payload['corpus']})")
    for each in exported:
        print_text(f"{each.file}: {size(each.bytes)}; {each.about}")


VERB = Verb(export, "rnn export RUN --onnx model.onnx\nrnn export RUN --weights model.safetensors --arpa model.arpa")
