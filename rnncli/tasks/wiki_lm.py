"""wiki-lm: a language model of running prose, sentence by sentence, read from shards that are never loaded whole."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rnncli.data.corpora import CORPORA, lasting, load_corpus
from rnncli.data.shards import VOCABULARY
from rnncli.data.vocabulary import SPECIALS, UNKNOWN, Vocabulary
from rnncli.errors import RnnError, UsageError
from rnncli.home import data_dir
from rnncli.tasks.base import Action, RecurrentSettings, Task, Trained
from rnncli.tasks.words import WordSettings, settle_words, start_from_vectors
from rnncli.training.settings import option, retuned

if TYPE_CHECKING:
    from torch import nn

    from rnncli.data.batching import Batch
    from rnncli.data.streams import Ids, Part, SentenceStream
    from rnncli.training.experiment import Experiment, Metrics

TOKENIZER = "wiki-words"

FEWEST = 20
"""Sequences; from fewer nothing can be learned and held out."""

POOL = 4096
"""Sequences that are measured together, neighbours in length side by side."""


@dataclass(frozen=True, kw_only=True)
class WikiConfig(WordSettings):
    """Settings of wiki-lm; the defaults suit the embedded toyworld and small corpora."""

    panel: ClassVar[str] = "Prose"

    corpus: tuple[str, ...] = option(
        ("toyworld",), "What `rnn data prepare` made, by its name; or a text by name or path.", suggest=tuple(CORPORA)
    )
    vocab_size: int = option(10_000, "The most frequent words that are kept; all others are UNKNOWN.", least=1)
    keep_words: tuple[str, ...] = option((), "Words that are kept however rare they are; commas part them.")
    longest: int = option(100, "Sequences are cut after so many words.", least=1, most=5_000)
    unit_vectors: bool = option(False, "Word vectors are read at length 1, as the book keeps them.")
    dropout: float = option(0.0, "Dropout on the word vectors and on the top layer.", least=0, most=0.99)
    cell: str = retuned(RecurrentSettings, "cell", "gru:reset-after")
    hidden: str = retuned(RecurrentSettings, "hidden", "128")
    epochs: int = retuned(RecurrentSettings, "epochs", 5)
    batch_size: int = retuned(RecurrentSettings, "batch_size", 64)
    lr: float = retuned(RecurrentSettings, "lr", 2e-2)
    weight_decay: float = retuned(RecurrentSettings, "weight_decay", 0.3)
    schedule: str = retuned(RecurrentSettings, "schedule", "cosine")
    warmup: float = retuned(RecurrentSettings, "warmup", 0.05)


BOOK = {
    "cell": "gru",
    "hidden": "30",
    "embedding": 30,
    "activation": "relu",
    "unit_vectors": True,
    "vocab_size": 2000,
    "dropout": 0.0,
    "optimizer": "sgd",
    "lr": 1e-5,
    "momentum": 0.99,
    "schedule": "constant",
    "clip": 0.0,
    "epochs": 10,
    "batch_size": 1,
}


class Source(NamedTuple):
    """A corpus by numbers: its parts, and the words that those stand for by frequency."""

    name: str
    parts: "list[Part]"
    words: Sequence[str]
    fingerprint: str
    tokenizer: str = TOKENIZER
    apart: "Part | None" = None  # sequences to validate on, where the corpus has some of its own


def settle(config: WikiConfig) -> WikiConfig:
    """The corpora, by paths that last, and the words to keep one by one."""
    kept = tuple(word.strip() for words in config.keep_words for word in words.split(",") if word.strip())
    return settle_words(replace(config, corpus=tuple(_lasting(spec) for spec in config.corpus), keep_words=kept))


def _lasting(spec: str) -> str:
    if not _prepared(spec):
        return lasting(spec)
    return str(Path(spec).absolute()) if "/" in spec else spec


def _prepared(spec: str) -> bool:
    """Whether a name, or the path of a folder, stands for what `rnn data prepare` made, or was about to make."""
    if "/" in spec:
        return (Path(spec) / VOCABULARY).is_file()
    folder = data_dir() / spec
    return (folder / VOCABULARY).is_file() or (folder.with_name(f"{spec}.part").is_dir() and not Path(spec).exists())


def read_source(specs: Sequence[str], tokenizer: str = TOKENIZER) -> Source:
    """Open prepared shards, which stay on disk, or read texts, a sentence a line; raises RnnError as they do.

    The tokenizer is for texts that were not written for a certain one.
    """
    if len(specs) == 1 and _prepared(specs[0]):
        return _open_shards(specs[0])
    prepared = [spec for spec in specs if _prepared(spec)]
    if prepared:
        raise UsageError(f"{prepared[0]} is prepared: give it as the only --corpus, or prepare all files together")
    return _read_texts(specs, tokenizer)


def _open_shards(name: str) -> Source:
    from rnncli.data.shards import Shards
    from rnncli.data.streams import Part

    shards = Shards.open(name)
    parts = [Part(ids, entry["sequences"]) for ids, entry in zip(shards.memmaps(), shards.index["shards"], strict=True)]
    hashes = "".join(entry["sha256"] for entry in (shards.index["vocabulary"], *shards.index["shards"]))
    return Source(shards.name, parts, shards.vocabulary, hashlib.sha256(hashes.encode()).hexdigest())


def _read_texts(specs: Sequence[str], tokenizer: str) -> Source:
    import numpy as np

    from rnncli.data.streams import Part
    from rnncli.data.tokenizers import TOKENIZERS
    from rnncli.data.vocabulary import END

    def part(lines: list[list[str]]) -> Part:
        numbers = [number for line in lines for number in (*vocabulary.encode(line), END)]
        return Part(np.array(numbers, dtype=np.int32), len(lines))

    corpora = [load_corpus(spec) for spec in specs]
    tokenizers = [corpus.tokenizer or tokenizer for corpus in corpora]
    lines, held_out = (
        [words for text, name in zip(texts, tokenizers, strict=True) for words in _lines(text, TOKENIZERS[name])]
        for texts in ([corpus.text for corpus in corpora], [corpus.held_out for corpus in corpora])
    )
    name = " + ".join(corpus.name for corpus in corpora)
    if not lines:
        raise RnnError(f"{name} has no line with words: there is nothing to read")
    vocabulary = Vocabulary.of(lines)
    learned, apart = part(lines), part(held_out) if held_out else None
    fingerprint = hashlib.sha256(" ".join(vocabulary.words).encode() + learned.ids.tobytes()).hexdigest()
    shared = tokenizers[0] if len(set(tokenizers)) == 1 else tokenizer
    return Source(name, [learned], vocabulary.words, fingerprint, shared, apart)


def _lines(text: str, tokenize: Callable[[str], list[str]]) -> list[list[str]]:
    return [words for line in text.split("\n") if (words := tokenize(line))]


def cut_vocabulary(words: Sequence[str], size: int, kept: Sequence[str]) -> tuple[Vocabulary, Any]:
    """The `size` most frequent words and those to keep, and the new number of every old one (V,); UNKNOWN for the rest.

    Raises UsageError for a word to keep that is not there.
    """
    import numpy as np

    chosen = list(words[:size])
    if kept:
        places = {word: place for place, word in enumerate(words)}
        absent = [word for word in kept if word not in places]
        if absent:
            raise UsageError(f"--keep-words: {absent[0]!r} is nowhere in the corpus")
        chosen += [word for word in dict.fromkeys(kept) if places[word] >= size]
    remap = np.full(len(SPECIALS) + len(words), UNKNOWN, dtype=np.int64)
    front = len(SPECIALS) + min(size, len(words))
    remap[:front] = np.arange(front)
    for number, word in enumerate(chosen[size:], start=front):
        remap[len(SPECIALS) + places[word]] = number
    return Vocabulary(SPECIALS + tuple(chosen)), remap


class Prose(NamedTuple):
    """A corpus as a model reads it."""

    source: Source
    vocabulary: Vocabulary
    stream: "SentenceStream"


def read_prose(config: WikiConfig) -> Prose:
    """Open or read the corpus and cut its vocabulary; raises as `read_source` and `cut_vocabulary`."""
    from rnncli.data.streams import SentenceStream

    source = read_source(config.corpus)
    _check_sequences(source, config.longest)
    vocabulary, remap = cut_vocabulary(source.words, config.vocab_size, config.keep_words)
    return Prose(source, vocabulary, SentenceStream(source.parts, remap, config.longest, source.apart))


def _check_sequences(source: Source, longest: int) -> None:
    """Raise RnnError where sequences are too few to learn from, or so long that most of them would go unread."""
    sequences = sum(part.sequences for part in source.parts)
    if sequences < FEWEST:
        raise RnnError(f"{source.name} has {sequences} sequences: {FEWEST} are the least to learn from")
    mean = sum(len(part.ids) for part in source.parts) / sequences
    if mean > longest:
        raise RnnError(
            f"the sequences of {source.name} have {mean:,.0f} words on the average, of which --longest {longest} would "
            "leave most unread: take a text with a sentence a line, or a greater --longest"
        )


def build(config: WikiConfig, device: str) -> "Experiment":
    """Open the corpus, and make a fresh model over its most frequent words."""
    import torch

    from rnncli.data.batching import Sentences
    from rnncli.training.experiment import Experiment
    from rnncli.training.losses import language_loss
    from rnncli.training.metrics import prediction_metrics

    prose = read_prose(config)
    place = torch.device(device)
    payload = {
        "corpus": prose.source.name,
        "fingerprint": prose.source.fingerprint,
        "tokenizer": prose.source.tokenizer,
        "vocabulary": list(prose.vocabulary.tokens),
    }
    held_out = Sentences.of([ids.tolist() for ids in prose.stream.held_out()]).to(place)
    stream = prose.stream
    model: Any = build_model(config, payload).to(device)
    model.expect(stream.frequencies(len(prose.vocabulary)).to(place))
    return Experiment(
        model=model,
        begin=lambda: start_from_vectors(config, model, prose.vocabulary.tokens),
        batches=lambda epoch, begin=0: stream.batches(config.batch_size, config.seed, epoch, place, begin),
        batches_per_epoch=stream.batches_per_epoch(config.batch_size),
        about=_about(prose),
        loss=language_loss,
        validate=lambda model: prediction_metrics(model, held_out.in_order(64)),
        payload=payload,
    )


def _about(prose: Prose) -> str:
    stream = prose.stream
    tokens = sum(len(part.ids) for part in stream.parts)
    sequences = sum(part.sequences for part in stream.parts)
    learned = sum(stream.count(part) for part in range(len(stream.parts)))
    return (
        f"{prose.source.name}: {tokens:,} tokens in {sequences:,} sequences, {learned:,} of them to learn, "
        f"{len(prose.vocabulary.words):,} of {len(prose.source.words):,} words"
    )


def build_model(config: WikiConfig, payload: Mapping[str, Any]) -> "nn.Module":
    """An untrained language model over the payload's vocabulary."""
    from rnncli.models.language_model import Dropouts, LanguageModel

    return LanguageModel(
        len(payload["vocabulary"]),
        config.embedding,
        config.shape,
        dropouts=Dropouts(embedding=config.dropout, output=config.dropout),
        tied=config.tied,
        softmax=config.softmax,
        unit_vectors=config.unit_vectors,
        spellings=config.spellings(payload["vocabulary"]),
        frozen=config.freeze_embeddings,
        backend=config.backend,
    )


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What to evaluate on."""

    corpus: tuple[str, ...] = option(
        (), "Evaluate on this text, a sentence a line (ptb: on its own validation text), not on what was held out."
    )


def evaluation_stream(trained: Trained, options: EvaluateOptions) -> "Iterator[Ids]":
    """The sequences to measure on, numbered: of another text, or those that training held out.

    Of a text that has a part to validate on, it is that part. Raises UsageError where what it learned from has changed
    or cannot be read again.
    """
    import numpy as np

    from rnncli.data.streams import SentenceStream

    config: WikiConfig = trained.config
    if options.corpus:
        source = read_source(options.corpus, trained.payload["tokenizer"])
        numbers = Vocabulary(tuple(trained.payload["vocabulary"])).encode((*SPECIALS, *source.words))
        parts = [source.apart] if source.apart else source.parts
        return SentenceStream(parts, np.array(numbers, dtype=np.int64), config.longest).everything()
    trained.check_readable()
    prose = read_prose(config)
    trained.check_unchanged(prose.source.name, prose.source.fingerprint)
    return prose.stream.held_out()


def evaluate(trained: Trained, options: EvaluateOptions) -> "Metrics":
    """Loss, perplexity, accuracy over all predicted words and ENDs; the share of the words that are UNKNOWN."""
    import numpy as np

    from rnncli.data.batching import Sentences
    from rnncli.training.metrics import prediction_metrics

    counts = Counter[str]()

    def batches() -> "Iterator[Batch]":
        sequences = evaluation_stream(trained, options)
        while pool := list(islice(sequences, POOL)):
            counts["sequences"] += len(pool)
            counts["words"] += sum(map(len, pool))
            counts["unknown"] += sum(int(np.count_nonzero(ids == UNKNOWN)) for ids in pool)
            yield from Sentences.of([ids.tolist() for ids in pool]).in_order(64)

    metrics = prediction_metrics(trained.model, batches())
    return {**metrics, "unknown": counts["unknown"] / max(1, counts["words"]), "sequences": counts["sequences"]}


def evaluated(trained: Trained, options: EvaluateOptions) -> str:
    """What `evaluate` measures on, in words."""
    return " + ".join(options.corpus) or f"{trained.payload['corpus']}, held-out sequences"


TASK = Task(
    name="wiki-lm",
    summary="Learn running prose, of any size, sentence by sentence.",
    Config=WikiConfig,
    settle=settle,
    build=build,
    build_model=build_model,
    evaluate=Action(EvaluateOptions, evaluate, "rnn evaluate wiki-lm", corpus=evaluated),
    presets={"book": BOOK},
    word_vectors=2,
)
