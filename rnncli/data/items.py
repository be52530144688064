"""Corpora of items, the lines of a JSON lines file or what Python passes: texts, pairs, and words with their labels."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from pathlib import Path
from typing import NamedTuple

from rnncli.data.text import text_pieces
from rnncli.errors import RnnError, UsageError

Item = str | tuple[str, object] | Sequence[str | Sequence[str]] | Mapping[str, object]
"""A text, a pair (a text and its label, a sentence and its translation, words and labels), or a mapping with both."""

TEXT, LABEL, SOURCE, TARGET, WORDS, TAGS = "text", "label", "source", "target", "words", "tags"
"""The default keys of JSON lines and of mappings."""

IN_PYTHON = "python:"
"""The beginning of the name of a corpus that Python passed to this process; the rest is a hash of its items."""

_ENDINGS = (".jsonl", ".jsonl.gz")
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")


class Keys(NamedTuple):
    """The two keys of an item that a task reads, and the flags that name others."""

    first: str
    second: str
    flags: tuple[str, str]


@dataclass(frozen=True)
class Items:
    """Items with the name and the origin of their corpus; `read` yields each with its number, from 1."""

    name: str
    origin: str
    read: Callable[[], Iterator[tuple[int, Item]]]
    unit: str = "line"

    def pieces(self) -> Iterator[str]:
        """The items as a text: each ends with one line feed."""
        for number, item in self.read():
            if isinstance(item, str):
                text = item
            elif isinstance(item, Mapping):
                text = self._text(number, TEXT, self._value(number, item, TEXT, ""))
            else:
                raise RnnError(f"{self._place(number)} is a pair, and this task reads texts: give texts")
            yield self._checked(number, text).replace("\r\n", "\n").removesuffix("\n") + "\n"

    def text_pairs(self, keys: Keys) -> Iterator[tuple[int, str, str]]:
        """Two texts of each item, such as a text and its label, with the item's number; raises RnnError."""
        for number, first, second in self._pairs(keys):
            yield number, self._text(number, keys.first, first), self._text(number, keys.second, second)

    def word_pairs(self, keys: Keys) -> Iterator[list[tuple[str, str]]]:
        """The words of each item, each with its label; raises RnnError."""
        for number, *values in self._pairs(keys):
            words, tags = (
                self._words(number, key, value) for key, value in zip((keys.first, keys.second), values, strict=True)
            )
            if len(words) != len(tags):
                raise RnnError(
                    f"{self._place(number)} has {len(words)} words and {len(tags)} labels: every word needs a label"
                )
            yield list(zip(words, tags, strict=True))

    def _pairs(self, keys: Keys) -> Iterator[tuple[int, object, object]]:
        for number, item in self.read():
            if isinstance(item, Mapping):
                first, second = (
                    self._value(number, item, key, flag)
                    for key, flag in zip((keys.first, keys.second), keys.flags, strict=True)
                )
                yield number, first, second
            elif isinstance(item, str) or len(item) != 2:
                raise RnnError(f"{self._place(number)} is no pair: give ({keys.first}, {keys.second})")
            else:
                yield number, item[0], item[1]

    def _value(self, number: int, item: Mapping[str, object], key: str, flag: str) -> object:
        if key in item:
            return item[key]
        known = ", ".join(map(repr, item)) or "none"
        hint = f"name another key by {flag}" if flag else f"name the text {TEXT!r}"
        raise RnnError(f"{self._place(number)} has no key {key!r}, its keys are {known}: {hint}")

    def _text(self, number: int, key: str, value: object) -> str:
        if isinstance(value, Real):  # a label that is a number, true or false
            return json.dumps(getattr(value, "item", lambda: value)())
        if not isinstance(value, str):
            raise RnnError(f"{self._place(number)}: {key} must be text, not {value!r:.40}")
        return self._checked(number, value)

    def _words(self, number: int, key: str, value: object) -> list[str]:
        if isinstance(value, str):
            value = value.split()
        if not isinstance(value, Sequence) or not value:
            raise RnnError(f"{self._place(number)}: {key} must be a list of words, not {value!r:.40}")
        words = [self._text(number, key, each) for each in value]
        if not all(map(str.strip, words)):
            raise RnnError(f"{self._place(number)}: one of the {key} is empty")
        return words

    def _checked(self, number: int, text: str) -> str:
        if found := _NOT_TEXT.search(text):
            raise RnnError(f"{self._place(number)} holds {found[0]!a}, which is no character of a text: remove it")
        return text

    def _place(self, number: int) -> str:
        return f"{self.origin}, {self.unit} {number}"


