"""Parts of speech: NLTK's tagger, the stored tags of the embedded voices, and a cache."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from rnncli.data.corpora import CORPORA
from rnncli.data.sources import Embedded, NltkData
from rnncli.data.splitting import Words
from rnncli.data.text import lines_of
from rnncli.errors import RnnError
from rnncli.files import write_file
from rnncli.home import data_dir

_TAGGER = CORPORA["nltk-tagger"]


def tags_of(lines: Sequence[Words]) -> list[Words]:
    """The Penn Treebank tag of every word, by NLTK's averaged perceptron.

    Lines of the embedded voices need no tagger. Tags of other lines are cached on disk by the hash of their text.
    Raises RnnError where the tagger is needed and absent.
    """
    known = stored_tags()
    missing = [line for line in lines if tuple(line) not in known]
    known = known | {tuple(line): tags for line, tags in zip(missing, _cached(missing), strict=True)}
    return [known[tuple(line)] for line in lines]


@cache
def stored_tags() -> dict[tuple[str, ...], Words]:
    """The tags that come with the embedded voices, by line."""
    known: dict[tuple[str, ...], Words] = {}
    for source in CORPORA.values():
        if isinstance(source, Embedded):
            for sentence in source.tagged():
                words, tags = zip(*sentence, strict=True)
                known[words] = list(tags)
    return known


def _cached(lines: Sequence[Words]) -> list[Words]:
    """Tag lines, or read the tags of the same lines from the cache."""
    if not lines:
        return []
    text = json.dumps(lines)
    file = data_dir() / "tags" / f"{hashlib.sha256(text.encode()).hexdigest()}.txt"
    try:
        found = [line.split() for line in lines_of(file.read_text("utf-8"))]
    except (OSError, UnicodeDecodeError):
        found = []
    if list(map(len, found)) != list(map(len, lines)):
        tag = _perceptron().tag
        found = [[label for _, label in tag(line)] for line in lines]
        if len(lines) > 1:  # a single line is tagged quickly
            with contextlib.suppress(RnnError):  # without a writable folder, lines are only tagged again
                write_file(file, "\n".join(" ".join(tags) for tags in found).encode())
    return found


@cache
def _perceptron() -> Any:
    assert isinstance(_TAGGER, NltkData)
    members = _TAGGER.members()  # before the import, which is slow
    from nltk.tag.perceptron import PerceptronTagger

    parts = ("weights", "tagdict", "classes")
    files = (next(data for name, data in members.items() if f".{part}." in name) for part in parts)
    return PerceptronTagger.decode_json_obj([json.loads(file) for file in files])
