"""poetry-lm: learn verse line by line, each line a sequence from START to END, and write more of it."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from rnncli.data.corpora import first_here
from rnncli.data.tokenizers import TOKENIZERS, written_word
from rnncli.data.vocabulary import END, START
from rnncli.language.baselines import NGrams
from rnncli.language.generate import Draft, Writing, WritingOptions, Written, listener, printable, write_on
from rnncli.language.reading import TextOptions
from rnncli.language.settings import LanguageSettings, corpus_option, settle_texts, valid_option
from rnncli.language.task import language_task
from rnncli.language.voices import label_number, voices_option
from rnncli.language.warm_start import settle_start
from rnncli.language.words import BOOK_WORDS, WordSettings, settle_words, tokenizer_of, tokens_option
from rnncli.settings import option, retuned
from rnncli.task import Trained
from rnncli.training.settings import BOOK_TRAINING, RecurrentSettings

if TYPE_CHECKING:
    from rnncli.data.codec import Known
    from rnncli.data.text_data import SentenceSet
    from rnncli.data.verse import VerseData

TOKENIZER = "verse-words"

CORPORA = (("frost",), ("hillside",))
"""The book's poet, and the embedded voice that stands in for him."""


@dataclass(frozen=True, kw_only=True)
class PoetryConfig(WordSettings):
    """Settings of poetry-lm; the defaults are the best recipe found for a minute of two cores."""

    panel: ClassVar[str] = "Verse"

    corpus: tuple[str, ...] = corpus_option()
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


def settle(config: PoetryConfig) -> PoetryConfig:
    """Make paths absolute; raises UsageError for settings that do not go together."""
    return settle_start(settle_words(settle_texts(config)), "poetry-lm")


def read(config: PoetryConfig, known: "Known") -> "VerseData":
    """Read the lines of the corpora, and number their words; raises as `read_verse` and `new_codec`."""
    from rnncli.data.verse import VerseData, new_codec, read_verse

    tokenizer = tokenizer_of(config, TOKENIZER, known.codec)
    verse = read_verse(config.corpus, config.hold_out, tokenizer, config.valid)
    codec = known.or_new(lambda: new_codec(verse, tokenizer, config.min_count, by_voice=config.voices))
    by_default = config.corpus == CORPORA[-1] == first_here(CORPORA)
    return VerseData(verse, codec, hint="; Robert Frost instead: rnn data get frost" if by_default else "")


def read_other(trained: Trained, options: TextOptions) -> "SentenceSet | None":
    """Read all lines of the corpus to evaluate on, in the model's voices where they have their names."""
    from rnncli.data.verse import line_set, read_verse

    if not options.corpus:
        return None
    return line_set(read_verse(options.corpus, 0, trained.codec.tokenizer).training, trained.codec)


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(WritingOptions):
    """How to write verse."""

    lines: int = option(4, "Lines to write.", least=1, most=1_000_000)
    prime: str = option("", "Words that the first line begins with, or @FILE for those of a file.")
    length: int = option(200, "Words of a line at most.", least=1)


def write(trained: Trained, options: GenerateOptions) -> Written:
    """Write verse with a trained model; words of the prime it does not know are read as UNKNOWN and kept as given."""
    from rnncli.data.verse import line_key

    options.check("lines")
    codec = trained.codec
    prime = printable(codec.split(options.read_prime()))
    if options.beam:
        first = () if prime else (END,)
        join = partial(codec.join, begun=bool(prime))
        writing = Writing(join, barred=codec.unwritten, barred_at_first=first, end=END, shown=_shown(prime))
        written = write_on(trained, options, [START, *codec.vocabulary.encode(prime)], writing)
    else:
        written = _drawn(trained, options, prime)
    seen = set(trained.tensors["line_keys"].tolist())
    lines = [line for draft in written.drafts for line in draft.text.split("\n") if line]
    copies = sum(line_key(line.split(" ")) in seen for line in lines)
    written.extra = {"lines": lines, "copies": copies}
    written.remark += f"; {copies} of {len(lines)} lines ({copies / max(1, len(lines)):.0%}) copy the training text"
    written.unknown = [word for word in prime if word not in codec.vocabulary.numbers]
    return written


def _drawn(trained: Trained, options: GenerateOptions, prime: list[str]) -> Written:
    """Poems of so many lines each, all lines side by side; every poem's first line begins with the prime."""
    from rnncli.models.decoding import draw_lines

    codec = trained.codec
    draw = partial(
        draw_lines,
        trained.model,
        sampling=options.sampling,
        start=START,
        end=END,
        barred=codec.unwritten,
        generator=options.dice(next(trained.model.parameters()).device),
        longest=options.length,
        label=label_number(trained, options.label),
    )
    first, other = partial(codec.join, begun=bool(prime)), codec.join
    listen = listener(trained, options, lambda line: first if line < options.count else other)
    firsts = draw(options.count, prime=codec.vocabulary.encode(prime), listen=listen)
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


TASK = language_task(
    "poetry-lm",
    "Learn verse line by line, and write more of it.",
    PoetryConfig,
    settle=settle,
    read=read,
    read_other=read_other,
    tokenizers=TOKENIZERS,
    evaluate=TextOptions,
    held_out="held-out lines",
    generate=GenerateOptions,
    write=write,
    examples={
        "evaluate": "rnn evaluate poetry-lm --baselines",
        "generate": 'rnn generate poetry --lines 4 --temperature 0.8 --prime "the woods"',
    },
    keeps_numbers=("line_keys",),
    baselines=NGrams((1, 3), discounts=True),
    corpora=CORPORA,
    presets={"book": BOOK},
    word_vectors=1,
)
