"""`rnn analogy`: the words nearest to one word minus another plus a third."""

from typing import Annotated

import typer

from rnncli.cli.screen import AsJson, CellCode, From, print_json, print_table, print_text
from rnncli.cli.vectors import File, Layer, known_vectors
from rnncli.cli.verb import Verb
from rnncli.data.text import visible


def analogy(
    a: Annotated[str, typer.Argument(help="The first word: king.")],
    b: Annotated[str, typer.Argument(help="The word to subtract: man.")],
    c: Annotated[str, typer.Argument(help="The word to add: woman.")],
    metric: Annotated[str | None, typer.Option(help="euclidean, cosine or 3cosmul. (default: the first two)")] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of answers.")] = 5,
    source: From = None,
    cell: CellCode = None,
    file: File = None,
    layer: Layer = None,
    as_json: AsJson = False,
) -> None:
    """Find the words nearest to A - B + C: A is to B as what is to C? A, B and C are left out."""
    from rnncli.analysis.analogies import BOOK, solve

    known = known_vectors("analogy", source, file, layer, cell, words=(a, b, c), as_json=as_json)
    answers = {each: solve(known.vectors, a, b, c, each, top) for each in ([metric] if metric else BOOK)}
    if as_json:
        found_words = {each: [near._asdict() for near in found] for each, found in answers.items()}
        print_json({**known.facts, "a": a, "b": b, "c": c, "answers": found_words})
        return
    print_text(f"{a} - {b} = ? - {c}")
    columns = [cell for each in answers for cell in (each, "")]
    rows = zip(*([[visible(near.word), near.score] for near in found] for found in answers.values()), strict=True)
    print_table(columns, [[cell for pair in row for cell in pair] for row in rows])


VERB = Verb(analogy, "rnn analogy king man woman    asks: king - man + woman = ?")
