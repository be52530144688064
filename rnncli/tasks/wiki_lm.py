"""wiki-lm: a language model of prose, by sentences or as running text, from shards that are never loaded whole."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rnncli.data.corpora import CORPORA, lasting, load_corpus, load_test, written_as_path
from rnncli.data.shards import VOCABULARY
from rnncli.data.tokenizers import LOOKED_AT, SPACED, TOKENIZERS, hint_of_unspaced, written_word
from rnncli.data.vocabulary import END, SPECIALS, START, UNKNOWN, Vocabulary
from rnncli.errors import RnnError, UsageError
from rnncli.home import data_dir
from rnncli.tasks.adapting import AdaptingOptions
from rnncli.tasks.base import BOOK_TRAINING, Action, RecurrentSettings, Script, Task, Trained
from rnncli.tasks.language import valid_option
from rnncli.tasks.last_step import of_language_model
from rnncli.tasks.scoring import Reading as TextReading
from rnncli.tasks.scoring import scorer, sentence
from rnncli.tasks.starting import grown, known_payload, settle_start
from rnncli.tasks.watching import watcher
from rnncli.tasks.words import BOOK_WORDS, WordSettings, settle_words, start, tokenizer_of, tokens_option, word_model
from rnncli.tasks.writing import Writing, WritingOptions, Written, join_words, joined_words, printable, write_on
from rnncli.training.settings import option, retuned

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from rnncli.data.batching import Sentences
    from rnncli.data.sources import Corpus
    from rnncli.data.streams import Ids, Joined, Part, SentenceStream
    from rnncli.training.adaptation import Adaptation
    from rnncli.training.experiment import Batches, Experiment, Metrics

TOKENIZER = "wiki-words"

FEWEST = 20
"""Sequences; from fewer nothing can be learned and held out."""

FEWEST_TOKENS = 200
"""The same of running text."""

STEPS = 35
"""Tokens that backpropagation goes back through in running text (Zaremba et al. 2014), where --bptt says nothing."""

UNIT_VECTORS = ("no", "row", "matrix")

LONGEST = 5_000
"""Words of a sentence that are read at most."""

POOL = 4096
"""Sequences that are measured together, neighbours in length side by side."""


@dataclass(frozen=True, kw_only=True)
class WikiConfig(WordSettings):
    """Settings of wiki-lm; the defaults suit the embedded toyworld and small corpora."""

    panel: ClassVar[str] = "Prose"
    fast_precision: ClassVar[Mapping[str, str]] = {"cuda": "tf32"}

    corpus: tuple[str, ...] = option(
        ("toyworld",), "What `rnn data prepare` made, by its name; or a text by name or path.", suggest=tuple(CORPORA)
    )
    tokens: str = tokens_option()
    valid: tuple[str, ...] = valid_option()
    vocab_size: int = option(10_000, "The most frequent words that are kept; all others are UNKNOWN.", least=1)
    min_count: int = option(1, "Words seen less often in the corpus are UNKNOWN.", least=1)
    keep_words: tuple[str, ...] = option((), "Words that are kept however rare they are; commas part them.")
    running: bool = option(
        False,
        "Read one stream a row, END after each sentence, the state carried on; or sentence by sentence.",
        shape=True,
    )
    longest: int = option(100, "Sentences are cut after so many words.", least=1, most=LONGEST)
    end_share: float = option(
        1.0,
        "Share of the sentences, drawn in each epoch, whose END is learned; those of one word always learn it.",
        least=0,
        most=1,
    )
    unit_vectors: str = option(
        "no",
        "Hold input vectors at norm 1: each where it is read (row, also the bare flag), or all together after each "
        "step (matrix, as the book); or (also --no-unit-vectors) not",
        choices=UNIT_VECTORS,
        switch=("no", "row"),
        shape=True,
    )
    cell: str = retuned(RecurrentSettings, "cell", "gru:reset-after")
    hidden: str = retuned(RecurrentSettings, "hidden", "128")
    epochs: int = retuned(RecurrentSettings, "epochs", 5)
    batch_size: int = retuned(RecurrentSettings, "batch_size", 64)
    lr: float = retuned(RecurrentSettings, "lr", 2e-2)
    weight_decay: float = retuned(RecurrentSettings, "weight_decay", 0.3)
    schedule: str = retuned(RecurrentSettings, "schedule", "cosine")
    warmup: float = retuned(RecurrentSettings, "warmup", 0.05)

    @property
    def first_token(self) -> int:
        """What the first word of a sentence follows: START, or in running text the END of the sentence before."""
        return END if self.running else START


BOOK = {
    **BOOK_TRAINING,
    **BOOK_WORDS,
    "cell": "gru:reset-before",
    "lr": 1e-5,
    "epochs": 10,
    "running": False,
    "vocab_size": 2000,
    "min_count": 1,
    "keep_words": ("king", "queen", "man", "woman"),
    "longest": LONGEST,
    "end_share": 0.01,
    "unit_vectors": "matrix",
}


RUNNING = {
    "running": True,
    "cell": "lstm:none",
    "hidden": "256",
    "embedding": 256,
    "tied": True,
    "softmax": "sampled",
    "embedding_dropout": 0.2,
    "output_dropout": 0.3,
    "optimizer": "muon",
    "lr": 1e-2,
    "beta2": 0.99,
    "weight_decay": 0.05,
    "epochs": 3,
    "batch_size": 32,
}
"""The best recipe found for running text of a million words and two minutes of two cores."""


class Source(NamedTuple):
    """A corpus by numbers: its parts, and the words that those stand for by frequency."""

    name: str
    parts: "list[Part]"
    words: Sequence[str]
    counts: Callable[[], Sequence[int]]  # how often each word is there
    fingerprint: str
    tokenizer: str = TOKENIZER
    apart: "Part | None" = None  # sequences to validate on, where there are some of their own
    new: Sequence[str] = ()  # words of those alone, with the numbers after `words`

    @property
    def all_words(self) -> Sequence[str]:
        """The words of all sequences, by number."""
        return (*self.words, *self.new) if self.new else self.words


def settle(config: WikiConfig) -> WikiConfig:
    """The corpora, by paths that last, the words to keep one by one, and where running text is cut into steps."""
    kept = tuple(word.strip() for words in config.keep_words for word in words.split(",") if word.strip())
    bptt = config.bptt or (STEPS if config.running else 0)
    corpus, valid = (tuple(_lasting(spec) for spec in specs) for specs in (config.corpus, config.valid))
    _check_sentences(config)
    config = replace(config, corpus=corpus, valid=valid, keep_words=kept, bptt=bptt)
    return settle_start(settle_words(config), "wiki-lm")


def _check_sentences(config: WikiConfig) -> None:
    """Raise UsageError for what one stream, or vectors that are not one free matrix, cannot do."""
    if config.running and config.end_share < 1:
        raise UsageError(
            f"--end-share {config.end_share:g} is for sentences: --running learns every END; add --end-share 1"
        )
    others = {
        "--freeze-embeddings": config.freeze_embeddings,
        "--tied": config.tied,
        "--spelling": config.spelling > 0,
    }
    clash = next((flag for flag, is_on in others.items() if is_on), None)
    if config.unit_vectors == "matrix" and clash:
        raise UsageError(f"--unit-vectors matrix scales free input vectors only: leave {clash} out, or take row or no")


def _lasting(spec: str) -> str:
    if not _prepared(spec):
        return lasting(spec)
    return str(Path(spec).absolute()) if written_as_path(spec) else spec


def _prepared(spec: str) -> bool:
    """Whether a name, or the path of a folder, stands for what `rnn data prepare` made, or was about to make."""
    if written_as_path(spec):
        return (Path(spec) / VOCABULARY).is_file()
    folder = data_dir() / spec
    return (folder / VOCABULARY).is_file() or (folder.with_name(f"{spec}.part").is_dir() and not Path(spec).exists())


def read_source(specs: Sequence[str], tokenizer: str = TOKENIZER, valid: Sequence[str] = ()) -> Source:
    """Open prepared shards, which stay on disk, or read texts, a sentence a line; raises RnnError as they do.

    The tokenizer is for texts that were not written for a certain one. The lines of `valid` are to validate on.
    """
    prepared = [spec for spec in (*specs, *valid) if _prepared(spec)]
    if prepared and tokenizer == SPACED:
        raise UsageError(f"{prepared[0]} was prepared by other words than --tokens spaced: give a text")
    if prepared and (len(specs) > 1 or prepared != [*specs]):
        raise UsageError(f"{prepared[0]} is prepared: give it as the only --corpus, or prepare all files together")
    source = _open_shards(specs[0]) if prepared else _read_texts(specs, tokenizer)
    return _validated(source, valid) if valid else source


def _validated(source: Source, valid: Sequence[str]) -> Source:
    """A corpus with other texts to validate on."""
    corpora = [load_corpus(spec) for spec in valid]
    lines = [line for each in corpora for line in _lines(each.text, TOKENIZERS[each.tokenizer or source.tokenizer])]
    if not lines:
        raise RnnError(f"{' + '.join(valid)} has no line with words: give another text to --valid")
    found = _with_apart(source, lines)
    what = [source.fingerprint, *found.new, found.apart.ids.tobytes().hex() if found.apart else ""]
    return found._replace(fingerprint=hashlib.sha256(" ".join(what).encode()).hexdigest())


def _with_apart(source: Source, lines: Sequence[Sequence[str]]) -> Source:
    """A corpus with lines to validate on; words in them that it has not get the numbers after its own."""
    known = Vocabulary((*SPECIALS, *source.words))
    new = dict.fromkeys(word for line in lines for word in line if word not in known.numbers)
    return source._replace(apart=_part(lines, Vocabulary((*known.tokens, *new))), new=tuple(new))


def _part(lines: Sequence[Sequence[str]], vocabulary: Vocabulary) -> "Part":
    """Lines by number, an END after each."""
    import numpy as np

    from rnncli.data.streams import Part

    numbers = [number for line in lines for number in (*vocabulary.encode(line), END)]
    return Part(np.array(numbers, dtype=np.int32), len(lines))


def _open_shards(name: str) -> Source:
    from rnncli.data.shards import Shards
    from rnncli.data.streams import Part

    shards = Shards.open(name)
    parts = [Part(ids, entry["sequences"]) for ids, entry in zip(shards.memmaps(), shards.index["shards"], strict=True)]
    hashes = "".join(entry["sha256"] for entry in (shards.index["vocabulary"], *shards.index["shards"]))
    return Source(
        shards.name, parts, shards.vocabulary, lambda: shards.counts, hashlib.sha256(hashes.encode()).hexdigest()
    )


def _read_texts(specs: Sequence[str], tokenizer: str) -> Source:
    return _of_corpora([load_corpus(spec) for spec in specs], tokenizer)


def read_test(specs: Sequence[str], tokenizer: str = TOKENIZER) -> Source:
    """The texts that corpora have to test on, read as `read_source` reads texts; raises UsageError where none has one.

    The tokenizer is as there. Raises RnnError where one is not downloaded.
    """
    found = [corpus for spec in specs if (corpus := load_test(spec))]
    if not found:
        raise UsageError(
            f"{' + '.join(specs)} has no text of its own to test on: leave --split out, or give the text by --corpus"
        )
    return _of_corpora(found, tokenizer)


def _of_corpora(corpora: "Sequence[Corpus]", tokenizer: str) -> Source:
    import numpy as np

    tokenizers = [corpus.tokenizer or tokenizer for corpus in corpora]
    lines, held_out = (
        [words for text, name in zip(texts, tokenizers, strict=True) for words in _lines(text, TOKENIZERS[name])]
        for texts in ([corpus.text for corpus in corpora], [corpus.held_out for corpus in corpora])
    )
    name = " + ".join(corpus.name for corpus in corpora)
    if not lines:
        raise RnnError(f"{name} has no line with words: there is nothing to read")
    vocabulary = Vocabulary.of(lines)
    learned = _part(lines, vocabulary)
    fingerprint = hashlib.sha256(" ".join(vocabulary.words).encode() + learned.ids.tobytes()).hexdigest()
    shared = tokenizers[0] if len(set(tokenizers)) == 1 else tokenizer
    counts = np.bincount(learned.ids, minlength=len(vocabulary))[len(SPECIALS) :].tolist()
    source = Source(name, [learned], vocabulary.words, lambda: counts, fingerprint, shared)
    return _with_apart(source, held_out) if held_out else source


def _lines(text: str, tokenize: Callable[[str], list[str]]) -> list[list[str]]:
    return [words for line in text.split("\n") if (words := tokenize(line))]


def cut_vocabulary(words: Sequence[str], size: int, kept: Sequence[str]) -> Vocabulary:
    """The `size` most frequent words, and those to keep; raises UsageError for a word to keep that is not there."""
    chosen = list(words[:size])
    if kept:
        places = {word: place for place, word in enumerate(words)}
        absent = [word for word in kept if word not in places]
        if absent:
            raise UsageError(f"--keep-words: {absent[0]!r} is nowhere in the corpus; --keep-words '' keeps none")
        chosen += [word for word in dict.fromkeys(kept) if places[word] >= size]
    return Vocabulary(SPECIALS + tuple(chosen))


def remap(source: Source, vocabulary: Vocabulary) -> "Ids":
    """The number that a vocabulary has for each of a corpus's own; UNKNOWN for the rest."""
    import numpy as np

    return np.array(vocabulary.encode((*SPECIALS, *source.all_words)), dtype=np.int64)


