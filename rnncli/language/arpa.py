"""N-gram models in the ARPA format (Doug Paul), which kenlm and SRILM read: n-grams, and weights of the order below.

Shapes: G n-grams of an order, V vocabulary.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple
from unicodedata import category

import numpy as np

from rnncli.data.vocabulary import END, START, UNKNOWN
from rnncli.language.ngrams import Array, KneserNey

NAMES = {START: "<s>", END: "</s>", UNKNOWN: "<unk>"}
"""The names that readers of the format know; each stands for one token and for no word of a text."""

NEVER = -99.0
"""The logarithm of probability 0, by convention."""

ROWS = 100_000
"""N-grams that are written at a time."""


class Section(NamedTuple):
    """The n-grams of one order."""

    grams: Array  # (G, order): token ids
    logs: Array  # (G,): log10 p(last token | the others)
    backoff: Array | None  # (G,): log10 of the weight of the order below after these tokens; None for the last order


def arpa_text(model: KneserNey, tokens: Sequence[str]) -> Iterator[str]:
    """Write a model as a text, part by part; `tokens` are those of the ids, as `written_token` writes them.

    The numbers have nine digits, which is exact to float32.
    """
    sections = arpa_sections(model)
    names = [NAMES.get(number) or written_token(token) for number, token in enumerate(tokens)]
    counts = "".join(f"ngram {order}={len(each.grams)}\n" for order, each in enumerate(sections, 1))
    yield f"\\data\\\n{counts}"
    for order, section in enumerate(sections, 1):
        yield f"\n\\{order}-grams:\n"
        yield from _lines(section, names)
    yield "\n\\end\\\n"


def written_token(token: str) -> str:
    r"""A token without white space: blanks, control characters and backslashes become `\u0020` and the like.

    So does the first sign of a word that is spelled like one of the names `<s>`, `</s>` and `<unk>`.
    """
    if token in NAMES.values():
        return _escaped(token[0]) + token[1:]
    return "".join(
        _escaped(each) if each.isspace() or category(each) == "Cc" or each == "\\" else each for each in token
    )


def _escaped(sign: str) -> str:
    return f"\\u{ord(sign):04x}"


def arpa_sections(model: KneserNey) -> list[Section]:
    """The n-grams of each order with the probabilities of the model.

    The model reads order - 1 STARTs before a sequence, the format only one. An n-gram that begins with START therefore
    has the probability after all STARTs, and its weight is the product of those from all STARTs down to one.
    """
    grams = list(_grams(model))
    opened = (grams[-1] == START).sum(1)  # STARTs at the front
    weights = _weights_after_starts(model, grams)
    sections = []
    for order, (level, own) in enumerate(zip(model.levels, grams, strict=True), 1):
        regular = np.flatnonzero((own == START).sum(1) == 0)
        first = np.flatnonzero(opened == model.order - order + 1) if order > 1 else np.array([], dtype=int)
        parts = [own[regular], grams[-1][first][:, model.order - order :]]
        probs = [level.probs[regular], model.levels[-1].probs[first]]
        backoff = None
        if order < model.order:
            backoff = [model.levels[order].backoff[regular], weights[model.levels[-1].shorter[first]]]
        sections.append(_section(parts, probs, backoff))
    only_starts = np.flatnonzero((grams[-2] == START).all(1)) if model.order > 1 else np.array([], dtype=int)
    sections[0] = _with_all_tokens(model, sections[0], weights[only_starts])
    return sections


def _grams(model: KneserNey) -> Iterator[Array]:
    """The token ids of each order's n-grams, (G, order)."""
    before = np.zeros((1, 0), dtype=np.int32)
    for level in model.levels:
        context, last = np.divmod(level.keys, model.vocabulary)
        before = np.column_stack([before[context], last.astype(np.int32)])
        yield before


def _weights_after_starts(model: KneserNey, grams: Sequence[Array]) -> Array:
    """The weight of each n-gram one order below the last, times those of the same n-gram with fewer STARTs."""
    weights = np.ones(1)
    for level, above, own in zip(model.levels, model.levels[1:], grams, strict=False):
        inner = (own == START).sum(1) > 1
        weights = above.backoff * np.where(inner, weights[level.shorter], 1.0)
    return weights


def _section(grams: Sequence[Array], probs: Sequence[Array], backoff: Sequence[Array] | None) -> Section:
    weights = None if backoff is None else _logs(np.concatenate(backoff))
    return Section(np.concatenate(grams), _logs(np.concatenate(probs)), weights)


def _logs(values: Array) -> Array:
    """Log10, at most 0 in spite of rounding."""
    with np.errstate(divide="ignore"):
        return np.clip(np.log10(values), NEVER, 0.0)


def _with_all_tokens(model: KneserNey, section: Section, start: Array) -> Section:
    """Single tokens with those that the training text lacks, and with START, which is never predicted."""
    missing = np.setdiff1d(np.arange(model.vocabulary), [*section.grams[:, 0], START])
    unseen = np.full(len(missing), model.levels[0].backoff[0] / (model.vocabulary - 1))
    grams = np.concatenate([[[START]], missing[:, None], section.grams])
    logs = np.concatenate([[NEVER], _logs(unseen), section.logs])
    if section.backoff is None:
        return Section(grams, logs, None)
    return Section(grams, logs, np.concatenate([_logs(start), np.zeros(len(missing)), section.backoff]))


def _lines(section: Section, names: Sequence[str]) -> Iterator[str]:
    """The lines of an order: log10 of the probability, the tokens, and log10 of the weight of the order below."""
    for begin in range(0, len(section.grams), ROWS):
        rows = slice(begin, begin + ROWS)
        words: Iterable[str] = (" ".join([names[number] for number in each]) for each in section.grams[rows].tolist())
        lines = (f"{log:.9g}\t{text}" for log, text in zip(section.logs[rows].tolist(), words, strict=True))
        if section.backoff is not None:
            pairs = zip(lines, section.backoff[rows].tolist(), strict=True)
            lines = (f"{line}\t{weight:.9g}" for line, weight in pairs)
        yield "\n".join(chain(lines, [""]))
