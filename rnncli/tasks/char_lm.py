"""char-lm: learn running text letter by letter (or byte, or word), each row of a batch a stream of its own."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rnncli.data.corpora import CORPORA, available, lasting
from rnncli.data.tokenizers import KINDS, units_of
from rnncli.data.vocabulary import END, SPECIALS, START, UNKNOWN, Vocabulary
from rnncli.errors import RnnError, UsageError
from rnncli.tasks.adapting import AdaptingOptions
from rnncli.tasks.base import Action, RecurrentSettings, Script, Task, Trained
from rnncli.tasks.language import LanguageSettings, language_model, settle_hold_out, valid_option
from rnncli.tasks.last_step import of_language_model
from rnncli.tasks.scoring import Reading, scorer
from rnncli.tasks.starting import StartedSettings, as_known, known_payload, settle_start, start_from_model
from rnncli.tasks.voices import known_labels, labels_of, payload_of, voices_option
from rnncli.tasks.watching import watcher
from rnncli.tasks.writing import Writing, WritingOptions, Written, write_on
from rnncli.training.settings import option, retuned

if TYPE_CHECKING:
    from torch import nn

    from rnncli.data.running import Asked, Ids, RunningCorpus
    from rnncli.training.adaptation import Adaptation
    from rnncli.training.experiment import Experiment, Metrics

SHORTEST = 200
"""Tokens; from fewer nothing can be learned and held out."""

FEWEST_MEASURED = 2
"""Tokens: the model reads the first one to predict the second."""

MOST_SHOWN = 100_000
"""Tokens of what is held out that a net is watched on, where no text is given."""

MOST_JUDGED = 1_000_000
"""Tokens that validation takes of the text to learn from, where nothing is held out."""


BEST = {"hidden": "384,384", "layer_dropout": 0.3, "output_dropout": 0.3, "epochs": 20}
"""For a megabyte, and half an hour of two cores."""


@dataclass(frozen=True, kw_only=True)
class CharConfig(StartedSettings):
    """Settings of char-lm; the defaults are the best recipe found for three minutes of two cores on a megabyte."""

    panel: ClassVar[str] = "Text"
    fast_precision: ClassVar[Mapping[str, str]] = {"cpu": "bfloat16", "cuda": "tf32"}

    corpus: tuple[str, ...] = option(
        (), "Name, file, folder or - (standard input); may be repeated.", suggest=tuple(CORPORA)
    )
    voices: bool = voices_option()
    tokens: str = option(
        "char",
        "What is read one by one; spaced: words of a text that is split already, as its blanks say, <unk> is UNKNOWN.",
        choices=KINDS,
        shape=True,
    )
    valid: tuple[str, ...] = valid_option()
    vocab_size: int = option(0, "The most frequent tokens that are kept; 0: all (bpe: 4,000).", least=0)
    min_count: int = option(1, "Tokens seen less often in the training text are UNKNOWN.", least=1)
    hold_out: float = option(0.1, "Share of the text, at its end, that is held out for validation.", least=0, below=1)
    embedding: int = retuned(LanguageSettings, "embedding", 64)
    cell: str = retuned(RecurrentSettings, "cell", "lstm:none")
    hidden: str = retuned(RecurrentSettings, "hidden", "256,256")
    epochs: int = retuned(RecurrentSettings, "epochs", 4)
    batch_size: int = retuned(RecurrentSettings, "batch_size", 64)
    bptt: int = retuned(RecurrentSettings, "bptt", 32)
    optimizer: str = retuned(RecurrentSettings, "optimizer", "normuon")
    lr: float = retuned(RecurrentSettings, "lr", 3e-2)
    momentum: float = retuned(RecurrentSettings, "momentum", 0.95)
    beta2: float = retuned(RecurrentSettings, "beta2", 0.99)
    weight_decay: float = retuned(RecurrentSettings, "weight_decay", 0.2)
    schedule: str = retuned(RecurrentSettings, "schedule", "cosine")
    warmup: float = retuned(RecurrentSettings, "warmup", 0.05)


def settle(config: CharConfig) -> CharConfig:
    """Where no corpus is named: Shakespeare where `data/` has him, else the embedded voices."""
    default = ("shakespeare",) if available("shakespeare") else ("hillside", "nocturne")
    if config.tokens == "bpe" and config.min_count > 1:
        raise UsageError("--tokens bpe has no rare tokens but those of --vocab-size: leave --min-count out")
    corpus = tuple(lasting(spec) for spec in config.corpus) or default
    hold_out = settle_hold_out(config, CharConfig.hold_out)
    config = replace(config, corpus=corpus, valid=tuple(map(lasting, config.valid)), hold_out=hold_out)
    return settle_start(replace(config, bptt=config.bptt or CharConfig.bptt), "char-lm")


def asked_of(config: CharConfig) -> "Asked":
    """What the settings ask for: the end of a corpus held out, and a numbering that is new, or goes on from another."""
    from rnncli.data.running import Asked, Numbering

    known = known_payload(config)
    return Asked(
        config.corpus,
        config.tokens,
        config.vocab_size,
        config.min_count,
        config.hold_out,
        numbering=None if known is None else Numbering.of(known),
        extended=known is not None,
        apart=config.voices and len(config.corpus) > 1,
        valid=config.valid,
    )


def read_corpus(asked: "Asked", least: int = SHORTEST) -> "RunningCorpus":
    """A text by numbers; raises RnnError for what cannot be read, or has less than the `least` tokens."""
    from rnncli.data.running import read_running

    corpus = read_running(asked)
    if len(corpus.ids) < least:
        what = "learn from" if least == SHORTEST else "measure on"
        raise RnnError(f"{corpus.name} has {len(corpus.ids):,} tokens: {least} are the least to {what}")
    if not corpus.numbering.vocabulary.words:
        raise UsageError(f"{corpus.name}: no token comes {asked.min_count} times: take a smaller --min-count")
    if corpus.valid and len(corpus.held_out) < FEWEST_MEASURED:
        raise RnnError(f"{corpus.valid.name} has fewer than two tokens: give a longer text to --valid")
    return corpus


def build(config: CharConfig, device: str) -> "Experiment":
    """Read the corpus, number its tokens, and make a fresh model."""
    import torch

    from rnncli.data.streams import RunningText
    from rnncli.training.experiment import Experiment

    corpus = read_corpus(asked_of(config))
    labels = as_known(config, labels_of(corpus.voices, config.voices))
    place = torch.device(device)
    training = RunningText(corpus.learned, config.step_size, config.bptt, corpus_voices(corpus, labels))
    payload = {
        "corpus": corpus.name,
        "fingerprint": corpus.fingerprint,
        **corpus.numbering.payload,
        **payload_of(labels),
    }
    model: Any = build_model(config, payload).to(device)
    model.expect(torch.from_numpy(corpus.counts).to(device))
    judged = corpus.held_out if len(corpus.held_out) else corpus.learned[:MOST_JUDGED]
    voices = corpus_voices(corpus, labels, held_out=len(corpus.held_out) > 0)
    return Experiment(
        model=model,
        begin=lambda: start_from_model(config, model, payload),
        batches=lambda _, begin=0: training.batches(place, begin),
        batches_per_epoch=training.batches_per_epoch,
        about=_about(corpus),
        loss=config.loss,
        uses_all=not config.learn_h0,  # a learned first state is used by the first batch of an epoch only
        validate=lambda model: measure(model, judged, _tokens_a_character(corpus), voices),
        payload=payload,
    )


def corpus_voices(corpus: "RunningCorpus", labels: Sequence[str], *, held_out: bool = False) -> list[tuple[int, int]]:
    """The number of each voice of a corpus by its label, and its tokens to learn from, or held out.

    None where the corpus has another voice than those.
    """
    if held_out and corpus.valid:
        return corpus_voices(corpus.valid, labels)
    if not set(corpus.voices) <= set(labels):
        return []
    return [(labels.index(name), sizes[held_out]) for name, sizes in corpus.voices.items()]


def _about(corpus: "RunningCorpus") -> str:
    held_out = f"{len(corpus.held_out):,} held out" if len(corpus.held_out) else "none held out, validation on the same"
    known = len(corpus.numbering.vocabulary.words)
    where = f", by numbers in {corpus.folder}" if corpus.folder else ""
    voices = f", {len(corpus.voices)} voices" if len(corpus.voices) > 1 else ""
    return f"{corpus.name}: {corpus.cut:,} tokens to learn, {held_out}, {known:,} different ones{voices}{where}"


def _tokens_a_character(corpus: "RunningCorpus") -> float:
    """Of what is held out, or of all where nothing is."""
    learned, held_out = corpus.characters
    return len(corpus.held_out) / held_out if held_out else corpus.cut / learned


def build_model(config: CharConfig, payload: Mapping[str, Any]) -> "nn.Module":
    """An untrained language model over the payload's vocabulary."""
    return language_model(config, payload)


