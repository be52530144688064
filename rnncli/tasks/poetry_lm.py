"""poetry-lm: learn verse line by line, each line a sequence from START to END, and write more of it."""

import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rnncli.data.corpora import CORPORA, available, lasting, load_corpus
from rnncli.data.scripts import lacks_blanks
from rnncli.data.sources import Corpus
from rnncli.data.text import STDIN, lines_of, reads_as_before
from rnncli.data.tokenizers import TOKENIZERS, written_word
from rnncli.data.vocabulary import END, START, UNKNOWN, Vocabulary
from rnncli.errors import RnnError, UsageError
from rnncli.tasks.adapting import AdaptingOptions
from rnncli.tasks.base import BOOK_TRAINING, Action, RecurrentSettings, Script, Task, Trained
from rnncli.tasks.language import LanguageSettings, settle_hold_out, valid_option
from rnncli.tasks.last_step import of_language_model
from rnncli.tasks.scoring import scorer, sentence
from rnncli.tasks.starting import as_known, grown, known_payload, settle_start
from rnncli.tasks.voices import known_labels, label_number, labels_of, payload_of, voices_option
from rnncli.tasks.watching import watcher
from rnncli.tasks.words import BOOK_WORDS, WordSettings, settle_words, start, tokenizer_of, tokens_option, word_model
from rnncli.tasks.writing import (
    Draft,
    Writing,
    WritingOptions,
    Written,
    joined_words,
    listener,
    printable,
    write_on,
)
from rnncli.training.settings import option, retuned

if TYPE_CHECKING:
    from torch import nn

    from rnncli.data.batching import Sentences
    from rnncli.training.experiment import Experiment, Metrics

TOKENIZER = "verse-words"
LONGEST_LINE = 1_000
"""Words; a longer line is no verse, and one step of it would not fit in memory."""


@dataclass(frozen=True, kw_only=True)
class PoetryConfig(WordSettings):
    """Settings of poetry-lm; the defaults are the best recipe found for a minute of two cores."""

    panel: ClassVar[str] = "Verse"

    corpus: tuple[str, ...] = option(
        (), "Name, file, folder or - (standard input); may be repeated.", suggest=tuple(CORPORA)
    )
    voices: bool = voices_option()
    tokens: str = tokens_option()
    valid: tuple[str, ...] = valid_option()
    word_dropout: float = retuned(LanguageSettings, "word_dropout", 0.1)
    embedding_dropout: float = retuned(LanguageSettings, "embedding_dropout", 0.7)
    output_dropout: float = retuned(LanguageSettings, "output_dropout", 0.7)
    label_smoothing: float = retuned(LanguageSettings, "label_smoothing", 0.05)
    min_count: int = option(2, "Words seen less often in the training lines are UNKNOWN.", least=1)
    hold_out: int = option(10, "Every so many-th line is held out for validation; 0: none.", least=0)
    embedding: int = retuned(LanguageSettings, "embedding", 512)
    tied: bool = retuned(LanguageSettings, "tied", True)
    cell: str = retuned(RecurrentSettings, "cell", "gru:reset-after")
    hidden: str = retuned(RecurrentSettings, "hidden", "192")
    epochs: int = retuned(RecurrentSettings, "epochs", 16)
    lr: float = retuned(RecurrentSettings, "lr", 3e-3)
    weight_decay: float = retuned(RecurrentSettings, "weight_decay", 0.1)
    schedule: str = retuned(RecurrentSettings, "schedule", "cosine")
    warmup: float = retuned(RecurrentSettings, "warmup", 0.05)


BOOK = {
    **BOOK_TRAINING,
    **BOOK_WORDS,
    "cell": "elman",
    "lr": 1e-4,
    "epochs": 2000,
    "min_count": 1,
    "hold_out": 0,
}


class Line(NamedTuple):
    """A line of verse."""

    words: list[str]
    voice: str  # the name of the corpus it is from


class Verse(NamedTuple):
    """A corpus taken apart: the lines to learn from, and those held out."""

    name: str
    training: list[Line]
    held_out: list[Line]

    @property
    def fingerprint(self) -> str:
        """A hash of all its words in their places: whether a text is still the same."""
        text = "\n".join(" ".join(line.words) for lines in (self.training, self.held_out) for line in lines)
        return hashlib.sha256(text.encode()).hexdigest()


