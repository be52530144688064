"""Code shared by the tasks that label words and texts: settings, lexicon, splitting into words, recording."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from rnncli.data.marks import shorten
from rnncli.data.splitting import words_of
from rnncli.errors import RnnError, UsageError
from rnncli.recording import ActivationOptions, HeldOutText, Recording, check_enough, states_of
from rnncli.settings import option, retuned
from rnncli.task import Trained
from rnncli.training.settings import RecurrentSettings

if TYPE_CHECKING:
    from rnncli.data.features import Lexicon
    from rnncli.models.reader import TokenReader
    from rnncli.models.stack import StackShape

FEATURES = ("tags", "words", "chars")

MAX_WORDS = 5_000
"""Maximum number of words in a text; a batch with a longer text would not fit in memory."""


@dataclass(frozen=True, kw_only=True)
class LabellingSettings(RecurrentSettings):
    """Settings of a net that reads words by tag, by word and by spelling, and labels them."""

    panel: ClassVar[str] = "Reading"
    truncates: ClassVar[bool] = False

    features: tuple[str, ...] = option(
        ("words", "chars"), "Features of a word, comma-separated: tags, words, chars.", suggest=FEATURES
    )
    bidirectional: bool = option(True, "Read forwards and backwards.", expert=True)
    word_size: int = option(32, "Size of the word vectors.", least=1, expert=True)
    char_size: int = option(32, "Size of the spelling vectors.", least=1, expert=True)
    char_ngrams: int = option(5, "Longest character n-gram of a spelling.", least=1, most=20, expert=True)
    min_count: int = option(2, "Words and n-grams seen less often in training are unknown.", least=1, expert=True)
    word_dropout: float = option(
        0.2, "Share of the words that are blanked in training.", least=0, most=0.99, expert=True
    )
    char_dropout: float = option(0.4, "Dropout on character n-grams.", least=0, most=0.99, expert=True)
    input_dropout: float = option(0.3, "Dropout on the input vectors.", least=0, most=0.99, expert=True)
    output_dropout: float = option(0.3, "Dropout on the top layer.", least=0, most=0.99, expert=True)
    label_smoothing: float = option(
        0.0, "Share of each target that is spread over all labels.", least=0, most=0.99, expert=True
    )
    cell: str = retuned(RecurrentSettings, "cell", "lstm:none")
    schedule: str = retuned(RecurrentSettings, "schedule", "cosine")

    @property
    def shape(self) -> "StackShape":
        return replace(super().shape, bidirectional=self.bidirectional)

    def reader(self, lexicon: "Lexicon") -> "TokenReader":
        """The part of the net that turns words into vectors."""
        from rnncli.models.reader import ReaderShape, TokenReader

        shape = ReaderShape(
            self.features, self.word_size, self.char_size, self.word_dropout, self.char_dropout, self.input_dropout
        )
        return TokenReader(lexicon, shape)


def resolve_labelling(config: Any) -> Any:
    """Settings with absolute paths and separate features; raises UsageError for an unknown feature."""
    from rnncli.data.corpora import absolute_spec

    features = tuple(dict.fromkeys(name.strip() for names in config.features for name in names.split(",")))
    unknown = [name for name in features if name not in FEATURES]
    if unknown:
        raise UsageError(f"--features must be among {', '.join(FEATURES)}, not {', '.join(unknown)!r}")
    if config.patience or config.schedule == "plateau":
        raise UsageError("held-out texts only measure the result: leave --patience and --schedule plateau out")
    return replace(config, features=features, corpus=tuple(absolute_spec(spec) for spec in config.corpus))


def lexicon_of(
    config: LabellingSettings, lines: Sequence[Sequence[str]], tags: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """The lexicon of the training texts, as a checkpoint stores it."""
    from rnncli.data.features import Lexicon

    max_length = config.char_ngrams if "chars" in config.features else 0
    lexicon = Lexicon.of(lines, tags, min_count=config.min_count, max_length=max_length)
    words = lexicon.words if "words" in config.features else ()
    return {"tags": list(lexicon.tags), "words": list(words), "grams": list(lexicon.grams), "longest": max_length}


def lexicon_from(payload: Mapping[str, Any]) -> "Lexicon":
    """The lexicon in a checkpoint's payload."""
    from rnncli.data.features import Lexicon

    tags, words, grams, max_length = (payload["lexicon"][name] for name in ("tags", "words", "grams", "longest"))
    return Lexicon(tuple(tags), tuple(words), tuple(grams), max_length)


def words_of_all(texts: Sequence[str], split: Callable[[str], list[str]] = words_of) -> list[list[str]]:
    """The words of each text; raises RnnError as `check_lengths`."""
    lines = [split(text) for text in texts]
    check_lengths(lines)
    return lines


def check_lengths(lines: Sequence[Sequence[str]]) -> None:
    """Raise RnnError for a text without words, or with more than `MAX_WORDS`."""
    for place, line in enumerate(lines, start=1):
        if not 0 < len(line) <= MAX_WORDS:
            beginning = shorten(" ".join(line), 40)
            raise RnnError(f"text {place} ({beginning}) has {len(line):,} words: a text must have 1 to {MAX_WORDS:,}")


def as_written(text: str, words: Sequence[str]) -> list[str]:
    """Words with the quotation marks of the text, which NLTK's tokenizer turns into `` and ''."""
    return ['"' if word in ("``", "''") and word not in text else word for word in words]


def record_words(
    trained: Trained,
    options: ActivationOptions,
    net: Any,
    held_out_text: HeldOutText,
    split: Callable[[str], list[str]] = words_of,
) -> Recording:
    """Record the states of a net of words over a text, line by line; raises as `words_of_all` and `check_enough`."""
    import torch

    from rnncli.data.tagging import tags_of

    lines: list[str] = []
    words: list[list[str]] = []
    for line in filter(str.strip, options.read(trained, held_out_text).split("\n")):
        left = options.max_tokens - sum(map(len, words))
        if left <= 0:
            break
        lines.append(line)
        words += [each[:left] for each in words_of_all([line], split)]
    shown = [as_written(line, each) for line, each in zip(lines, words, strict=True)]
    pieces = [
        f"{' ' * (place > 0)}{word}" + "\n" * (place == len(line) - 1)
        for line in shown
        for place, word in enumerate(line)
    ]
    check_enough(pieces)
    tags = tags_of(words) if "tags" in trained.config.features else None
    features = lexicon_from(trained.payload).encode(words, tags)
    with torch.inference_mode():
        read = [net.reader(features.tokens(torch.tensor([row])).to(trained.device)) for row in range(len(words))]
    numbers = {word: number for number, word in enumerate(dict.fromkeys(word for line in shown for word in line))}
    return Recording(
        pieces, [numbers[word] for line in shown for word in line], list(numbers), states_of(net.stack, read)
    )


@dataclass(frozen=True, kw_only=True)
class LabelledOptions:
    """The labelled data to measure on."""

    corpus: tuple[str, ...] = option((), "Other labelled data, as in training; by default the held-out data.")
    out: str | None = option(None, "Draw the confusion matrix to this file (PNG, SVG, PDF).", formerly=("picture",))
