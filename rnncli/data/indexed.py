"""A corpus as word ids, most frequent first: prepared shards that stay on disk, or texts with one sentence per line."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnncli.data.codec import Ids
from rnncli.data.corpora import absolute_spec, load_corpus, load_test, written_as_path
from rnncli.data.shards import VOCABULARY, Shards
from rnncli.data.sources import Corpus
from rnncli.data.streams import Part
from rnncli.data.tokenizers import SPACED, TOKENIZERS
from rnncli.data.vocabulary import END, SPECIALS, Vocabulary
from rnncli.errors import RnnError, UsageError
from rnncli.home import data_dir

TOKENIZER = "wiki-words"


class IndexedCorpus(NamedTuple):
    """A corpus as ids: its parts, and the words that the ids stand for."""

    name: str
    parts: list[Part]
    words: Sequence[str]  # by frequency
    counts: Callable[[], Sequence[int]]  # how often each word occurs
    fingerprint: str
    tokenizer: str = TOKENIZER
    validation_part: Part | None = None  # sequences to validate on, where the corpus has its own
    new: Sequence[str] = ()  # words that only the validation part has, numbered after `words`

    @property
    def all_words(self) -> Sequence[str]:
        """The words of all sequences, by number."""
        return (*self.words, *self.new) if self.new else self.words

    @property
    def sequences(self) -> int:
        """The number of sequences in all parts."""
        return sum(part.sequences for part in self.parts)

    @property
    def tokens(self) -> int:
        """The number of tokens in all parts, ENDs included."""
        return sum(len(part.ids) for part in self.parts)

    def sizes(self) -> Ids:
        """Characters of each word by id, with the blank or line feed after it."""
        return np.array([0, 0, len("<unk> "), *(len(word) + 1 for word in self.all_words)], dtype=np.int64)

    def remap(self, vocabulary: Vocabulary) -> Ids:
        """Map each id of the corpus to the id in a vocabulary; UNKNOWN for words that it lacks."""
        return np.array(vocabulary.encode((*SPECIALS, *self.all_words)), dtype=np.int64)


def is_prepared(spec: str) -> bool:
    """Whether a name or a folder is the output of `rnn data prepare`, finished or not."""
    if written_as_path(spec):
        return (Path(spec) / VOCABULARY).is_file()
    folder = data_dir() / spec
    return (folder / VOCABULARY).is_file() or (folder.with_name(f"{spec}.part").is_dir() and not Path(spec).exists())


def absolute_indexed(spec: str) -> str:
    """Return a spec of the same corpus that works in any folder; raises as `absolute_spec`."""
    if not is_prepared(spec):
        return absolute_spec(spec)
    return str(Path(spec).absolute()) if written_as_path(spec) else spec


def read_indexed(specs: Sequence[str], tokenizer: str = TOKENIZER, valid: Sequence[str] = ()) -> IndexedCorpus:
    """Open prepared shards, or read texts; the lines of the texts in `valid` are the validation part.

    The tokenizer applies to texts without one of their own. Raises RnnError as `load_corpus` and `Shards.open`, and
    UsageError for shards mixed with other texts.
    """
    prepared = [spec for spec in (*specs, *valid) if is_prepared(spec)]
    if prepared and tokenizer == SPACED:
        raise UsageError(f"{prepared[0]} was prepared with another tokenizer than --tokens spaced: give a text")
    if prepared and (len(specs) > 1 or prepared != [*specs]):
        raise UsageError(f"{prepared[0]} is prepared: give it as the only --corpus, or prepare all files together")
    corpus = _open_shards(specs[0]) if prepared else _index(list(map(load_corpus, specs)), tokenizer)
    return _with_texts(corpus, valid) if valid else corpus


def read_test(specs: Sequence[str], tokenizer: str = TOKENIZER) -> IndexedCorpus:
    """Read the test texts of corpora as `read_indexed` does.

    Raises UsageError if no corpus has one, RnnError if one is not downloaded.
    """
    found = [corpus for spec in specs if (corpus := load_test(spec))]
    if not found:
        raise UsageError(
            f"{' + '.join(specs)} has no test text of its own: leave --split out, or give the text by --corpus"
        )
    return _index(found, tokenizer)


def _open_shards(name: str) -> IndexedCorpus:
    shards = Shards.open(name)
    parts = [Part(ids, entry["sequences"]) for ids, entry in zip(shards.memmaps(), shards.index["shards"], strict=True)]
    hashes = "".join(entry["sha256"] for entry in (shards.index["vocabulary"], *shards.index["shards"]))
    fingerprint = hashlib.sha256(hashes.encode()).hexdigest()
    return IndexedCorpus(shards.name, parts, shards.vocabulary, lambda: shards.counts, fingerprint)


def _index(corpora: Sequence[Corpus], tokenizer: str) -> IndexedCorpus:
    tokenizers = [corpus.tokenizer or tokenizer for corpus in corpora]
    lines, held_out = (
        [words for text, name in zip(texts, tokenizers, strict=True) for words in _lines(text, TOKENIZERS[name].split)]
        for texts in ([corpus.text for corpus in corpora], [corpus.held_out for corpus in corpora])
    )
    name = " + ".join(corpus.name for corpus in corpora)
    if not lines:
        raise RnnError(f"{name} has no line with words: there is nothing to read")
    vocabulary = Vocabulary.of(lines)
    training = _part(lines, vocabulary)
    fingerprint = hashlib.sha256(" ".join(vocabulary.words).encode() + training.ids.tobytes()).hexdigest()
    shared = tokenizers[0] if len(set(tokenizers)) == 1 else tokenizer
    counts = np.bincount(training.ids, minlength=len(vocabulary))[len(SPECIALS) :].tolist()
    corpus = IndexedCorpus(name, [training], vocabulary.words, lambda: counts, fingerprint, shared)
    return _with_lines(corpus, held_out) if held_out else corpus


def _with_texts(corpus: IndexedCorpus, valid: Sequence[str]) -> IndexedCorpus:
    """Add the lines of other texts as the validation part."""
    texts = [load_corpus(spec) for spec in valid]
    lines = [line for each in texts for line in _lines(each.text, TOKENIZERS[each.tokenizer or corpus.tokenizer].split)]
    if not lines:
        raise RnnError(f"{' + '.join(valid)} has no line with words: give another text to --valid")
    found = _with_lines(corpus, lines)
    numbers = found.validation_part.ids.tobytes().hex() if found.validation_part else ""
    what = " ".join([corpus.fingerprint, *found.new, numbers])
    return found._replace(fingerprint=hashlib.sha256(what.encode()).hexdigest())


def _with_lines(corpus: IndexedCorpus, lines: Sequence[Sequence[str]]) -> IndexedCorpus:
    """Add lines as the validation part; words that only they have are numbered after the corpus's own."""
    known = Vocabulary((*SPECIALS, *corpus.words))
    new = dict.fromkeys(word for line in lines for word in line if word not in known.numbers)
    return corpus._replace(validation_part=_part(lines, Vocabulary((*known.tokens, *new))), new=tuple(new))