def settle(config: PoetryConfig) -> PoetryConfig:
    """Where no corpus is named: Frost where `data/` has him, else the embedded voice."""
    default = ("frost",) if available("frost") else ("hillside",)
    corpus = tuple(lasting(spec) for spec in config.corpus) or default
    hold_out = settle_hold_out(config, PoetryConfig.hold_out)
    config = replace(config, corpus=corpus, valid=tuple(map(lasting, config.valid)), hold_out=hold_out)
    return settle_start(settle_words(config), "poetry-lm")


def read_verse(specs: Sequence[str], hold_out: int, tokenizer: str = TOKENIZER, valid: Sequence[str] = ()) -> Verse:
    """Read corpora and split off every `hold_out`-th line; or hold the lines of other corpora out.

    Raises RnnError when nothing readable is there, when no word is left, or when a line is too long to be verse.
    """
    corpora = [load_corpus(spec) for spec in specs]
    lines = [line for corpus in corpora for line in _lines(corpus, tokenizer)]
    if len(lines) < 2:
        raise RnnError(f"{' + '.join(corpus.origin for corpus in corpora)}: fewer than two lines with words in them")
    held_out = lines[hold_out - 1 :: hold_out] if hold_out else []
    if valid:
        held_out = [line for spec in valid for line in _lines(load_corpus(spec), tokenizer)]
        if not held_out:
            raise RnnError(f"{' + '.join(valid)} has no line with words: give another text to --valid")
    training = [line for place, line in enumerate(lines) if not hold_out or (place + 1) % hold_out]
    if not training:
        raise UsageError(f"--hold-out {hold_out} leaves no line to train on")
    return Verse(" + ".join(corpus.name for corpus in corpora), training, held_out)


def _lines(corpus: Corpus, tokenizer: str) -> list[Line]:
    lines = []
    if not reads_as_before() and lacks_blanks(corpus.text):
        spec = "-" if corpus.origin == STDIN else shlex.quote(corpus.origin)
        raise RnnError(
            f"{corpus.origin} has no blanks between its words, and verse is learned word by word: learn it letter by "
            f"letter, `rnn train char-lm --corpus {spec}`"
        )
    found = corpus.text.splitlines() if reads_as_before() else lines_of(corpus.text)
    for number, line in enumerate(found, start=1):
        words = TOKENIZERS[tokenizer](line)
        if len(words) > LONGEST_LINE:
            raise RnnError(
                f"{corpus.origin}: line {number} has {len(words):,} words, and verse is learned line by line: "
                f"break lines at {LONGEST_LINE:,} words or fewer"
            )
        if words:
            lines.append(Line(words, corpus.name))
    return lines


def line_key(words: Sequence[str]) -> int:
    """A line's fingerprint: 63 bits, enough to know a copied line without keeping the text."""
    return int.from_bytes(hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest(), "big") >> 1


