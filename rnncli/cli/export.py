"""`rnn export`: write a model for programs without rnn."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rnncli.cli.models import open_model
from rnncli.cli.screen import AsJson, CellCode, From, Named, named, note, print_json, print_text, size
from rnncli.cli.verb import Verb
from rnncli.errors import UsageError


def export(
    run: Named = None,
    onnx: Annotated[Path | None, typer.Option("--onnx", help="Write an ONNX graph of one step to this file.")] = None,
    label: Annotated[str | None, typer.Option("--label", help="The voice, for a model of several voices.")] = None,
    source: From = None,
    cell: CellCode = None,
    as_json: AsJson = False,
) -> None:
    """Write a language model's step, with its state and its vocabulary, as an ONNX file, checked by onnxruntime."""
    if onnx is None:
        raise UsageError("name the file to write: --onnx FILE")
    from rnncli.files import write_file
    from rnncli.language.voices import label_number
    from rnncli.models.language_model import LanguageModel
    from rnncli.models.onnx_step import check_onnx, export_step

    check_onnx()
    trained = open_model(
        "export", named(run, source), lambda task: task.token_access is not None, cell=cell, as_json=as_json
    )
    net: Any = trained.model
    if not isinstance(net, LanguageModel):
        raise UsageError(f"{trained.source} is a model of {trained.task}: --onnx exports language models")
    voice = label_number(trained, label)
    kept = {name: trained.payload[name] for name in ("vocabulary", "tokenizer", "bpe") if name in trained.payload}
    written, difference = export_step(net, {"task": trained.task, "cell": trained.config.label, **kept}, voice)
    write_file(onnx, written)
    facts = {"checkpoint": str(trained.source), "file": str(onnx), "bytes": len(written), "difference": difference}
    if as_json:
        print_json(facts)
        return
    note(f"from {trained.source} ({trained.payload['corpus']})")
    print_text(f"{onnx}: {size(len(written))}; onnxruntime gives the same numbers within {difference:.1g}")


VERB = Verb(export, "rnn export RUN --onnx model.onnx")
