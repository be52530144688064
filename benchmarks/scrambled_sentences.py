"""Does a language model know the order of words? Compares the probability of sentences with that of their shuffles.

Takes sentences of four words or more, evenly from the Penn Treebank's validation text, and shuffles the words of each
until their order differs (seeded). Needs ptb: `rnn data get ptb`, or RNN_CORPORA, the folder of real
corpora; and a model: rnn train wiki-lm --corpus ptb --name RUN.
Run: python benchmarks/scrambled_sentences.py --from RUN [--sentences 200] [--seed 0]
"""

import argparse
import os
import random
from pathlib import Path

import rnncli
from rnncli.data.corpora import load_corpus
from rnncli.data.text import read_text

FEWEST = 4
LENGTHS = ((4, 9), (10, 19), (20, 29), (30, 1_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="run", help="a run of any language model (default: the newest of wiki-lm)")
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    model = rnncli.load(arguments.run, None if arguments.run else "wiki-lm")
    right = sentences(arguments.sentences)
    generator = random.Random(arguments.seed)
    found = model.score([*right, *(shuffled(sentence, generator) for sentence in right)])
    lengths = [len(sentence.split()) for sentence in right]
    wins = [one.bits < other.bits for one, other in zip(found[: len(right)], found[len(right) :], strict=True)]
    print(f"{model.source}: the right order is the more probable one")
    print("| words | sentences | share |")
    print("| --- | --- | --- |")
    for lower, upper in (*LENGTHS, (FEWEST, max(lengths))):
        those = [win for win, length in zip(wins, lengths, strict=True) if lower <= length <= upper]
        print(f"| {lower} to {min(upper, max(lengths))} | {len(those)} | {sum(those) / max(1, len(those)):.1%} |")


def sentences(count: int) -> list[str]:
    """Sentences taken evenly from the validation text."""
    shared = Path(os.environ.get("RNN_CORPORA", "")) / "ptb/ptb.valid.txt.gz"
    text = read_text(shared) if "RNN_CORPORA" in os.environ else load_corpus("ptb").held_out
    lines = [line.strip() for line in text.split("\n") if len(set(line.split())) >= FEWEST]
    return lines[:: max(1, len(lines) // count)][:count]


def shuffled(sentence: str, generator: random.Random) -> str:
    """The same words in another order."""
    words = sentence.split()
    other = list(words)
    while other == words:
        generator.shuffle(other)
    return " ".join(other)


if __name__ == "__main__":
    main()
