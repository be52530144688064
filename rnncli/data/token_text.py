"""Running text as token ids: a small text in memory, a large one in a memory-mapped file below `data/`.

Shapes: N tokens, V words.
"""

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from io import StringIO
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnncli.data.bpe import DEFAULT_SIZE, bpe_tokens, learn_bpe
from rnncli.data.cached_folder import cached_folder
from rnncli.data.codec import Codec, Ids, codes, labels_of
from rnncli.data.corpora import PiecewiseText, open_corpus
from rnncli.data.holding_out import HoldOut
from rnncli.data.stream_data import StreamData
from rnncli.data.text import ends_words_at_marks, join_texts
from rnncli.data.units import Units
from rnncli.data.vocabulary import SPECIALS, Vocabulary
from rnncli.errors import RnnError, UsageError
from rnncli.files import write_file
from rnncli.home import data_dir
from rnncli.terminal import progress_bar

LARGE = 64_000_000
"""Bytes of text from which its ids are stored on disk."""

PIECE = 1 << 20
"""Characters that are tokenized at a time."""

MAX_COUNTED = 2_000_000
"""Distinct tokens in a count; beyond that, the least frequent are dropped."""

MAX_BPE_TEXT = 64_000_000
"""Characters that a `bpe` is trained on, at most."""

MAX_HELD_OUT = 1_000_000
"""Characters that are held out, at most."""

SCHEMA = 1
INDEX, IDS = "index.json", "ids.bin"


class TextSpec(NamedTuple):
    """Which text to read: corpora, how they become tokens, and what is held out: their end, or lines."""

    corpus: Sequence[str]
    tokenizer: str = "char"  # one of KINDS
    vocab_size: int = 0
    min_count: int = 1
    hold_out: HoldOut = HoldOut()
    codec: Codec | None = None  # of a checkpoint, used instead of a new one
    grows: bool = False  # that codec adds tokens that it lacks
    only_held_out: bool = False  # leave out the training part; needs a codec
    by_voice: bool = False  # each corpus is a voice, and its own end is held out
    valid: Sequence[str] = ()  # corpora that are held out instead of an end


class Text(NamedTuple):
    """A text that is read more than once, piece by piece, and split in two after `cut` characters."""

    name: str
    read: Callable[[], Iterator[str]]
    characters: int
    cut: int
    fingerprint: str  # SHA-256 of it in UTF-8

    def pieces(self) -> Iterator[tuple[bool, str]]:
        """All pieces, each with whether it is held out; pieces end where a token ends."""
        for is_held, parts in groupby(self._cut(), key=lambda part: part[0]):
            yield from ((is_held, piece) for piece in _whole_lines(part for _, part in parts))

    def training(self) -> Iterator[str]:
        """The training pieces."""
        return (piece for is_held, piece in self.pieces() if not is_held)

    def _cut(self) -> Iterator[tuple[bool, str]]:
        place = 0
        for piece in self.read():
            for begin in range(0, len(piece), PIECE):
                part = piece[begin : begin + PIECE]
                front = max(0, self.cut - place)
                yield from ((is_held, side) for is_held, side in ((False, part[:front]), (True, part[front:])) if side)
                place += len(part)


def read_token_text(spec: TextSpec) -> StreamData:
    """Read a text as token ids; a large text that was read before comes from its file.

    Raises RnnError as `load_corpus`, and where a large text changes meanwhile or its ids cannot be written.
    """
    if spec.valid:
        training = read_token_text(spec._replace(valid=(), hold_out=HoldOut()))
        return training.with_valid(read_token_text(TextSpec(spec.valid, codec=training.codec, by_voice=spec.by_voice)))
    corpora = [open_corpus(name) for name in spec.corpus]
    if not spec.by_voice:
        return _read(corpora, spec)
    voices = {name: [corpus for corpus in corpora if corpus.name == name] for name in (each.name for each in corpora)}
    texts = [_looked_at(name, partial(_join_corpora, parts), spec.hold_out) for name, parts in voices.items()]
    codec = _number(lambda: chain.from_iterable(text.training() for text in texts), spec)
    alike = spec._replace(codec=codec, grows=False)
    return _side_by_side(_read(corpora, alike), {name: _read(parts, alike) for name, parts in voices.items()})


def _join_corpora(corpora: Sequence[PiecewiseText]) -> Iterator[str]:
    return join_texts(corpus.read() for corpus in corpora)