def measure(
    model: "nn.Module",
    ids: "Ids",
    tokens_a_character: float,
    voices: Sequence[tuple[int, int]] = (),
    adaptation: "Adaptation | None" = None,
) -> "Metrics":
    """Loss, accuracy, perplexity, and bits a character, of a text by number, read from start to end."""
    from rnncli.training.adaptation import running_metrics_as
    from rnncli.training.metrics import bits_per_character

    metrics = running_metrics_as(model, ids, adaptation, voices)
    return {**metrics, "bits_per_char": bits_per_character(metrics["loss"], tokens_a_character)}


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(AdaptingOptions):
    """What to evaluate on, and how."""

    corpus: tuple[str, ...] = option((), "Evaluate on all of this text, not on what was held out.")
    cache_theta: float = retuned(AdaptingOptions, "cache_theta", 1.0)


class Judged(NamedTuple):
    """What a model is measured on: all of another text, or what is held out of the one that it learned from."""

    corpus: "RunningCorpus"  # that has nothing beside it
    unknown: int
    is_end: bool = False  # of the text that it learned from


def judged(trained: Trained, options: EvaluateOptions) -> Judged:
    """What to measure on.

    Raises UsageError where nothing was held out, and where what it learned from has changed or cannot be read again.
    """
    from rnncli.data.running import Asked, Numbering

    if options.corpus:
        apart = bool(known_labels(trained))
        asked = Asked(options.corpus, numbering=Numbering.of(trained.payload), apart=apart)
        corpus = read_corpus(asked, FEWEST_MEASURED)
        return Judged(corpus, int(corpus.counts[UNKNOWN]))
    corpus = own_text(trained, "give --corpus", only_held_out=True)
    if corpus.valid:
        return Judged(corpus.valid, int((corpus.held_out == UNKNOWN).sum()))
    if not len(corpus.held_out):
        raise UsageError(f"nothing was held out when {trained.source} was trained: give a --corpus to evaluate on")
    return Judged(corpus, int((corpus.held_out == UNKNOWN).sum()), is_end=True)