class Prose(NamedTuple):
    """A corpus as a model reads it."""

    source: Source
    vocabulary: Vocabulary
    stream: "SentenceStream"


def read_prose(config: WikiConfig, trained: Mapping[str, Any] | None = None) -> Prose:
    """Open or read the corpus as a trained model's payload has it, or by a vocabulary of its own.

    That goes on from the one of the model to start from, where there is one. Raises as `read_source` and
    `cut_vocabulary`.
    """
    from rnncli.data.streams import SentenceStream

    known = known_payload(config) if trained is None else trained
    source = read_source(config.corpus, tokenizer_of(config, TOKENIZER, known), config.valid)
    if config.running:
        _check_tokens(source)
    else:
        _check_sequences(source, config.longest)
    if trained is None:
        vocabulary = grown(config, _frequent(config, source))
    else:
        vocabulary = Vocabulary(tuple(trained["vocabulary"]))
    stream = SentenceStream(source.parts, remap(source, vocabulary), config.longest, source.apart)
    return Prose(source, vocabulary, stream)


def _frequent(config: WikiConfig, source: Source) -> Vocabulary:
    size = config.vocab_size
    if config.min_count > 1:
        size = min(size, sum(count >= config.min_count for count in source.counts()))
        if not size:
            raise UsageError(f"{source.name}: no word comes {config.min_count} times: take a smaller --min-count")
    return cut_vocabulary(source.words, size, config.keep_words)