def _read(corpora: Sequence[PiecewiseText], spec: TextSpec) -> StreamData:
    """Read corpora as one text."""
    name = " + ".join(corpus.name for corpus in corpora)
    read = partial(_join_corpora, corpora)
    size = sum(corpus.size for corpus in corpora)
    if size <= LARGE:
        kept = list(read())
        return _in_memory(_looked_at(name, lambda: iter(kept), spec.hold_out), spec)
    text = _looked_at(name, read, spec.hold_out, shown=True)
    return _in_memory(text, spec) if spec.only_held_out else _from_disk(text, spec)


def _side_by_side(whole: StreamData, parts: Mapping[str, StreamData]) -> StreamData:
    """Combine the voices of a text in memory: first all training parts, then all held-out parts."""
    each = parts.values()
    labels = whole.codec.labels or labels_of(parts, by_voice=True)
    return replace(
        whole,
        codec=replace(whole.codec, labels=labels),
        ids=np.concatenate([*(part.training_ids for part in each), *(part.held_out for part in each)]),
        cut=sum(part.cut for part in each),
        characters=(sum(part.characters[0] for part in each), sum(part.characters[1] for part in each)),
        counts=np.sum([part.counts for part in each], axis=0),
        folder=None,
        voices={name: (part.cut, len(part.held_out)) for name, part in parts.items()},
    )


def _looked_at(name: str, read: Callable[[], Iterator[str]], hold_out: HoldOut, *, shown: bool = False) -> Text:
    """The text, what is held out at its end; raises UsageError where nothing is left to learn from."""
    kept, last = (partial(_lines, read, hold_out.every, held=held) for held in (False, True))
    if hold_out.every:
        read = partial(_in_turn, kept, last)
    characters, digest = 0, hashlib.sha256()
    for piece in _shown(read(), f"looking at {name}", None) if shown else read():
        characters += len(piece)
        digest.update(piece.encode())
    held = hold_out.number or min(int(hold_out.share * characters), MAX_HELD_OUT)
    if hold_out.every:
        held = sum(map(len, last()))
    if held and held >= characters:
        raise UsageError(f"{hold_out} leaves nothing to learn from {name}, which has {characters:,} characters")
    cut = characters - held
    return Text(name, read, characters, cut, digest.hexdigest())


def _in_turn(*parts: Callable[[], Iterator[str]]) -> Iterator[str]:
    return chain.from_iterable(part() for part in parts)


def _lines(read: Callable[[], Iterator[str]], every: int, *, held: bool) -> Iterator[str]:
    """Every N-th line of a text, where they are `held` out, or the other lines, in pieces that end with a line."""
    number = 1
    for piece in _whole_lines(read()):
        chosen = []
        for line in StringIO(piece, newline="\n"):
            if (number % every == 0) == held:
                chosen.append(line)
            number += line.endswith("\n")
        if chosen:
            yield "".join(chosen)


def _in_memory(text: Text, spec: TextSpec) -> StreamData:
    codec = _number(text.training, spec)
    parts: tuple[list[Ids], list[Ids]] = [], []
    for is_held, piece in text.pieces():
        if is_held or not spec.only_held_out:
            parts[is_held].append(codec.encode(piece))
    training = np.concatenate(parts[0]) if parts[0] else np.array([], dtype=codec.dtype)
    counts = np.bincount(training, minlength=len(codec.vocabulary))
    return _corpus(text, codec, np.concatenate([training, *parts[1]]), len(training), counts)


def _corpus(text: Text, codec: Codec, ids: Ids, cut: int, counts: Ids, folder: Path | None = None) -> StreamData:
    characters = text.cut, text.characters - text.cut
    return StreamData(text.name, ids, cut, characters, counts, codec, text.fingerprint, folder)


def _number(training: Callable[[], Iterator[str]], spec: TextSpec) -> Codec:
    """The codec of the spec, or a new one for the training part."""
    known = spec.codec
    if known is not None and not spec.grows:
        return known
    if known is None:
        size = spec.vocab_size or DEFAULT_SIZE
        bpe = learn_bpe(_first(training(), MAX_BPE_TEXT), size) if spec.tokenizer == "bpe" else ""
        known = Codec(spec.tokenizer, Vocabulary(SPECIALS), bpe)
    if known.bpe:  # with all of its tokens, so that no text has UNKNOWN ones
        return known.grown(bpe_tokens(known.bpe))
    counts = _count(training(), known.units)
    return known.grown(Vocabulary.counted(counts, spec.min_count, spec.vocab_size).words)


