"""The word vectors that a verb works on: those of a file or of a trained model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from rnncli.cli.completing import completion
from rnncli.cli.models import open_model
from rnncli.cli.screen import note
from rnncli.errors import UsageError

if TYPE_CHECKING:
    from rnncli.api import Model
    from rnncli.data.vectors import WordVectors

File = Annotated[
    str | None, typer.Option("--vectors", help="A file of word vectors, or an imported name, instead of a model.")
]
Layer = Annotated[
    str | None,
    typer.Option(
        help="The layer of the vectors: input or output. (default: the better one)",
        autocompletion=completion(("input", "output")),
    ),
]


class Known(NamedTuple):
    """Word vectors, and their origin."""

    vectors: "WordVectors"
    source: str
    layer: str | None  # of a model; None for a file
    corpus: str | None
    noun: str = "word"  # what one of them is called

    @property
    def facts(self) -> dict[str, Any]:
        """Their origin and size, for JSON."""
        V, D = self.vectors.matrix.shape
        return {"vectors": self.source, "layer": self.layer, "corpus": self.corpus, "words": V, "size": D}


def known_vectors(
    verb: str,
    model: str | None,
    file: str | None,
    layer: str | None,
    cell: str | None = None,
    *,
    words: Sequence[str] = (),
    example: Sequence[str] = (),
    as_json: bool = False,
    shown: bool = True,
) -> Known:
    """The vectors that `--from`, `--vectors` and `--layer` select; prints their origin on standard error.

    Without a selection they are those of the newest model with all the `words`. A model's tokens are as they are
    displayed, or where not `shown` as it stores them. Raises UsageError if the flags contradict each other, and as
    `read_vectors`, `open_model` and `of_model`.
    """
    if file is not None:
        if any(each is not None for each in (model, layer, cell)):
            flags = "--from, --layer and --cell"
            raise UsageError(f"--vectors names a file, {flags} select a model: give one or the other")
        known = _of_file(file)
    else:
        trained = open_model(
            verb, model, lambda task: task.word_vectors, words=words, example=example, cell=cell, as_json=as_json
        )
        known = _of_model(trained, layer, shown=shown)
    V, D = known.vectors.matrix.shape
    kind = f", {known.layer} layer" if known.layer else ""
    note(f"from {known.source}{f' ({known.corpus})' if known.corpus else ''}{kind}: {V:,} {known.noun}s, D {D:,}")
    return known


def _of_file(spec: str) -> Known:
    from rnncli.data.vectors import find_vectors, read_vectors

    file = find_vectors(spec)
    return Known(read_vectors(file), str(file), None, None)


def _of_model(trained: "Model", layer: str | None, *, shown: bool) -> Known:
    from rnncli.analysis.vectors import default_layer, of_model, shown_vectors

    layer = layer or default_layer(trained)
    vectors = (shown_vectors if shown else of_model)(trained, layer)
    return Known(vectors, str(trained.source), layer, str(trained.payload["corpus"]), trained.codec.noun)