def _check_tokens(source: Source) -> None:
    tokens = sum(len(part.ids) for part in source.parts)
    if tokens < FEWEST_TOKENS:
        raise RnnError(f"{source.name} has {tokens} tokens: {FEWEST_TOKENS} are the least to learn from")


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

    from rnncli.training.experiment import Experiment

    prose = read_prose(config)
    payload = {
        "corpus": prose.source.name,
        "fingerprint": prose.source.fingerprint,
        "tokenizer": prose.source.tokenizer,
        "vocabulary": list(prose.vocabulary.tokens),
    }
    model: Any = build_model(config, payload).to(device)
    read = _running if config.running else _by_sentence
    data = read(config, prose.stream, torch.device(device))
    model.expect(data.frequencies(len(prose.vocabulary)).to(device))
    return Experiment(
        model=model,
        begin=lambda: start(config, model, payload),
        batches=data.batches,
        batches_per_epoch=data.batches_per_epoch,
        about=_about(prose, data.about),
        loss=config.loss,
        uses_all=config.softmax != "adaptive" and not (config.running and config.learn_h0),
        after_step=lambda model: model.scale_vectors(),
        validate=data.validate,
        payload=payload,
    )


class Reading(NamedTuple):
    """A way to read a corpus: what an experiment needs of it."""

    batches: "Batches"
    batches_per_epoch: int
    frequencies: "Callable[[int], Tensor]"  # of V words, (V,)
    validate: "Callable[[nn.Module], Metrics]"
    about: str