def is_json_lines(spec: str) -> bool:
    """Whether a path ends as JSON lines do."""
    return spec.lower().endswith(_ENDINGS)


def json_items(path: Path) -> Items:
    """The items of a JSON lines file: one object per line; raises RnnError when they are read."""
    return Items(path.name.partition(".jsonl")[0], str(path), partial(_read_json, path))


def _read_json(path: Path) -> Iterator[tuple[int, Item]]:
    for number, line in enumerate(_lines(text_pieces(path)), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except json.JSONDecodeError as error:
            why = f"{error.msg}, column {error.colno}"
            raise RnnError(f"{path}, line {number} is not JSON ({why}): write one object per line") from None
        except (ValueError, RecursionError):  # a number of thousands of digits, or thousands of brackets
            raise RnnError(f"{path}, line {number} is JSON that cannot be read: write simpler objects") from None
        if not isinstance(found, dict):
            raise RnnError(f'{path}, line {number} is not a JSON object such as {{"text": …}}: {line.strip()[:40]}')
        yield number, found


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    rest = ""
    for piece in pieces:
        *whole, rest = (rest + piece).split("\n")
        yield from whole
    yield rest


_HELD: dict[str, Items] = {}


def hold(items: Iterable[object]) -> str:
    """Keep items in this process as a corpus, and return its name, which depends only on its items.

    Labels of a data set of the library `datasets` that are numbers get their names. Raises UsageError for no items, for
    an item that is neither a text, a pair nor a mapping, and for a data frame, which yields its columns.
    """
    if hasattr(items, "columns"):
        raise UsageError("the corpus from Python is a data frame: give its rows, such as frame.to_dict('records')")
    names = _label_names(items)
    held, digest = list[tuple[int, Item]](), hashlib.sha256()
    for number, item in enumerate(items, start=1):
        known = _item(number, item, names)
        held.append((number, known))
        digest.update(_written(known) + b"\n")
    if not held:
        raise UsageError("the corpus from Python has no items: give texts or pairs")
    name = IN_PYTHON + digest.hexdigest()[:12]
    _HELD[name] = Items(name, "the corpus from Python", lambda: iter(held), "item")
    return name


def _written(item: Item) -> bytes:
    """An item as bytes, by which its corpus gets its name."""
    try:
        return json.dumps(item, default=repr).encode()
    except (TypeError, ValueError):  # JSON allows neither every key nor a value inside itself
        return ascii(item).encode()


def _item(number: int, item: object, names: Mapping[str, Sequence[str]]) -> Item:
    if isinstance(item, str):
        return str(item)
    if isinstance(item, Mapping):
        return {str(key): _decoded(value, names[key]) if key in names else value for key, value in item.items()}
    if isinstance(item, list | tuple) and len(item) == 2:
        return (item[0], item[1])
    shown = f"{item!r:.40}".split("\n")[0]
    raise UsageError(f"the corpus from Python, item {number} is neither a text, a pair nor a mapping: {shown}")


def _label_names(items: object) -> dict[str, Sequence[str]]:
    """The names of numbered labels by column, as a `datasets.Dataset` keeps them in `features`."""
    features = getattr(items, "features", None)
    if not isinstance(features, Mapping):
        return {}
    found = {key: getattr(getattr(each, "feature", each), "names", None) for key, each in features.items()}
    return {key: names for key, names in found.items() if names}


def _decoded(value: object, names: Sequence[str]) -> object:
    if isinstance(value, list):
        return [_decoded(each, names) for each in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value


def is_gone(spec: str) -> bool:
    """Whether a spec names a corpus that Python passed to another process."""
    return spec.startswith(IN_PYTHON) and spec not in _HELD


def held_items(spec: str) -> Items:
    """The items of a corpus that Python passed to this process; raises RnnError if it was another process."""
    if spec not in _HELD:
        raise RnnError(
            f"{spec} is a corpus that another Python process held in memory: give the same items again, by corpus= or "
            "rnncli.add_corpus"
        )
    return _HELD[spec]