def build(config: PoetryConfig, device: str) -> "Experiment":
    """Read the corpus, make the vocabulary and the batches, and a fresh model."""
    import torch

    from rnncli.training.experiment import Experiment
    from rnncli.training.metrics import prediction_metrics

    tokenizer = tokenizer_of(config, TOKENIZER, known_payload(config))
    verse = read_verse(config.corpus, config.hold_out, tokenizer, config.valid)
    vocabulary = Vocabulary.of((line.words for line in verse.training), config.min_count)
    if not vocabulary.words:
        raise UsageError(f"{verse.name}: no word comes {config.min_count} times: take --min-count 1, or more text")
    vocabulary = grown(config, vocabulary)
    voices = (line.voice for line in (*verse.training, *(() if config.valid else verse.held_out)))
    labels = as_known(config, labels_of(voices, config.voices))
    payload = {
        "corpus": verse.name,
        "fingerprint": verse.fingerprint,
        "tokenizer": tokenizer,
        "vocabulary": list(vocabulary.tokens),
        "words_a_line": sum(len(line.words) for line in verse.training) / len(verse.training),
        **payload_of(labels),
    }
    training, held_out = (
        sentences(lines, vocabulary, labels).to(torch.device(device))
        for lines in (verse.training, verse.held_out or verse.training)
    )
    model: Any = build_model(config, payload).to(device)
    model.expect(training.targets[training.targets >= 0].bincount(minlength=len(vocabulary)))
    return Experiment(
        model=model,
        begin=lambda: start(config, model, payload),
        batches=lambda epoch, begin=0: training.shuffled(config.step_size, config.seed, epoch, begin),
        batches_per_epoch=-(-len(verse.training) // config.step_size),
        about=_about(verse, vocabulary, labels),
        loss=config.loss,
        uses_all=config.softmax != "adaptive",
        validate=lambda model: prediction_metrics(model, held_out.in_order(64)),
        payload=payload,
        tensors={"line_keys": torch.tensor(sorted({line_key(line.words) for line in verse.training}))},
    )


def sentences(lines: Sequence[Line], vocabulary: Vocabulary, labels: Sequence[str]) -> "Sentences":
    """Lines by number, each with the number of its label, where that of every line is among those given."""
    from rnncli.data.batching import Sentences

    numbers = [vocabulary.encode(line.words) for line in lines]
    known = bool(labels) and {line.voice for line in lines} <= set(labels)
    return Sentences.of(numbers, [labels.index(line.voice) for line in lines] if known else None)


def _about(verse: Verse, vocabulary: Vocabulary, labels: Sequence[str]) -> str:
    held_out = f"{len(verse.held_out):,} held out" if verse.held_out else "none held out, validation on the same"
    by_default = verse.name == "hillside" and not available("frost")
    other = "; Robert Frost instead: rnn data get frost" if by_default else ""
    voices = f", {len(labels)} voices" if labels else ""
    return f"{verse.name}: {len(verse.training):,} lines to learn, {held_out}, {len(vocabulary):,} words{voices}{other}"


def build_model(config: PoetryConfig, payload: Mapping[str, Any]) -> "nn.Module":
    """An untrained language model over the payload's vocabulary."""
    return word_model(config, payload)


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(WritingOptions):
    """How to write verse."""

    lines: int = option(4, "Lines to write.", least=1, most=1_000_000)
    prime: str = option("", "Words that the first line begins with, or @FILE for those of a file.")
    length: int = option(200, "Words of a line at most.", least=1)


def write(trained: Trained, options: GenerateOptions) -> Written:
    """Write verse with a trained model; words of the prime it does not know are read as UNKNOWN and kept as given."""
    options.check("lines")
    vocabulary = Vocabulary(tuple(trained.payload["vocabulary"]))
    prime = printable(TOKENIZERS[trained.payload["tokenizer"]](options.read_prime()))
    if options.beam:
        join = partial(joined_words, trained, begun=bool(prime))
        first = () if prime else (END,)
        writing = Writing(join, barred=(START, UNKNOWN), barred_at_first=first, end=END, shown=_shown(prime))
        written = write_on(trained, options, [START, *vocabulary.encode(prime)], writing)
    else:
        written = _drawn(trained, options, vocabulary, prime)
    seen = set(trained.tensors["line_keys"].tolist())
    lines = [line for draft in written.drafts for line in draft.text.split("\n") if line]
    copies = sum(line_key(line.split(" ")) in seen for line in lines)
    written.extra = {"lines": lines, "copies": copies}
    written.remark += f"; {copies} of {len(lines)} lines ({copies / max(1, len(lines)):.0%}) copy the training text"
    written.unknown = [word for word in prime if word not in vocabulary.numbers]
    return written


def _drawn(trained: Trained, options: GenerateOptions, vocabulary: Vocabulary, prime: list[str]) -> Written:
    """Poems of so many lines each, all lines side by side; every poem's first line begins with the prime."""
    from rnncli.models.decoding import draw_lines

    draw = partial(
        draw_lines,
        trained.model,
        sampling=options.sampling,
        start=START,
        end=END,
        barred=(START, UNKNOWN),
        generator=options.dice(next(trained.model.parameters()).device),
        longest=options.length,
        label=label_number(trained, options.label),
    )
    first, other = partial(joined_words, trained, begun=bool(prime)), partial(joined_words, trained)
    listen = listener(trained, options, lambda line: first if line < options.count else other)
    firsts = draw(options.count, prime=vocabulary.encode(prime), listen=listen)
    below = listen and (lambda choice: listen(choice._replace(stream=choice.stream + options.count)))
    others = draw(options.count * (options.lines - 1), listen=below)
    drafts = [Draft() for _ in firsts]
    for number, (draft, line) in enumerate(zip(drafts, firsts, strict=True)):
        poem = [line[len(prime) :], *others[number :: options.count]]
        *tokens, _ = (token for line in poem for token in (*line, END))
        draft.pieces = [_shown(prime), *draft.written(tokens, first, options.stop)]
    return Written(drafts, options.drawn_seed, remark=f"seed {options.drawn_seed}")


def _shown(prime: list[str]) -> str:
    return " ".join(map(written_word, prime))


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(AdaptingOptions):
    """How to evaluate on verse."""

    corpus: tuple[str, ...] = option((), "Evaluate on all lines of this text, not on the held-out ones.")


def evaluation_lines(trained: Trained, options: EvaluateOptions) -> list[Line]:
    """The lines to evaluate on: those of another corpus, or those that training held out."""
    if options.corpus:
        return read_verse(options.corpus, 0, trained.payload["tokenizer"]).training
    held_out = training_verse(trained).held_out
    if not held_out:
        raise UsageError(f"no line was held out when {trained.source} was trained: give a --corpus to evaluate on")
    return held_out


def judged_tokens(trained: Trained, options: EvaluateOptions) -> list[list[int]]:
    """The lines to measure on, by number, each with its END; raises as `evaluation_lines`."""
    vocabulary = Vocabulary(tuple(trained.payload["vocabulary"]))
    return [[*vocabulary.encode(line.words), END] for line in evaluation_lines(trained, options)]


def training_verse(trained: Trained, instead: str = "give --corpus") -> Verse:
    """The text a model was trained on, read again; raises UsageError where it changed or cannot be."""
    config: PoetryConfig = trained.config
    with trained.reading_again(instead):
        verse = read_verse(config.corpus, config.hold_out, trained.payload["tokenizer"], config.valid)
    trained.check_unchanged(verse.name, verse.fingerprint, instead)
    return verse


def learned(trained: Trained, instead: str) -> "Iterator[Any]":
    """The lines that a model learned from, by number, each with its END; raises as `training_verse`."""
    import numpy as np

    vocabulary = Vocabulary(tuple(trained.payload["vocabulary"]))
    for line in training_verse(trained, instead).training:
        yield np.array([*vocabulary.encode(line.words), END])


def passage(trained: Trained) -> Iterator[str]:
    """The lines that training held out, or where it held out none, those it learned; raises as `training_verse`."""
    verse = training_verse(trained, "give --text")
    for line in verse.held_out or verse.training:
        yield " ".join(map(written_word, line.words))


def evaluate(trained: Trained, options: EvaluateOptions) -> "Metrics":
    """Loss, perplexity, accuracy over all predicted words, bits a character, and the share that is UNKNOWN.

    The characters are those of the words, with a blank or a line feed after each. Lines of corpora that are named as
    the model's voices are read in those, and each voice's perplexity is told, too; others are read in nobody's.
    """
    from rnncli.training.adaptation import sentence_metrics_as
    from rnncli.training.metrics import bits_per_character

    adaptation = options.adaptation
    vocabulary = Vocabulary(tuple(trained.payload["vocabulary"]))
    device = next(trained.model.parameters()).device
    lines = evaluation_lines(trained, options)
    voices = {line.voice for line in lines}
    labels = known_labels(trained) if voices <= set(known_labels(trained)) else []

    def measure(lines: Sequence[Line]) -> "Metrics":
        asked = sentences(lines, vocabulary, labels).to(device)
        return sentence_metrics_as(trained.model, [asked], adaptation)

    metrics, characters = measure(lines), sum(len(written_word(word)) + 1 for line in lines for word in line.words)
    words = [word for line in lines for word in vocabulary.encode(line.words)]
    apart = {label: [line for line in lines if line.voice == label] for label in labels if len(voices) > 1}
    return {
        **metrics,
        "bits_per_char": bits_per_character(metrics["loss"], (len(words) + len(lines)) / characters),
        **{f"perplexity_{label}": measure(own)["perplexity"] for label, own in apart.items() if own},
        "unknown": words.count(UNKNOWN) / len(words),
        "lines": len(lines),
    }


def evaluated(trained: Trained, options: EvaluateOptions) -> str:
    """What `evaluate` measures on, in words."""
    return " + ".join(options.corpus or trained.config.valid) or f"{trained.payload['corpus']}, held-out lines"


TASK = Task(
    name="poetry-lm",
    summary="Learn verse line by line, and write more of it.",
    Config=PoetryConfig,
    settle=settle,
    build=build,
    build_model=build_model,
    keeps={"fingerprint": None, "tokenizer": TOKENIZERS, "vocabulary": None},
    keeps_numbers=("line_keys",),
    evaluate=Action(EvaluateOptions, evaluate, "rnn evaluate poetry-lm --baselines", corpus=evaluated),
    uses={
        "generate": Action(
            GenerateOptions, write, 'rnn generate poetry --lines 4 --temperature 0.8 --prime "the woods"'
        ),
        "score": scorer(sentence),
        "activations": watcher(sentence, passage),
    },
    presets={"book": BOOK},
    script=Script(learned, judged_tokens, joined_words),
    last_step=of_language_model(sentence),
    word_vectors=1,
)