def judged_tokens(trained: Trained, options: EvaluateOptions) -> "list[Any]":
    """What to measure on, by number; raises as `judged`."""
    return [judged(trained, options).corpus.ids]


def own_text(trained: Trained, instead: str, *, only_held_out: bool = False) -> "RunningCorpus":
    """The text that a model learned from, by its numbers; raises as `Trained.check_readable` and `check_unchanged`."""
    from rnncli.data.running import Numbering, read_running

    asked = asked_of(replace(trained.config, init_from=None))
    if only_held_out or trained.config.init_from:  # else its numbers are found where training left them
        asked = asked._replace(numbering=Numbering.of(trained.payload), only_held_out=only_held_out)
    with trained.reading_again(instead):
        corpus = read_running(asked)
    trained.check_unchanged(corpus.name, corpus.fingerprint, instead)
    return corpus


def evaluate(trained: Trained, options: EvaluateOptions) -> "Metrics":
    """Loss, accuracy, perplexity, bits a character, and the share of tokens that are UNKNOWN.

    Corpora that are named as the model's voices are read in those, others in nobody's.
    """
    corpus, unknown, is_end = judged(trained, options)
    voices = corpus_voices(corpus, known_labels(trained), held_out=is_end)
    metrics = measure(trained.model, corpus.ids, _tokens_a_character(corpus), voices, options.adaptation)
    return {**metrics, "unknown": unknown / len(corpus.ids), "tokens": len(corpus.ids)}