def _by_sentence(config: WikiConfig, stream: "SentenceStream", place: "torch.device") -> Reading:
    from rnncli.data.batching import Sentences
    from rnncli.training.metrics import prediction_metrics

    held_out = Sentences.of([ids.tolist() for ids in stream.held_out()]).to(place)
    learned = sum(stream.count(part) for part in range(len(stream.parts)))
    stream = replace(stream, end_share=config.end_share)
    return Reading(
        batches=lambda epoch, begin=0: stream.batches(config.step_size, config.seed, epoch, place, begin),
        batches_per_epoch=stream.batches_per_epoch(config.step_size),
        frequencies=stream.frequencies,
        validate=lambda model: prediction_metrics(model, held_out.in_order(64)),
        about=f"{learned:,} of them to learn",
    )


def _running(config: WikiConfig, stream: "SentenceStream", place: "torch.device") -> Reading:
    from rnncli.data.streams import CHUNK, RunningText
    from rnncli.training.metrics import running_metrics

    learned, held_out = stream.running()
    text = RunningText(learned, config.step_size, config.bptt)
    return Reading(
        batches=lambda _, begin=0: text.batches(place, begin),
        batches_per_epoch=text.batches_per_epoch,
        frequencies=lambda words: learned.frequencies(words, CHUNK),
        validate=lambda model: running_metrics(model, held_out),
        about=f"read as one stream, {len(held_out) - 1:,} tokens held out",
    )


