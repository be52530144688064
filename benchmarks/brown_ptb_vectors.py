"""How good are the word vectors of a language model of Brown and PTB? Compares them with gensim on Google's questions.

Train the model first: rnn train wiki-lm --corpus brown --corpus ptb … --name RUN (docs/vectors.md has the whole line).
gensim learns from the same words that occur five times or more, on two threads. Needs brown, ptb and questions-words
(`rnn data get`), and gensim (the extra `dev`).
Run: python benchmarks/brown_ptb_vectors.py [--from RUN]
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

from gensim.models import FastText, Word2Vec

from rnncli.analysis.analogies import evaluate, questions_of
from rnncli.analysis.vectors import LAYERS, of_model
from rnncli.api import load
from rnncli.data.indexed import read_indexed
from rnncli.data.vectors import WordVectors
from rnncli.data.vocabulary import END

RIVALS: dict[str, Callable[..., Any]] = {
    "gensim's CBOW, 5 epochs (its defaults)": Word2Vec,
    "gensim's CBOW, 20 epochs": lambda lines, **how: Word2Vec(lines, epochs=20, **how),
    "gensim's skip-gram, 5 epochs": lambda lines, **how: Word2Vec(lines, sg=1, **how),
    "gensim's fastText (CBOW of n-grams 3 to 6), 5 epochs": FastText,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="run", help="a run of wiki-lm on brown and ptb")
    run = parser.parse_args().run
    print("| vectors | seconds | semantic | syntactic | all |")
    print("| --- | --- | --- | --- | --- |")
    if run:
        trained = load(run, "wiki-lm")
        seconds = trained.header["progress"]["seconds"]
        for layer in LAYERS:
            print(row(f"{run}, {layer} layer", of_model(trained, layer), seconds))
    lines = sentences()
    for name, learn in RIVALS.items():
        began = time.perf_counter()
        vectors = learn(lines, vector_size=100, min_count=5, workers=2, seed=0).wv
        print(row(name, WordVectors(tuple(vectors.index_to_key), vectors.vectors), time.perf_counter() - began))


def sentences() -> list[list[str]]:
    """The words that wiki-lm reads, one list per sentence."""
    source = read_indexed(("brown", "ptb"))
    words = ["<start>", "<end>", "<unknown>", *source.words]
    found: list[list[str]] = [[]]
    for number in source.parts[0].ids.tolist():
        if number == END:
            found.append([])
        else:
            found[-1].append(words[number])
    return found[:-1]


def row(name: str, vectors: WordVectors, seconds: float) -> str:
    """A row of the table: the accuracy over the covered questions."""
    *_, semantic, syntactic, together = evaluate(vectors, questions_of("questions-words"), "cosine")
    cells = [f"{score.right / score.covered:.1%} of {score.covered:,}" for score in (semantic, syntactic, together)]
    return f"| {name} | {seconds:.0f} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
