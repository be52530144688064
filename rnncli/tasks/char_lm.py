"""char-lm: learn running text letter by letter (or byte, or word), each row of a batch a stream of its own."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rnncli.data.corpora import CORPORA, available, lasting, load_corpus
from rnncli.data.tokenizers import UNITS, units_of
from rnncli.data.vocabulary import END, SPECIALS, START, UNKNOWN, Vocabulary
from rnncli.errors import RnnError, UsageError
from rnncli.tasks.base import Action, RecurrentSettings, Task, Trained
from rnncli.tasks.scoring import Reading, scorer
from rnncli.tasks.writing import Writing, WritingOptions, Written, write_on
from rnncli.training.settings import option, retuned

if TYPE_CHECKING:
    from torch import nn

    from rnncli.data.streams import RunningText
    from rnncli.training.experiment import Experiment, Metrics

SHORTEST = 200
"""Tokens; from fewer nothing can be learned and held out."""


@dataclass(frozen=True, kw_only=True)
class CharConfig(RecurrentSettings):
    """Settings of char-lm; the defaults are the best recipe found for three minutes of two cores on a megabyte."""

    panel: ClassVar[str] = "Text"

    corpus: tuple[str, ...] = option(
        (), "Name, file, folder or - (standard input); may be repeated.", suggest=tuple(CORPORA)
    )
    tokens: str = option("char", "What is read one by one.", choices=tuple(UNITS))
    min_count: int = option(1, "Tokens seen less often in the training text are UNKNOWN.", least=1)
    hold_out: float = option(0.1, "Share of the text, at its end, that is held out for validation.", least=0, below=1)
    embedding: int = option(64, "Size of the tokens' vectors (D).", least=1)
    tied: bool = option(False, "Output weights are the tokens' vectors.")
    dropout: float = option(0.1, "Dropout on the top layer.", least=0, most=0.99)
    cell: str = retuned(RecurrentSettings, "cell", "lstm:none")
    hidden: str = retuned(RecurrentSettings, "hidden", "512")
    epochs: int = retuned(RecurrentSettings, "epochs", 8)
    batch_size: int = retuned(RecurrentSettings, "batch_size", 64)
    bptt: int = retuned(RecurrentSettings, "bptt", 100)
    lr: float = retuned(RecurrentSettings, "lr", 4e-3)
    schedule: str = retuned(RecurrentSettings, "schedule", "cosine")
    warmup: float = retuned(RecurrentSettings, "warmup", 0.05)


class Text(NamedTuple):
    """A corpus as tokens: those to learn from, and those held out."""

    name: str
    training: Sequence[str]
    held_out: Sequence[str]
    fingerprint: str


def settle(config: CharConfig) -> CharConfig:
    """Where no corpus is named: Shakespeare where `data/` has him, else the embedded voices."""
    default = ("shakespeare",) if available("shakespeare") else ("hillside", "nocturne")
    return replace(config, corpus=tuple(lasting(spec) for spec in config.corpus) or default, bptt=config.bptt or 100)


def read_texts(specs: Sequence[str], tokens: str, hold_out: float) -> Text:
    """Read corpora and split off the end; raises RnnError for what cannot be read, or is too short."""
    corpora = [load_corpus(spec) for spec in specs]
    text = "\n".join(corpus.text for corpus in corpora)
    units = UNITS[tokens].split(text)
    name = " + ".join(corpus.name for corpus in corpora)
    if len(units) < SHORTEST:
        raise RnnError(f"{name} has {len(units):,} tokens: {SHORTEST} are the least to learn from")
    learned = len(units) - int(hold_out * len(units))
    return Text(name, units[:learned], units[learned:], hashlib.sha256(text.encode()).hexdigest())


def stream_of(vocabulary: Vocabulary, units: Sequence[str], rows: int, steps: int) -> "RunningText":
    """Tokens by number, to be read `steps` at a time by so many rows."""
    import numpy as np

    from rnncli.data.streams import RunningText

    return RunningText(np.array(vocabulary.encode(units), dtype=np.int32), rows, steps)


def build(config: CharConfig, device: str) -> "Experiment":
    """Read the corpus, number its tokens, and make a fresh model."""
    import torch

    from rnncli.training.experiment import Experiment
    from rnncli.training.losses import language_loss

    text = read_texts(config.corpus, config.tokens, config.hold_out)
    vocabulary = Vocabulary.of([text.training], config.min_count)
    place = torch.device(device)
    training = stream_of(vocabulary, text.training, config.batch_size, config.bptt)
    payload = {
        "corpus": text.name,
        "fingerprint": text.fingerprint,
        "tokenizer": config.tokens,
        "vocabulary": list(vocabulary.tokens),
    }
    model: Any = build_model(config, payload).to(device)
    model.expect(torch.from_numpy(training.ids).long().bincount(minlength=len(vocabulary)).to(device))
    held_out = vocabulary.encode(text.held_out or text.training)
    return Experiment(
        model=model,
        batches=lambda _, begin=0: training.batches(place, begin),
        batches_per_epoch=training.batches_per_epoch,
        about=_about(text, vocabulary),
        loss=language_loss,
        validate=lambda model: measure(model, held_out),
        payload=payload,
    )


def _about(text: Text, vocabulary: Vocabulary) -> str:
    held_out = f"{len(text.held_out):,} held out" if text.held_out else "none held out, validation on the same"
    return f"{text.name}: {len(text.training):,} tokens to learn, {held_out}, {len(vocabulary.words):,} different ones"


def build_model(config: CharConfig, payload: Mapping[str, Any]) -> "nn.Module":
    """An untrained language model over the payload's vocabulary."""
    from rnncli.models.language_model import Dropouts, LanguageModel

    return LanguageModel(
        len(payload["vocabulary"]),
        config.embedding,
        config.shape,
        dropouts=Dropouts(output=config.dropout),
        tied=config.tied,
        backend=config.backend,
    )


