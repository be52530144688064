"""The word vectors that a verb works on: those of a file or of a trained model."""

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

import rnncli
from rnncli.cli.screen import note
from rnncli.errors import UsageError

if TYPE_CHECKING:
    from rnncli.data.vectors import WordVectors

File = Annotated[
    str | None, typer.Option("--vectors", help="A file of word vectors, or an imported name, instead of a model.")
]
Layer = Annotated[
    str | None,
    typer.Option(
        help="The layer of the vectors: input or output. (default: the better one)",
        autocompletion=lambda incomplete: [each for each in ("input", "output") if each.startswith(incomplete)],
    ),
]


class Known(NamedTuple):
    """Word vectors, and their origin."""

    vectors: "WordVectors"
    source: str
    layer: str | None  # of a model; None for a file
    corpus: str | None

    @property
    def facts(self) -> dict[str, Any]:
        """Their origin and size, for JSON."""
        V, D = self.vectors.matrix.shape
        return {"vectors": self.source, "layer": self.layer, "corpus": self.corpus, "words": V, "size": D}


def known_vectors(model: str | None, file: str | None, layer: str | None, cell: str | None = None) -> Known:
    """The vectors that `--from`, `--vectors` and `--layer` select; prints their origin on standard error.

    Raises UsageError if the flags contradict each other, and as `read_vectors`, `load` and `of_model`.
    """
    if file is not None:
        if any(each is not None for each in (model, layer, cell)):
            flags = "--from, --layer and --cell"
            raise UsageError(f"--vectors names a file, {flags} select a model: give one or the other")
        known = _of_file(file)
    else:
        known = _of_model(model, layer, cell)
    V, D = known.vectors.matrix.shape
    kind = f", {known.layer} layer" if known.layer else ""
    note(f"from {known.source}{f' ({known.corpus})' if known.corpus else ''}{kind}: {V:,} words, D {D:,}")
    return known


def _of_file(spec: str) -> Known:
    from rnncli.data.vectors import find_vectors, read_vectors

    file = find_vectors(spec)
    return Known(read_vectors(file), str(file), None, None)


def _of_model(source: str | None, layer: str | None, cell: str | None) -> Known:
    from rnncli.analysis.vectors import default_layer

    device = "cpu"  # numpy computes with them
    trained = rnncli.load(source, suits=lambda task: task.word_vectors > 0, device=device, cell=cell)
    layer = layer or default_layer(trained)
    return Known(trained.vectors(layer), str(trained.source), layer, trained.payload.get("corpus"))
