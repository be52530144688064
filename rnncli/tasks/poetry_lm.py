"""poetry-lm: a language model of verse; each line is a sequence from START to END."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rnncli.data.holding_out import HoldOut, HoldOutSettings
from rnncli.language.baselines import NGrams
from rnncli.language.generate import WritingOptions, Written, write_lines
from rnncli.language.reading import TextOptions
from rnncli.language.settings import LanguageSettings, corpus_option, valid_option
from rnncli.language.task import language_task
from rnncli.language.voices import voices_option
from rnncli.language.words import BOOK_WORDS, WordSettings, cased_option, tokenizer_of
from rnncli.settings import option, retuned
from rnncli.sizes import SizeClass
from rnncli.task import Quick, Trained
from rnncli.tasks import OUTLINES
from rnncli.training.settings import BOOK_TRAINING, RecurrentSettings

if TYPE_CHECKING:
    from rnncli.data.codec import Known
    from rnncli.data.text_data import SentenceSet
    from rnncli.data.verse import VerseData

TOKENIZER = "verse-words"

CORPORA = (("frost",), ("hillside",))
"""The book's poet, and an embedded voice as a substitute."""


@dataclass(frozen=True, kw_only=True)
class PoetryConfig(HoldOutSettings, WordSettings):
    """Settings of poetry-lm; the defaults are the best found for one minute on two cores."""

    panel: ClassVar[str] = "Verse"

    corpus: tuple[str, ...] = corpus_option()
    voices: bool = voices_option()
    tokens: str = cased_option()
    valid: tuple[str, ...] = valid_option()
    word_dropout: float = retuned(LanguageSettings, "word_dropout", 0.1)
    embedding_dropout: float = retuned(LanguageSettings, "embedding_dropout", 0.7)
    output_dropout: float = retuned(LanguageSettings, "output_dropout", 0.7)
    label_smoothing: float = retuned(LanguageSettings, "label_smoothing", 0.05)
    min_count: int = option(2, "Words seen less often in the training lines are UNKNOWN.", least=1, expert=True)
    embedding: int = retuned(LanguageSettings, "embedding", 512)
    tied: bool = retuned(LanguageSettings, "tied", True)
    cell: str = retuned(RecurrentSettings, "cell", "gru:reset-after")
    hidden: str = retuned(RecurrentSettings, "hidden", "192")
    epochs: int = retuned(RecurrentSettings, "epochs", 16)
    lr: float = retuned(RecurrentSettings, "lr", 3e-3)
    weight_decay: float = retuned(RecurrentSettings, "weight_decay", 0.1)
    schedule: str = retuned(RecurrentSettings, "schedule", "cosine")
    warmup: float = retuned(RecurrentSettings, "warmup", 0.05)


SMALL = (
    SizeClass(
        10_000,
        {"epochs": 24, "batch_size": 8, "weight_drop": 0.3},
        "so little verse teaches few words; 50,000 characters or more write better",
    ),
)
"""For fewer lines than the defaults; chosen on parts of Frost and Shakespeare."""

BOOK = {
    **BOOK_TRAINING,
    **BOOK_WORDS,
    "tokens": "words",
    "cell": "elman",
    "lr": 1e-4,
    "epochs": 2000,
    "min_count": 1,
    **HoldOut().settings,
}


def read(config: PoetryConfig, known: "Known") -> "VerseData":
    """Read the lines of the corpora, and number their words; raises as `read_verse` and `new_codec`."""
    from rnncli.data.corpora import first_here
    from rnncli.data.verse import VerseData, new_codec, read_verse

    tokenizer = tokenizer_of(config, TOKENIZER, known.codec)
    verse = read_verse(config.corpus, config.held_out, tokenizer, config.valid)
    codec = known.or_new(lambda: new_codec(verse, tokenizer, config.min_count, by_voice=config.voices))
    by_default = config.corpus == CORPORA[-1] == first_here(CORPORA)
    return VerseData(verse, codec, hint="; for Robert Frost: rnn data get frost" if by_default else "")


def read_other(trained: Trained, options: TextOptions) -> "SentenceSet":
    """Read all lines of the corpus to evaluate on; a corpus with the name of a voice is read in that voice."""
    from rnncli.data.verse import line_set, read_verse

    return line_set(read_verse(options.corpus, HoldOut(), trained.codec.tokenizer).training, trained.codec)


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(WritingOptions):
    """How to write verse."""

    sample: ClassVar[Mapping[str, Any]] = {"lines": 3}

    lines: int = option(4, "Number of lines to write.", least=1, most=1_000_000)
    prime: str = option("", "First words of the first line, or @FILE for those in a file.")
    length: int = option(200, "Maximum number of words per line.", least=1)


def write(trained: Trained, options: GenerateOptions) -> Written:
    """Write verse with a trained model, and count the lines that copy the training text."""
    from rnncli.data.verse import line_key

    def count_copies(written: Written) -> tuple[str, dict[str, Any]]:
        lines = written.lines
        copies = sum(line_key(trained.codec.split(line)) in seen for line in lines)
        remark = f"; {copies} of {len(lines)} lines ({copies / max(1, len(lines)):.0%}) copy the training text"
        return remark, {"lines": lines, "copies": copies}

    options.check("lines")
    seen = set(trained.tensors["line_keys"].tolist())
    written = write_lines(trained, options, [options.read_prime()], 0 if options.beam else options.lines)
    written.inspect = count_copies
    return written


TASK = language_task(
    "poetry-lm",
    OUTLINES["poetry-lm"].summary,
    PoetryConfig,
    read=read,
    read_other=read_other,
    evaluate=(TextOptions, "rnn evaluate poetry-lm --baselines"),
    held_out="held-out lines",
    generate=(GenerateOptions, write, 'rnn generate poetry --lines 4 --temperature 0.8 --prime "the woods"'),
    keeps_numbers=("line_keys",),
    baselines=NGrams((1, 3), discounts=True),
    corpora=CORPORA,
    by_size=SMALL,
    presets={"book": BOOK},
    word_vectors=True,
    example="rnn train poetry-lm --corpus my-poems.txt",
    quick=Quick(3, ("hillside",)),
)