def measure(model: "nn.Module", numbers: Sequence[int]) -> "Metrics":
    """Loss, accuracy, perplexity and bits a token of a text by number, read from start to end."""
    import numpy as np

    from rnncli.training.metrics import running_metrics

    metrics = running_metrics(model, np.array(numbers, dtype=np.int32))
    return {**metrics, "bits_per_token": metrics["loss"] / math.log(2)}


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What to evaluate on."""

    corpus: tuple[str, ...] = option((), "Evaluate on all of this text, not on what was held out.")


def evaluation_units(trained: Trained, options: EvaluateOptions) -> Sequence[str]:
    """The tokens to evaluate on: those of another text, or those that training held out.

    Raises UsageError where nothing was, and where what it learned from has changed or cannot be read again.
    """
    config: CharConfig = trained.config
    if options.corpus:
        return read_texts(options.corpus, config.tokens, 0.0).training
    trained.check_readable()
    text = read_texts(config.corpus, config.tokens, config.hold_out)
    trained.check_unchanged(text.name, text.fingerprint)
    if not text.held_out:
        raise UsageError(f"nothing was held out when {trained.source} was trained: give a --corpus to evaluate on")
    return text.held_out


def evaluate(trained: Trained, options: EvaluateOptions) -> "Metrics":
    """Loss, accuracy, perplexity and bits a token, and the share of tokens that are UNKNOWN."""
    numbers = Vocabulary(tuple(trained.payload["vocabulary"])).encode(evaluation_units(trained, options))
    return {**measure(trained.model, numbers), "unknown": numbers.count(UNKNOWN) / len(numbers), "tokens": len(numbers)}


def evaluated(trained: Trained, options: EvaluateOptions) -> str:
    """What `evaluate` measures on, in words."""
    return " + ".join(options.corpus) or f"{trained.payload['corpus']}, held-out end"


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
    tokens = units_of(trained.payload).split(options.read_prime())
    numbers = vocabulary.encode(tokens)
    if trained.config.min_count == 1:
        numbers = [number for number in numbers if number != UNKNOWN]
    prime = numbers or [vocabulary.numbers.get("\n", len(SPECIALS))]
    written = write_on(trained, options, prime, Writing(partial(joined, trained), barred=(START, END, UNKNOWN)))
    written.unknown = sorted({token for token in tokens if token not in vocabulary.numbers})
    return written


def joined(trained: Trained, numbers: Iterable[int]) -> Iterator[str]:
    """The text of tokens by number, piece by piece."""
    tokens = trained.payload["vocabulary"]
    return units_of(trained.payload).join(tokens[number] for number in numbers)


def reading(trained: Trained) -> Reading:
    """Texts are scored as what follows a line feed."""
    split = UNITS[trained.payload["tokenizer"]].split
    return Reading(split, opening=Vocabulary(tuple(trained.payload["vocabulary"])).encode(split("\n"))[-1])


TASK = Task(
    name="char-lm",
    summary="Learn running text letter by letter, and write more of it.",
    Config=CharConfig,
    settle=settle,
    build=build,
    build_model=build_model,
    evaluate=Action(EvaluateOptions, evaluate, "rnn evaluate char-lm", corpus=evaluated),
    uses={
        "generate": Action(GenerateOptions, write, 'rnn generate char --prime "KING" --temperature 0.7'),
        "score": scorer(reading),
    },
)
