"""A reader of n-grams in the ARPA format, by its definition."""

import math

Grams = dict[tuple[str, ...], tuple[float, float]]


def read_arpa(text: str) -> tuple[int, Grams]:
    """The highest order, and log10 p and log10 of the weight of every n-gram; checks counts and order of sections."""
    head, *sections = text.removesuffix("\n\\end\\\n").split("\n\n")
    first, *counts = head.splitlines()
    assert first == "\\data\\"
    grams: Grams = {}
    for order, (count, section) in enumerate(zip(counts, sections, strict=True), 1):
        title, *lines = section.splitlines()
        assert (title, count) == (f"\\{order}-grams:", f"ngram {order}={len(lines)}")
        for line in lines:
            log, words, *weight = line.split("\t")
            assert len(words.split()) == order
            grams[tuple(words.split(" "))] = float(log), float(weight[0]) if weight else 0.0
    return len(sections), grams


def log_prob(grams: Grams, context: tuple[str, ...], word: str) -> float:
    """Log10 p(word | context), as defined for the format."""
    if (*context, word) in grams:
        return grams[*context, word][0]
    return grams.get(context, (0.0, 0.0))[1] + log_prob(grams, context[1:], word)


def nats(order: int, grams: Grams, sentences: list[list[str]]) -> float:
    """The mean loss of sentences that each follow one <s>."""
    logs = []
    for sentence in sentences:
        line = ["<s>", *sentence]
        logs += [log_prob(grams, tuple(line[max(0, i + 1 - order) : i]), line[i]) for i in range(1, len(line))]
    return -math.log(10) * sum(logs) / len(logs)