def _about(prose: Prose, how: str) -> str:
    tokens = sum(len(part.ids) for part in prose.stream.parts)
    sequences = sum(part.sequences for part in prose.stream.parts)
    hint = hint_of_unspaced(prose.source.words[:LOOKED_AT]) if prose.source.tokenizer == TOKENIZER else ""
    return (
        f"{prose.source.name}: {tokens:,} tokens in {sequences:,} sequences, {how}, "
        f"{len(prose.vocabulary.words):,} of {len(prose.source.words):,} words{hint and f'; {hint}'}"
    )


def build_model(config: WikiConfig, payload: Mapping[str, Any]) -> "nn.Module":
    """An untrained language model over the payload's vocabulary."""
    return word_model(config, payload, unit_vectors=config.unit_vectors)


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(AdaptingOptions):
    """What to evaluate on, and how."""

    corpus: tuple[str, ...] = option(
        (), "Evaluate on this text, a sentence a line (ptb: on its own validation text), not on what was held out."
    )
    split: str = option(
        "validation", "validation, or the text that the corpus has to test on (ptb).", choices=("validation", "test")
    )


class Judged(NamedTuple):
    """What a model is measured on, by its numbers."""

    stream: "SentenceStream"
    whole: bool  # all of it, or what training held out
    sizes: "Ids"  # of each word of the corpus in characters, with the blank or line feed after it

    @property
    def text(self) -> "Joined":
        """As running text."""
        return self.stream.running_whole() if self.whole else self.stream.running()[1]

    @property
    def sequences(self) -> "Iterator[Ids]":
        """Sentence by sentence."""
        return self.stream.everything() if self.whole else self.stream.held_out()

    @property
    def by_size(self) -> "Judged":
        """The same with the size of each word in the place of its number."""
        return self._replace(stream=replace(self.stream, remap=self.sizes))


