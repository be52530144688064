"""A corpus as Python code passes it: names and paths, texts, pairs, a data set, or one of these per label."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from rnncli.data.corpora import CORPORA, exists, written_as_path
from rnncli.data.items import IN_PYTHON, Item, hold
from rnncli.errors import UsageError

CorpusLike: TypeAlias = str | Path | Iterable[Item | Path] | Mapping[str, str | Path | Iterable[Item | Path]]
"""A name or a path, several of them, items, or a mapping from labels or voices to any of these."""

_FILES = (".txt", ".csv", ".tsv", ".jsonl", ".gz", ".conll", ".conllu")


def corpus_specs(corpus: CorpusLike) -> tuple[str, ...]:
    """The specs of a corpus, as `--corpus` takes them; items are held in this process.

    A list in which every string names a corpus or a file is a list of names; strings in any other list are texts. A
    tuple of strings always names corpora. Raises UsageError for a label that no spec can hold, for a mapping without
    labels, for several splits of a data set, and as `hold`.
    """
    if isinstance(corpus, str | Path):
        return (str(corpus),)
    if isinstance(corpus, Mapping):
        if hasattr(corpus, "with_format"):  # as the mappings of splits of the library `datasets` have it
            raise UsageError("the corpus from Python has several splits: choose one, such as corpus['train']")
        if not corpus:
            raise UsageError("the corpus from Python has no labels: give each label its texts")
        return tuple(f"{_checked(label)}={spec}" for label, part in corpus.items() for spec in corpus_specs(part))
    if isinstance(corpus, tuple) and corpus and all(isinstance(each, str | Path) for each in corpus):
        return tuple(map(str, corpus))
    if isinstance(corpus, list) and corpus and all(map(_is_name, corpus)):
        return tuple(map(str, corpus))
    if not isinstance(corpus, Iterable) or isinstance(corpus, bytes):  # type: ignore[unreachable]  # by its declared type
        raise UsageError(f"a corpus is a name, a path or an iterable of texts or pairs, not {type(corpus).__name__}")
    return (hold(corpus),)


def _is_name(value: object) -> bool:
    if isinstance(value, Path):
        return True
    if not isinstance(value, str) or not value or "\n" in value:
        return False
    rest = value.partition("=")[2] or value
    looks_like_file = not value.split()[1:] and value.lower().endswith(_FILES)
    return rest in CORPORA or rest == "-" or rest.startswith(IN_PYTHON) or looks_like_file or exists(rest)


def _checked(label: object) -> str:
    if not isinstance(label, str):
        raise UsageError(f"a corpus cannot be labelled {label!r}: write the label as text")
    if not label.strip() or "=" in label or written_as_path(label):
        raise UsageError(f"a corpus cannot be labelled {label!r}: leave out / and =, or give (text, label) pairs")
    return label
