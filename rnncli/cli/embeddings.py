"""`rnn embeddings`: explore word vectors, and exchange them with other programs."""

import re
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from rnncli.cli.screen import AsJson, CellCode, From, note, print_json, print_table, print_text, warn_missing
from rnncli.cli.spellings import Formerly
from rnncli.cli.vectors import File, Layer, known_vectors
from rnncli.cli.verb import Verb
from rnncli.data.text import visible
from rnncli.errors import UsageError
from rnncli.files import check_name
from rnncli.home import data_dir, mark

Drawn = Annotated[Path, typer.Option(help="Draw to this file (PNG, SVG, PDF)."), Formerly(("--picture",))]
Limit = Annotated[int | None, typer.Option(min=1, help="Take only the first N words.")]


def show_neighbors(
    word: Annotated[str, typer.Argument(help="A word.")],
    top: Annotated[int, typer.Option(min=1, help="Number of words to show.")] = 10,
    source: From = None,
    cell: CellCode = None,
    file: File = None,
    layer: Layer = None,
    as_json: AsJson = False,
) -> None:
    """Show the words nearest to a word, by cosine similarity."""
    from rnncli.analysis.vectors import neighbors

    known = known_vectors("embeddings neighbors", source, file, layer, cell, words=[word], as_json=as_json)
    found = neighbors(known.vectors, word, top)
    if as_json:
        print_json({**known.facts, "word": word, "neighbors": [near._asdict() for near in found]})
        return
    print_table([known.noun, "cosine"], [(visible(near.word), near.score) for near in found])


def show_odd_one_out(
    words: Annotated[list[str], typer.Argument(metavar="WORD", help="Three words or more.")],
    source: From = None,
    cell: CellCode = None,
    file: File = None,
    layer: Layer = None,
    as_json: AsJson = False,
) -> None:
    """Find the word that fits the others least: the farthest from their mean, by cosine similarity."""
    from rnncli.analysis.vectors import odd_one_out

    known = known_vectors("embeddings odd-one-out", source, file, layer, cell, words=words, as_json=as_json)
    found = odd_one_out(known.vectors, words)
    if as_json:
        print_json({**known.facts, "odd": found[0].word, "similarities": [near._asdict() for near in found]})
        return
    print_text(visible(found[0].word))
    print_table([known.noun, "cosine with the mean"], [(visible(near.word), near.score) for near in found])


def plot(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORD", help="Words. (default: the most frequent)")
    ] = None,
    out: Drawn = Path("words.png"),
    method: Annotated[str, typer.Option(help="pca or tsne.")] = "pca",
    count: Annotated[int, typer.Option(min=3, help="Number of most frequent words.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Seed of t-SNE.")] = 0,
    source: From = None,
    cell: CellCode = None,
    file: File = None,
    layer: Layer = None,
    as_json: AsJson = False,
) -> None:
    """Draw words as points of a plane: words with similar vectors lie close to each other."""
    from rnncli.analysis.plots import draw_words
    from rnncli.analysis.vectors import project

    known = known_vectors("embeddings plot", source, file, layer, cell, words=words or (), as_json=as_json)
    shown = words or list(known.vectors.words[:count])
    points = project(known.vectors.unit[known.vectors.rows(shown)], method, seed)
    title = f"{len(shown)} {known.noun}s by {method.upper().replace('TSNE', 't-SNE')}"
    drawn = draw_words(shown, points.tolist(), out, title=title)
    if as_json:
        print_json({**known.facts, "picture": str(drawn), "points": dict(zip(shown, points.tolist(), strict=True))})
    else:
        print_text(f"picture {drawn}")
    warn_missing(drawn)


def export(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    form: Annotated[
        str | None,
        typer.Option("--format", help="word2vec, word2vec-binary, glove or npz; by default as the file's name says."),
    ] = None,
    limit: Limit = None,
    source: From = None,
    cell: CellCode = None,
    file: File = None,
    layer: Layer = None,
    as_json: AsJson = False,
) -> None:
    """Write word vectors to a file that other programs read."""
    from rnncli.data.vectors import FORMATS, format_of, write_vectors

    form = form or format_of(target)
    if form not in FORMATS:
        raise UsageError(f"--format must be one of {', '.join(FORMATS)}, not {form!r}")
    known = known_vectors("embeddings export", source, file, layer, cell, as_json=as_json, shown=False)
    vectors = known.vectors.first(limit) if limit else known.vectors
    write_vectors(vectors, target, form)
    if as_json:
        print_json({**known.facts, "file": str(target), "format": form, "written": len(vectors.words)})
    else:
        print_text(f"{target}: {len(vectors.words):,} vectors of size {vectors.matrix.shape[1]}, {form}")


def import_file(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Vectors of word2vec or GloVe, or .npz; gzipped or not.")
    ],
    name: Annotated[str | None, typer.Option(help="Their name. (default: the file's)")] = None,
    limit: Limit = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Skip words that are not UTF-8 or lack numbers, and count them.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the vectors that have this name.")] = False,
    as_json: AsJson = False,
) -> None:
    """Save the vectors of a file under a name for `--vectors` and `--embeddings`, in a format that is quick to read."""
    from rnncli.data.vectors import read_vectors, vectors_dir, write_vectors

    name = name or re.sub(r"(\.(txt|bin|vec|glove|npz|gz))+$", "", file.name)
    check_name(name)
    target = vectors_dir() / f"{name}.npz"
    if target.exists() and not replace:
        raise UsageError(f"{target} is there already: take another --name, or --replace")
    skipped: list[str] = []
    vectors = read_vectors(file, limit, skipped if skip_bad else None)
    write_vectors(vectors, target, "npz")
    mark(data_dir())
    V, D = vectors.matrix.shape
    if as_json:
        print_json({"name": name, "file": str(target), "words": V, "size": D, "skipped": len(skipped)})
    else:
        print_text(f"{name}: {V:,} words of size {D}{f', {len(skipped):,} skipped: {skipped[0]}' if skipped else ''}")
        note(f"kept in {target}; try: rnn embeddings neighbors {quote(vectors.words[0])} --vectors {quote(name)}")


VERB = Verb(
    example="rnn embeddings neighbors king",
    help="Explore word vectors, and exchange them with other programs.",
    commands=lambda: {
        "neighbors": Verb(show_neighbors, "rnn embeddings neighbors king --top 10"),
        "odd-one-out": Verb(show_odd_one_out, "rnn embeddings odd-one-out paris london bread rome"),
        "plot": Verb(plot, "rnn embeddings plot france paris italy rome england london --out words.png"),
        "export": Verb(export, "rnn embeddings export vectors.txt --format word2vec"),
        "import": Verb(import_file, "rnn embeddings import glove.6B.100d.txt --name glove --limit 100000"),
    },
)