def _count(pieces: Iterable[str], units: Units) -> Mapping[str, int]:
    """Count the tokens; of too many distinct ones, the least frequent are dropped on the way.

    As in word2vec (Mikolov et al. 2013): each time there are too many, the threshold rises by one.
    """
    if units.letters is not None:
        table = np.zeros(sys.maxunicode + 1, dtype=np.int64)
        for piece in pieces:
            table += np.bincount(codes(units.letters(piece)), minlength=len(table))
        return {chr(code): int(table[code]) for code in np.flatnonzero(table)}
    counts, bar = Counter[str](), 0
    for piece in pieces:
        counts.update(units.split(piece))
        if len(counts) > MAX_COUNTED:
            bar += 1
            counts = Counter({token: count for token, count in counts.items() if count > bar})
    return counts


def _first(pieces: Iterable[str], characters: int) -> Iterator[str]:
    for piece in pieces:
        yield piece
        characters -= len(piece)
        if characters <= 0:
            return


def _whole_lines(pieces: Iterable[str]) -> Iterator[str]:
    """Regroup pieces so that each ends with a line; a very long line is cut at any character."""
    rest = ""
    for piece in pieces:
        rest += piece
        end = rest.rfind("\n") + 1 or (len(rest) if len(rest) >= 4 * PIECE else 0)
        if end:
            yield rest[:end]
            rest = rest[end:]
    if rest:
        yield rest


def _from_disk(text: Text, spec: TextSpec) -> StreamData:
    """The numbers of a large text below `data/`; they are written where they are not there yet."""
    if spec.codec and spec.grows:  # by what it is in the end, so that a resumed run finds the same
        spec = spec._replace(codec=_number(text.training, spec), grows=False)
    rules = [ends_words_at_marks()] if spec.tokenizer in ("word", "bpe") else []
    given = spec.codec.numbering if spec.codec else [*spec[1:4], *rules]
    what = [SCHEMA, text.fingerprint, text.cut, given]
    key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
    return cached_folder(data_dir() / "running" / key, partial(_opened, text, spec.codec), partial(_write, text, spec))


def _opened(text: Text, known: Codec | None, folder: Path) -> StreamData | None:
    """The numbers in a folder, or None where they are not there, or not whole."""
    try:
        index = json.loads((folder / INDEX).read_bytes())
        codec = known or Codec.of(index["numbering"])  # the folder has no labels
        ids = np.memmap(folder / IDS, dtype=codec.dtype, mode="r")
        sound = len(ids) == index["tokens"]
    except (OSError, ValueError, KeyError):
        return None
    counts = np.array(index["counts"])
    return _corpus(text, codec, ids, index["cut"], counts, folder) if sound else None


def _write(text: Text, spec: TextSpec, folder: Path) -> None:
    """Encode a text and write its ids; raises RnnError if the text has changed since it was hashed."""
    shown = text._replace(read=lambda: _shown(text.read(), f"counting {text.name}", text.characters))
    codec = _number(shown.training, spec)
    counts = np.zeros(len(codec.vocabulary), dtype=np.int64)
    tokens, digest = [0, 0], hashlib.sha256()

    def read() -> Iterator[str]:
        for piece in _shown(text.read(), f"numbering {text.name}", text.characters):
            digest.update(piece.encode())
            yield piece

    with (folder / IDS).open("wb") as file:
        for is_held, piece in text._replace(read=read).pieces():
            ids = codec.encode(piece)
            file.write(ids.data)
            tokens[is_held] += len(ids)
            if not is_held:
                counts += np.bincount(ids, minlength=len(counts))
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != text.fingerprint:
        raise RnnError(f"{text.name} changed while it was read: try again when nothing writes to it")
    index = {"tokens": sum(tokens), "cut": tokens[0], "counts": counts.tolist(), "numbering": codec.numbering}
    write_file(folder / INDEX, json.dumps(index).encode())


def _shown(pieces: Iterator[str], what: str, characters: int | None) -> Iterator[str]:
    """Pass pieces through, with a progress bar on standard error."""
    with progress_bar(characters, "char", what, scaled=True, delay=1.0, leave=False) as bar:
        for piece in pieces:
            yield piece
            bar.update(len(piece))