def evaluated(trained: Trained, options: EvaluateOptions) -> str:
    """What `evaluate` measures on, in words."""
    return " + ".join(options.corpus or trained.config.valid) or f"{trained.payload['corpus']}, held-out end"


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(WritingOptions):
    """How to write on."""

    temperature: float = retuned(WritingOptions, "temperature", 0.8)


def write(trained: Trained, options: GenerateOptions) -> Written:
    """Go on from a text, or after a line's end.

    Tokens of it that the model does not know are read as UNKNOWN where it has learned what that is, else skipped.
    """
    options.check()
    vocabulary = Vocabulary(tuple(trained.payload["vocabulary"]))
    units = units_of(trained.payload)
    tokens = units.split(options.read_prime())
    numbers = vocabulary.encode(tokens)
    if trained.config.min_count == 1 and not trained.config.vocab_size and not units.spaced:
        numbers = [number for number in numbers if number != UNKNOWN]
    prime = numbers or [opening(trained)]
    written = write_on(trained, options, prime, Writing(partial(joined, trained), barred=(START, END, UNKNOWN)))
    written.unknown = sorted({units.shown(token) for token in tokens if token not in vocabulary.numbers})
    return written


def joined(trained: Trained, numbers: Iterable[int]) -> Iterator[str]:
    """The text of tokens by number, piece by piece."""
    tokens = trained.payload["vocabulary"]
    return units_of(trained.payload).join(tokens[number] for number in numbers)


def reading(trained: Trained) -> Reading:
    """Texts are scored as what follows a line feed."""
    units = units_of(trained.payload)
    return Reading(units.split, opening(trained), shown=units.shown, join=units.join, spaced=units.spaced)


def opening(trained: Trained) -> int:
    """What a text follows where nothing is said of it: a line feed, or where there is none, the commonest token."""
    vocabulary = Vocabulary(tuple(trained.payload["vocabulary"]))
    number = vocabulary.encode(units_of(trained.payload).split("\n"))[-1]
    return len(SPECIALS) if number == UNKNOWN else number


def learned(trained: Trained, instead: str) -> "Iterator[Ids]":
    """The text that a model learned from, by number; raises as `Trained.check_unchanged`."""
    yield own_text(trained, instead).learned


def passage(trained: Trained) -> Iterator[str]:
    """The lines that training held out, or where it held out none, those it learned; raises as `own_text`."""
    corpus = own_text(trained, "give --text", only_held_out=True)
    ids = corpus.held_out if len(corpus.held_out) else own_text(trained, "give --text").learned
    spaced = units_of(trained.payload).spaced
    text = "".join(joined(trained, (each for each in ids[:MOST_SHOWN].tolist() if spaced or each != UNKNOWN)))
    yield from text.split("\n")


TASK = Task(
    name="char-lm",
    summary="Learn running text letter by letter, and write more of it.",
    Config=CharConfig,
    settle=settle,
    build=build,
    build_model=build_model,
    keeps={"fingerprint": None, "tokenizer": KINDS, "vocabulary": None},
    evaluate=Action(EvaluateOptions, evaluate, "rnn evaluate char-lm", corpus=evaluated),
    uses={
        "generate": Action(GenerateOptions, write, 'rnn generate char --prime "KING" --temperature 0.7'),
        "score": scorer(reading),
        "activations": watcher(reading, passage),
    },
    script=Script(learned, judged_tokens, joined),
    last_step=of_language_model(reading),
    presets={"best": BEST},
)
