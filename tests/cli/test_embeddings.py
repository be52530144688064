"""`rnn embeddings` of models whose tokens are no words: they are named and displayed as what they are."""

import json
from pathlib import Path
from shlex import quote
from typing import Any

import pytest

from rnncli.analysis import plots
from rnncli.analysis.vectors import of_model
from rnncli.api import load
from rnncli.data.vectors import read_vectors

pytestmark = pytest.mark.no_backend

FOLDER = Path(__file__).parents[1] / "checkpoints"


@pytest.mark.parametrize(
    ("name", "file", "noun"),
    [
        ("chars-voices", "best", "character"),
        ("bytes", "last", "byte"),
        ("pieces", "last", "token"),
        ("words", "best", "word"),
    ],
)
def test_noun_fits_the_tokens(
    name: str, file: str, noun: str, rnn, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[list[str], str]] = []

    def draw(words: list[str], _: object, path: Path, *, title: str) -> Any:
        drawn.append((list(words), title))
        return plots.Picture(path, "")

    monkeypatch.setattr(plots, "draw_words", draw)
    model = FOLDER / name / f"{file}.safetensors"
    ran = rnn(f"embeddings plot --from {model} --count 5")
    ((words, title),) = drawn
    assert title == f"5 {noun}s by PCA"
    assert f" {noun}s, D " in ran.err
    near = rnn(f"embeddings neighbors {quote(words[-1])} --top 40 --from {model}")
    assert near.out.split()[:2] == [noun, "cosine"]
    assert len(near.out.splitlines()) == 44  # a line feed is displayed as a sign


def test_merges_come_before_single_bytes_and_are_displayed_as_text(rnn, home: Path) -> None:
    model = load(FOLDER / "pieces/last.safetensors")
    stored = of_model(model, "output")
    merge = next(word for word in stored.words if len(word) > 3 and word[0] == "Ġ" and word[1:].isascii())
    plotted = json.loads(
        rnn(f"embeddings plot --from {model.source} --count 5 --layer output --out {home}/w.png --json").out
    )
    merges = [word.replace("Ġ", " ") for word in stored.words if len(word) > 1]
    assert list(plotted["points"]) == merges[:5]
    bare = merge[1:]
    found = json.loads(rnn(f"embeddings neighbors {bare} --from {model.source} --layer output --top 1 --json").out)
    unit = stored.unit @ stored.unit[stored.numbers[merge]]
    assert found["neighbors"][0]["score"] == pytest.approx(sorted(unit)[-2], rel=1e-5)
    assert rnn(f"embeddings export {home}/all.txt --from {model.source} --layer output").code == 0
    assert read_vectors(home / "all.txt").words == stored.words
