"""Code shared by the tasks that label words and texts: settings, their resolution, recording."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from rnncli.data.vector_settings import VectorSettings, resolve_vectors, start_from_vectors
from rnncli.errors import UsageError
from rnncli.labelling.inputs import WordInputs, inputs_of, lexicon_from, words_of_all
from rnncli.labelling.warm_start import TaskOf, resolve_start
from rnncli.recording import ActivationOptions, HeldOutText, Recording, check_enough, states_of
from rnncli.settings import option, retuned
from rnncli.task import Trained
from rnncli.training.settings import RecurrentSettings
from rnncli.warm_start import init_from_option

if TYPE_CHECKING:
    from rnncli.models.reader import EmbeddingReader, TokenReader
    from rnncli.models.stack import StackShape

FEATURES = ("tags", "words", "chars")


@dataclass(frozen=True, kw_only=True)
class LabellingSettings(VectorSettings, RecurrentSettings):
    """Settings of a net that reads words by tag, by word and by spelling, and labels them."""

    panel: ClassVar[str] = "Reading"
    truncates: ClassVar[bool] = False

    features: tuple[str, ...] = option(
        ("words", "chars"), "Features of a word, comma-separated: tags, words, chars.", suggest=FEATURES
    )
    init_from: str | None = init_from_option("Start from a language model: run, folder or file.")
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

    def reader(self, payload: Mapping[str, Any]) -> "TokenReader | EmbeddingReader":
        """The part of the net that turns words, or the tokens of a language model, into vectors."""
        from rnncli.models.reader import EmbeddingReader, ReaderShape, TokenReader

        shape = ReaderShape(
            self.features,
            self.word_size,
            self.char_size,
            self.word_dropout,
            self.char_dropout,
            self.input_dropout,
            self.freeze_embeddings,
        )
        inputs = inputs_of(self, payload)
        if isinstance(inputs, WordInputs):
            return TokenReader(inputs.lexicon, shape)
        return EmbeddingReader(len(payload["vocabulary"]), shape)


FINE_TUNING = {
    "schedule": "slanted",
    "warmup": 0.1,
    "lr_ratio": 32.0,
    "layer_decay": 2.6,
    "unfreeze_every": 1,
    "beta1": 0.7,
    "beta2": 0.99,
}
"""How Howard and Ruder 2018 (arXiv:1801.06146) fine-tune a language model to label, for `--init-from`."""


def resolve_labelling(config: Any, task_of: TaskOf) -> Any:
    """Settings with absolute paths and separate features, as `resolve_vectors` and `resolve_start` make them.

    Raises UsageError for an unknown feature, and as these.
    """
    features = tuple(dict.fromkeys(name.strip() for names in config.features for name in names.split(",")))
    unknown = [name for name in features if name not in (*FEATURES, "tokens")]
    if unknown:
        raise UsageError(f"--features must be among {', '.join(FEATURES)}, not {', '.join(unknown)!r}")
    if config.patience or config.schedule == "plateau":
        raise UsageError("held-out texts only measure the result: leave --patience and --schedule plateau out")
    config = replace(config, features=features, corpus=tuple(map(config.absolute, config.corpus)))
    if config.embeddings and not config.init_from and "words" not in features:
        raise UsageError("--embeddings sets the vectors of words: add words to --features")
    return resolve_start(resolve_vectors(config, "word_size"), task_of)


def vectors_note(config: LabellingSettings, payload: Mapping[str, Any], nets: Sequence[Any]) -> str:
    """Start from the word vectors that the settings name, if any; returns a note. Raises as `start_from_vectors`."""
    if config.embeddings is None:
        return ""
    _, words, _ = lexicon_from(payload).numbers
    return start_from_vectors(config, words.items(), [net.reader.words for net in nets])


def record_words(
    trained: Trained,
    options: ActivationOptions,
    net: Any,
    held_out_text: HeldOutText,
    split: Callable[[str], list[str]] | None = None,
) -> Recording:
    """Record the states of a net over a text, line by line; raises as `Inputs.split_all` and `check_enough`.

    A net of words may `split` a line by other rules than its inputs.
    """
    import torch

    inputs = inputs_of(trained.config, trained.payload)
    lines: list[str] = []
    words: list[list[str]] = []
    for line in filter(str.strip, options.read(trained, held_out_text).split("\n")):
        left = options.max_tokens - sum(map(len, words))
        if left <= 0:
            break
        found = inputs.split_all([line]) if split is None or inputs.opened else words_of_all([line], split)
        if any(found):
            lines.append(line)
            words += [each[:left] for each in found]
    written = [inputs.pieces(line, each) for line, each in zip(lines, words, strict=True)]
    pieces = [piece + "\n" * (place == len(line) - 1) for line in written for place, piece in enumerate(line)]
    check_enough(pieces)
    features = inputs.encode(words)
    with torch.inference_mode():
        read = [net.reader(features.tokens(torch.tensor([row])).to(trained.device)) for row in range(len(words))]
    shown = [name for line, each in zip(lines, words, strict=True) for name in inputs.written(line, each)]
    numbers = {word: number for number, word in enumerate(dict.fromkeys(shown))}
    states = states_of(net.stack, read, opened=inputs.opened)
    return Recording(pieces, [numbers[word] for word in shown], list(numbers), states)


@dataclass(frozen=True, kw_only=True)
class LabelledOptions:
    """The labelled data to measure on."""

    corpus: tuple[str, ...] = option((), "Other labelled data, as in training; by default the held-out data.")
    out: str | None = option(None, "Draw the confusion matrix to this file (PNG, SVG, PDF).", formerly=("picture",))