def judged(trained: Trained, options: EvaluateOptions) -> Judged:
    """What to measure on: another text, or what training held out of its own.

    Of a text that has a part to validate on, it is that part; of one with a part to test on, that one for the split
    `test`. Raises UsageError where there is none, and where what it learned from has changed or cannot be read again.
    """
    from rnncli.data.streams import SentenceStream

    if options.corpus or options.split == "test":
        specs, tokenizer = options.corpus or trained.config.corpus, trained.payload["tokenizer"]
        source = (read_test if options.split == "test" else read_source)(specs, tokenizer)
        numbers = remap(source, Vocabulary(tuple(trained.payload["vocabulary"])))
        parts = [source.apart] if source.apart else source.parts
        return Judged(SentenceStream(parts, numbers, trained.config.longest), True, _sizes(source))
    prose = training_prose(trained, "give --corpus")
    return Judged(prose.stream, False, _sizes(prose.source))


def training_prose(trained: Trained, instead: str) -> Prose:
    """The text a model was trained on, read again; raises UsageError where it changed or cannot be."""
    with trained.reading_again(instead):
        prose = read_prose(trained.config, trained.payload)
    trained.check_unchanged(prose.source.name, prose.source.fingerprint, instead)
    return prose


def _sizes(source: Source) -> "Ids":
    import numpy as np

    return np.array([0, 0, len("<unk> "), *(len(word) + 1 for word in source.all_words)], dtype=np.int64)


def evaluate(trained: Trained, options: EvaluateOptions) -> "Metrics":
    """Loss, perplexity, accuracy over all predicted words and ENDs; bits a character; the share that is UNKNOWN.

    The characters are those of the words as they are read, with a blank or a line feed after each.
    """
    measure = _measure_running if trained.config.running else _measure_sentences
    return measure(trained, judged(trained, options), options.adaptation)


def judged_tokens(trained: Trained, options: EvaluateOptions) -> "list[Any]":
    """The sentences to measure on, by number, each with its END; raises as `judged`."""
    import numpy as np

    asked = judged(trained, options)
    sentences = asked.text.sentences() if trained.config.running else asked.sequences
    return [np.append(sentence, END) for sentence in sentences]


def _measure_running(trained: Trained, asked: Judged, adaptation: "Adaptation | None") -> "Metrics":
    from rnncli.training.adaptation import running_metrics_as
    from rnncli.training.metrics import bits_per_character

    text = asked.text
    metrics = running_metrics_as(trained.model, text, adaptation)
    counts = text.frequencies(len(trained.payload["vocabulary"])).tolist()
    tokens = len(text) - 1  # the first one is there to go on from
    sequences = counts[END] - 1
    characters = sum(int(sizes.sum()) for sizes in asked.by_size.text.chunks())
    return {
        **metrics,
        "bits_per_char": bits_per_character(metrics["loss"], tokens / max(1, characters)),
        "unknown": counts[UNKNOWN] / max(1, tokens - sequences),
        "sequences": sequences,
        "tokens": tokens,
    }


def _measure_sentences(trained: Trained, asked: Judged, adaptation: "Adaptation | None") -> "Metrics":
    import numpy as np
    import torch

    from rnncli.data.batching import Sentences
    from rnncli.training.adaptation import sentence_metrics_as
    from rnncli.training.metrics import bits_per_character

    counts, sequences = Counter[str](), asked.sequences

    def pools() -> "Iterator[Sentences]":
        while pool := list(islice(sequences, POOL)):
            counts["sequences"] += len(pool)
            counts["words"] += sum(map(len, pool))
            counts["unknown"] += sum(int(np.count_nonzero(ids == UNKNOWN)) for ids in pool)
            yield Sentences.of([ids.tolist() for ids in pool]).to(torch.device(trained.device))

    metrics = sentence_metrics_as(trained.model, pools(), adaptation)
    characters = sum(int(sizes.sum()) for sizes in asked.by_size.sequences)
    tokens = counts["words"] + counts["sequences"]
    return {
        **metrics,
        "bits_per_char": bits_per_character(metrics["loss"], tokens / max(1, characters)),
        "unknown": counts["unknown"] / max(1, counts["words"]),
        "sequences": counts["sequences"],
    }


