"""char-lm: a language model of running text by characters, bytes or words; each row of a batch is one stream."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from rnncli.data.holding_out import ONE_OF, HoldOutSettings, hold_out_option
from rnncli.data.tokenizers import KINDS
from rnncli.errors import UsageError
from rnncli.language.baselines import NGrams
from rnncli.language.generate import WritingOptions, write_stream
from rnncli.language.reading import TextOptions
from rnncli.language.settings import LanguageSettings, corpus_option, valid_option
from rnncli.language.task import language_task
from rnncli.language.voices import voices_option
from rnncli.language.warm_start import WarmStartSettings
from rnncli.settings import option, retuned
from rnncli.sizes import SizeClass
from rnncli.task import Quick, Trained
from rnncli.tasks import OUTLINES
from rnncli.training.settings import RecurrentSettings

if TYPE_CHECKING:
    from rnncli.data.codec import Known
    from rnncli.data.stream_data import StreamData
    from rnncli.data.text_data import StreamSet

SMALL = (
    SizeClass(
        20_000,
        {"hidden": "128", "epochs": 20, "batch_size": 4, "output_dropout": 0.5, "weight_drop": 0.5},
        "so little text teaches spelling and some words, not sentences; 50,000 characters or more write better",
    ),
    SizeClass(100_000, {"hidden": "256", "epochs": 15, "batch_size": 16, "output_dropout": 0.4, "weight_drop": 0.2}),
)
"""For smaller texts than the defaults; chosen on parts of Shakespeare, Python programs and German captions."""

BEST = {"hidden": "384,384", "layer_dropout": 0.3, "output_dropout": 0.3, "epochs": 20}
"""For a text of one megabyte; training takes half an hour on two cores."""


@dataclass(frozen=True, kw_only=True)
class CharConfig(HoldOutSettings, WarmStartSettings):
    """Settings of char-lm; the defaults are the best found for one megabyte and three minutes on two cores."""

    panel: ClassVar[str] = "Text"
    fast_precision: ClassVar[Mapping[str, str]] = {"cpu": "bfloat16", "cuda": "tf32"}

    corpus: tuple[str, ...] = corpus_option()
    voices: bool = voices_option()
    tokens: str = option("char", "Kind of token; spaced: split at blanks, <unk> is UNKNOWN.", choices=KINDS, shape=True)
    valid: tuple[str, ...] = valid_option()
    vocab_size: int = option(0, "Keep only the N most frequent tokens; 0: all (bpe: 4,000).", least=0)
    min_count: int = option(1, "Tokens seen less often in the training text are UNKNOWN.", least=1, expert=True)
    hold_out: float = hold_out_option(0.1, "Share held out at the end of the text; 0: none.")
    hold_out_every: int = option(0, "Hold out every N-th line instead.", least=0, instead_of=ONE_OF, expert=True)
    hold_out_count: int = option(0, "Hold out the last N characters.", least=0, instead_of=ONE_OF, expert=True)
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


def resolve_defaults(config: CharConfig) -> CharConfig:
    """Set the length of truncated BPTT; raises UsageError for settings that exclude each other."""
    if config.tokens == "bpe" and config.min_count > 1:
        raise UsageError("--tokens bpe limits its tokens by --vocab-size: leave --min-count out")
    return replace(config, bptt=config.bptt or CharConfig.bptt)


def read(config: CharConfig, known: "Known") -> "StreamData":
    """Read the corpora as one stream, with the end of each held out.

    Raises as `read_token_text` and `StreamData.check`, and UsageError if every token is too rare.
    """
    from rnncli.data.codec import Known
    from rnncli.data.token_text import TextSpec, read_token_text

    if not (known.grows or known.only_held_out or config.init_from):
        known = Known()  # training stored the numbered text on disk, under its settings
    by_voice = config.voices and len(config.corpus) > 1
    spec = TextSpec(config.corpus, config.tokens, config.vocab_size, config.min_count, config.held_out)
    data = read_token_text(spec._replace(**known._asdict(), by_voice=by_voice, valid=config.valid))
    if not data.codec.vocabulary.words:
        raise UsageError(f"{data.name}: no token occurs {config.min_count} times: take a smaller --min-count")
    return data if known.only_held_out else data.check()


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(TextOptions):
    """The text to evaluate on, and how."""

    cache_theta: float = retuned(TextOptions, "cache_theta", 1.0)


def read_other(trained: Trained, options: EvaluateOptions) -> "StreamSet":
    """Read the corpus to evaluate on; a text with the name of a voice is read in that voice."""
    from rnncli.data.stream_data import MIN_MEASURED
    from rnncli.data.token_text import TextSpec, read_token_text

    spec = TextSpec(options.corpus, codec=trained.codec, by_voice=bool(trained.codec.labels))
    return read_token_text(spec).check(MIN_MEASURED, "measure on").whole


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(WritingOptions):
    """How to continue a text."""

    temperature: float = retuned(WritingOptions, "temperature", 0.8)


TASK = language_task(
    "char-lm",
    OUTLINES["char-lm"].summary,
    CharConfig,
    resolve_defaults=resolve_defaults,
    read=read,
    read_other=read_other,
    evaluate=(EvaluateOptions, "rnn evaluate char-lm"),
    held_out="held-out text",
    generate=(GenerateOptions, write_stream, 'rnn generate char --prime "KING" --temperature 0.7'),
    baselines=NGrams(char_orders=(7,)),
    corpora=(("shakespeare",), ("hillside", "nocturne")),
    by_size=SMALL,
    presets={"best": BEST},
    example="rnn train char-lm --corpus mine.txt",
    quick=Quick(10, ("hillside", "nocturne")),
)
