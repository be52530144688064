"""wiki-lm: a language model of prose, by sentences or as running text, from shards too large for memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from rnncli.data.suggested import corpus_names
from rnncli.errors import UsageError
from rnncli.language.baselines import NGrams
from rnncli.language.generate import WritingOptions, write_sentences
from rnncli.language.reading import TextOptions
from rnncli.language.settings import valid_option
from rnncli.language.task import language_task
from rnncli.language.words import BOOK_WORDS, WordSettings, tokenizer_of, tokens_option
from rnncli.settings import option, retuned
from rnncli.sizes import SizeClass
from rnncli.task import Quick, Trained
from rnncli.tasks import OUTLINES
from rnncli.training.settings import BOOK_TRAINING, RecurrentSettings

if TYPE_CHECKING:
    from rnncli.data.codec import Known
    from rnncli.data.prose import Prose
    from rnncli.data.text_data import EvalSet

BPTT = 35
"""Length of truncated BPTT in running text (Zaremba et al. 2014), unless --bptt sets it."""

MAX_WORDS = 5_000
"""Upper limit of --longest."""


@dataclass(frozen=True, kw_only=True)
class WikiConfig(WordSettings):
    """Settings of wiki-lm; the defaults suit the embedded corpus toyworld and other small corpora."""

    panel: ClassVar[str] = "Prose"
    fast_precision: ClassVar[Mapping[str, str]] = {"cuda": "tf32"}

    corpus: tuple[str, ...] = option(
        ("toyworld",),
        "Name of a corpus from `rnn data prepare`; or a text by name or path.",
        text=True,
        suggest=corpus_names,
    )
    tokens: str = tokens_option()
    valid: tuple[str, ...] = valid_option()
    vocab_size: int = option(10_000, "Keep only the N most frequent words; all others are UNKNOWN.", least=1)
    min_count: int = option(1, "Words seen less often in the corpus are UNKNOWN.", least=1, expert=True)
    keep_words: tuple[str, ...] = option((), "Words to keep even if they are rare, comma-separated.", expert=True)
    running: bool = option(
        False,
        "Read running text, with END after each sentence and the state carried over; or single sentences.",
        shape=True,
    )
    longest: int = option(100, "Cut sentences after N words.", least=1, most=MAX_WORDS, expert=True)
    end_share: float = option(
        1.0,
        "Share of the sentences, drawn in each epoch, whose END is a target; one-word sentences always count.",
        least=0,
        most=1,
        expert=True,
    )
    unit_vectors: str = option(
        "no",
        "Scale input vectors to norm 1: each when it is read (row; same as the bare flag), the whole matrix after each "
        "step (matrix; as in the book), or not (no; same as --no-unit-vectors)",
        choices=("no", "row", "matrix"),
        switch=("no", "row"),
        shape=True,
        expert=True,
    )
    cell: str = retuned(RecurrentSettings, "cell", "gru:reset-after")
    hidden: str = retuned(RecurrentSettings, "hidden", "128")
    epochs: int = retuned(RecurrentSettings, "epochs", 5)
    batch_size: int = retuned(RecurrentSettings, "batch_size", 64)
    lr: float = retuned(RecurrentSettings, "lr", 2e-2)
    weight_decay: float = retuned(RecurrentSettings, "weight_decay", 0.3)
    schedule: str = retuned(RecurrentSettings, "schedule", "cosine")
    warmup: float = retuned(RecurrentSettings, "warmup", 0.05)

    @staticmethod
    def absolute(spec: str) -> str:
        from rnncli.data.indexed import absolute_indexed

        return absolute_indexed(spec)

    def model_options(self, tokens: Sequence[str]) -> dict[str, Any]:
        return {**super().model_options(tokens), "unit_vectors": self.unit_vectors}


_SMALL = {
    "min_count": 2,
    "epochs": 16,
    "embedding_dropout": 0.5,
    "output_dropout": 0.5,
    "word_dropout": 0.1,
    "lr": 3e-3,
    "weight_decay": 0.1,
}

SMALL = (
    SizeClass(20_000, {**_SMALL, "batch_size": 8}, "so little text hardly teaches words: take rnn train char-lm"),
    SizeClass(100_000, {**_SMALL, "batch_size": 32}),
)
"""For smaller texts than the defaults; chosen on parts of Shakespeare and Brown."""

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
    "longest": MAX_WORDS,
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
"""The best settings found for running text of a million words and two minutes on two cores."""


def resolve_defaults(config: WikiConfig) -> WikiConfig:
    """Split --keep-words, and set the length of truncated BPTT; raises UsageError for settings that clash."""
    if config.running and config.end_share < 1:
        raise UsageError(
            f"--end-share {config.end_share:g} is for sentences: --running learns every END; add --end-share 1"
        )
    clashes = {"--freeze-embeddings": config.freeze_embeddings, "--tied": config.tied, "--spelling": config.spelling}
    clash = next((flag for flag, is_on in clashes.items() if is_on), None)
    if config.unit_vectors == "matrix" and clash:
        raise UsageError(f"--unit-vectors matrix scales free input vectors only: leave {clash} out, or take row or no")
    kept = tuple(word.strip() for words in config.keep_words for word in words.split(",") if word.strip())
    return replace(config, keep_words=kept, bptt=config.bptt or (BPTT if config.running else 0))


def read(config: WikiConfig, known: "Known") -> "Prose":
    """Open or read the corpus, and number its words; raises as `read_indexed`, `frequent_words` and `Prose.check`."""
    from rnncli.data.codec import Codec
    from rnncli.data.indexed import TOKENIZER, frequent_words, read_indexed
    from rnncli.data.prose import Prose

    corpus = read_indexed(config.corpus, tokenizer_of(config, TOKENIZER, known.codec), config.valid)

    def number() -> Codec:
        words = frequent_words(corpus, config.vocab_size, config.min_count, config.keep_words)
        return Codec(corpus.tokenizer, words, is_running=config.running)

    return Prose(corpus, known.or_new(number), config.longest, config.end_share).check()


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(TextOptions):
    """The text to evaluate on, and how."""

    corpus: tuple[str, ...] = option(
        (), "Evaluate on this text, one sentence per line (ptb: on its validation text), not on the held-out text."
    )
    split: str = option(
        "validation", "validation, or test, the corpus's own test text (ptb).", choices=("validation", "test")
    )

    @property
    def other(self) -> bool:
        return bool(self.corpus) or self.split == "test"

    def name_of(self, trained: Trained) -> str:
        text = " + ".join(self.corpus) or trained.payload["corpus"]
        return f"{text}, test" if self.split == "test" else text


def read_other(trained: Trained, options: EvaluateOptions) -> "EvalSet":
    """Read another text to evaluate on: its validation text, if it has one; for the split `test`, its test text."""
    from rnncli.data.indexed import read_indexed, read_test
    from rnncli.data.prose import Prose

    read_split = read_test if options.split == "test" else read_indexed
    corpus = read_split(options.corpus or trained.config.corpus, trained.codec.tokenizer)
    return Prose(corpus, trained.codec, trained.config.longest).whole


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(WritingOptions):
    """How to write prose."""

    sample: ClassVar[Mapping[str, Any]] = {"length": 40}

    prime: str = option("", "Words to continue, or @FILE for those in a file; the end of a line ends a sentence.")
    length: int = option(100, "Maximum number of words to write; the END of each sentence counts.", least=1)


TASK = language_task(
    "wiki-lm",
    OUTLINES["wiki-lm"].summary,
    WikiConfig,
    resolve_defaults=resolve_defaults,
    read=read,
    read_other=read_other,
    evaluate=(EvaluateOptions, "rnn evaluate wiki-lm"),
    held_out="held-out text",
    generate=(GenerateOptions, write_sentences, 'rnn generate wiki --prime "the king of" --length 60'),
    baselines=NGrams(),
    by_size=SMALL,
    presets={"book": BOOK, "running": RUNNING},
    word_vectors=True,
    example="rnn train wiki-lm --corpus articles.txt",
    quick=Quick(20, ("toyworld",)),
)