def evaluated(trained: Trained, options: EvaluateOptions) -> str:
    """What `evaluate` measures on, in words."""
    if options.split == "test":
        return f"{' + '.join(options.corpus) or trained.payload['corpus']}, test"
    return " + ".join(options.corpus or trained.config.valid) or f"{trained.payload['corpus']}, what was held out"


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(WritingOptions):
    """How to write prose."""

    prime: str = option("", "Words to go on from, or @FILE for those of a file; a line's end ends a sentence.")
    length: int = option(100, "Words to write at most, an END a sentence counted.", least=1)


def write(trained: Trained, options: GenerateOptions) -> Written:
    """Write sentences, a line each; the prime begins the first, or all but its last line goes before it.

    Words of it that the model does not know are read as UNKNOWN. A model of running text reads all of it; one of
    sentences, which begins each of them anew, the last line alone.
    """
    from rnncli.models.decoding import restarting

    options.check()
    config: WikiConfig = trained.config
    vocabulary = Vocabulary(tuple(trained.payload["vocabulary"]))
    tokenize = TOKENIZERS[trained.payload["tokenizer"]]
    lines = [printable(tokenize(line)) for line in options.read_prime().split("\n")]
    before = [number for words in lines[:-1] if words for number in (*vocabulary.encode(words), END)]
    opened = vocabulary.encode(lines[-1])
    prime = [END, *before, *opened] if config.running else [START, *opened]
    writing = Writing(
        join=partial(joined_words, trained, begun=bool(opened)),
        barred=(START, UNKNOWN),
        barred_at_first=() if opened else (END,),
        end=END,
        shown="".join(join_words(lines[-1], spaced=trained.payload["tokenizer"] == SPACED)),
        stepping=(lambda step, _: step) if config.running else partial(restarting, start=START, end=END),
    )
    written = write_on(trained, options, prime, writing)
    written.unknown = sorted({word for words in lines for word in words if word not in vocabulary.numbers})
    return written


def learned(trained: Trained, instead: str) -> "Iterator[Ids]":
    """The sentences that a model learned from, by number, each with its END; raises as `training_prose`."""
    import numpy as np

    stream = training_prose(trained, instead).stream
    for ids in stream.running()[0].sentences() if trained.config.running else stream.sequences():
        yield np.append(ids, END)


def reading(trained: Trained) -> TextReading:
    """A text is a sentence, or in running prose one of a stream of them."""
    return sentence(trained, trained.config.first_token)._replace(carries=trained.config.running)


def passage(trained: Trained) -> Iterator[str]:
    """The sentences that training held out, in the corpus's own words; raises as `training_prose`."""
    import numpy as np

    prose = training_prose(trained, "give --text")
    words = [*map(written_word, SPECIALS), *prose.source.all_words]
    stream = replace(prose.stream, remap=np.arange(len(words)))
    for ids in stream.running()[1].sentences() if trained.config.running else stream.held_out():
        yield " ".join(words[number] for number in ids.tolist())


TASK = Task(
    name="wiki-lm",
    summary="Learn running prose, of any size, sentence by sentence.",
    Config=WikiConfig,
    settle=settle,
    build=build,
    build_model=build_model,
    keeps={"fingerprint": None, "tokenizer": TOKENIZERS, "vocabulary": None},
    evaluate=Action(EvaluateOptions, evaluate, "rnn evaluate wiki-lm", corpus=evaluated),
    uses={
        "generate": Action(GenerateOptions, write, 'rnn generate wiki --prime "the king of" --length 60'),
        "score": scorer(reading),
        "activations": watcher(reading, passage),
    },
    presets={"book": BOOK, "running": RUNNING},
    script=Script(learned, judged_tokens, joined_words),
    last_step=of_language_model(reading),
    word_vectors=2,
)