def _part(lines: Sequence[Sequence[str]], vocabulary: Vocabulary) -> Part:
    """Encode lines, with an END after each."""
    numbers = [number for line in lines for number in (*vocabulary.encode(line), END)]
    return Part(np.array(numbers, dtype=np.int32), len(lines))


def _lines(text: str, tokenize: Callable[[str], list[str]]) -> list[list[str]]:
    return [words for line in text.split("\n") if (words := tokenize(line))]


def frequent_words(corpus: IndexedCorpus, size: int, min_count: int, kept: Sequence[str]) -> Vocabulary:
    """Return the `size` most frequent words that occur `min_count` times, and the words in `kept`.

    Raises UsageError where no word is left, and for a word in `kept` that the corpus lacks.
    """
    if min_count > 1:
        size = min(size, sum(count >= min_count for count in corpus.counts()))
        if not size:
            raise UsageError(f"{corpus.name}: no word occurs {min_count} times: take a smaller --min-count")
    return cut_vocabulary(corpus.words, size, kept)


def cut_vocabulary(words: Sequence[str], size: int, kept: Sequence[str]) -> Vocabulary:
    """Return the first `size` words and those in `kept`; raises UsageError for a word in `kept` that is missing."""
    chosen = list(words[:size])
    if kept:
        places = {word: place for place, word in enumerate(words)}
        absent = [word for word in kept if word not in places]
        if absent:
            raise UsageError(f"--keep-words: {absent[0]!r} is nowhere in the corpus; --keep-words '' keeps none")
        chosen += [word for word in dict.fromkeys(kept) if places[word] >= size]
    return Vocabulary(SPECIALS + tuple(chosen))
