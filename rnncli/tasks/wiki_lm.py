"""wiki-lm: a language model of prose, by sentences or as running text, from shards that are never loaded whole."""

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
from rnncli.task import Trained
from rnncli.tasks import OUTLINES
from rnncli.training.settings import BOOK_TRAINING, RecurrentSettings

if TYPE_CHECKING:
    from rnncli.data.codec import Known
    from rnncli.data.prose import Prose
    from rnncli.data.text_data import EvalSet

STEPS = 35
"""Tokens that backpropagation goes back through in running text (Zaremba et al. 2014), where --bptt says nothing."""

LONGEST = 5_000
"""Words of a sentence that are read at most."""


@dataclass(frozen=True, kw_only=True)
class WikiConfig(WordSettings):
    """Settings of wiki-lm; the defaults suit the embedded toyworld and small corpora."""

    panel: ClassVar[str] = "Prose"
    fast_precision: ClassVar[Mapping[str, str]] = {"cuda": "tf32"}

    corpus: tuple[str, ...] = option(
        ("toyworld",), "What `rnn data prepare` made, by its name; or a text by name or path.", suggest=corpus_names
    )
    tokens: str = tokens_option()
    valid: tuple[str, ...] = valid_option()
    vocab_size: int = option(10_000, "The most frequent words that are kept; all others are UNKNOWN.", least=1)
    min_count: int = option(1, "Words seen less often in the corpus are UNKNOWN.", least=1, expert=True)
    keep_words: tuple[str, ...] = option((), "Words that are kept even if rare, comma-separated.", expert=True)
    running: bool = option(
        False, "Read one stream per row, END after each sentence, its state carried; or single sentences.", shape=True
    )
    longest: int = option(100, "Sentences are cut after so many words.", least=1, most=LONGEST, expert=True)
    end_share: float = option(
        1.0,
        "Share of the sentences, drawn in each epoch, whose END is learned; those of one word always learn it.",
        least=0,
        most=1,
        expert=True,
    )
    unit_vectors: str = option(
        "no",
        "Hold input vectors at norm 1: each where it is read (row, also the bare flag), or all together after each "
        "step (matrix, as the book); or (also --no-unit-vectors) not",
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

    def further(self, tokens: Sequence[str]) -> dict[str, Any]:
        return {**super().further(tokens), "unit_vectors": self.unit_vectors}


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


def settle(config: WikiConfig) -> WikiConfig:
    """Split the words to keep, and cut running text into steps; raises UsageError for clashing settings."""
    if config.running and config.end_share < 1:
        raise UsageError(
            f"--end-share {config.end_share:g} is for sentences: --running learns every END; add --end-share 1"
        )
    clashes = {"--freeze-embeddings": config.freeze_embeddings, "--tied": config.tied, "--spelling": config.spelling}
    clash = next((flag for flag, is_on in clashes.items() if is_on), None)
    if config.unit_vectors == "matrix" and clash:
        raise UsageError(f"--unit-vectors matrix scales free input vectors only: leave {clash} out, or take row or no")
    kept = tuple(word.strip() for words in config.keep_words for word in words.split(",") if word.strip())
    return replace(config, keep_words=kept, bptt=config.bptt or (STEPS if config.running else 0))


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
    """What to evaluate on, and how."""

    corpus: tuple[str, ...] = option(
        (), "Evaluate on this text, a sentence a line (ptb: on its own validation text), not on what was held out."
    )
    split: str = option(
        "validation", "validation, or the text that the corpus has to test on (ptb).", choices=("validation", "test")
    )

    @property
    def other(self) -> bool:
        return bool(self.corpus) or self.split == "test"

    def name_of(self, trained: Trained) -> str:
        text = " + ".join(self.corpus) or trained.payload["corpus"]
        return f"{text}, test" if self.split == "test" else text


def read_other(trained: Trained, options: EvaluateOptions) -> "EvalSet":
    """Read another text to evaluate on: its part to validate on where it has one, or for the split `test` that part."""
    from rnncli.data.indexed import read_indexed, read_test
    from rnncli.data.prose import Prose

    read_split = read_test if options.split == "test" else read_indexed
    corpus = read_split(options.corpus or trained.config.corpus, trained.codec.tokenizer)
    return Prose(corpus, trained.codec, trained.config.longest).whole


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(WritingOptions):
    """How to write prose."""

    prime: str = option("", "Words to go on from, or @FILE for those of a file; a line's end ends a sentence.")
    length: int = option(100, "Words to write at most, an END a sentence counted.", least=1)


TASK = language_task(
    "wiki-lm",
    OUTLINES["wiki-lm"].summary,
    WikiConfig,
    settle=settle,
    read=read,
    read_other=read_other,
    evaluate=(EvaluateOptions, "rnn evaluate wiki-lm"),
    held_out="what was held out",
    generate=(GenerateOptions, write_sentences, 'rnn generate wiki --prime "the king of" --length 60'),
    baselines=NGrams(),
    presets={"book": BOOK, "running": RUNNING},
    word_vectors=2,
    example="rnn train wiki-lm --corpus articles.txt",
)
