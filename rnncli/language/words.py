"""Code shared by all language models of words: their softmax, and pretrained word vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from rnncli.data.tokenizers import CASED, SPACED
from rnncli.data.vector_settings import VectorSettings, resolve_vectors
from rnncli.data.vocabulary import SPECIALS
from rnncli.errors import UsageError
from rnncli.language.warm_start import WarmStartSettings
from rnncli.settings import option

if TYPE_CHECKING:
    from rnncli.data.codec import Codec

SOFTMAXES = ("full", "adaptive", "sampled")


TOKENS = ("words", "spaced")


def tokens_option() -> Any:
    """The setting that says how a text is split into words."""
    help = "Kind of token; words: without punctuation; spaced: split at blanks, <unk> is UNKNOWN."
    return option("words", help, choices=TOKENS, shape=True)


def cased_option() -> Any:
    """The same with capitals and punctuation by default; models from before that have neither."""
    help = "Token; cased: as written; words: lower-case words; spaced: split at blanks."
    return option("cased", help, choices=("cased", *TOKENS), shape=True, legacy_default="words")


def tokenizer_of(config: Any, usual: str, known: "Codec | None") -> str:
    """Return the tokenizer that --tokens names, or that of a codec."""
    if known is not None:
        return known.tokenizer
    return {"spaced": SPACED, "cased": CASED}.get(config.tokens, usual)


@dataclass(frozen=True, kw_only=True)
class WordSettings(VectorSettings, WarmStartSettings):
    """Settings of a language model of words."""

    spelling: int = option(
        0,
        "Longest character n-gram that is added to the word vectors; 0: none.",
        least=0,
        most=20,
        shape=True,
        expert=True,
    )
    embeddings: str | None = option(None, "Start from word vectors: a file, or an imported name.")
    softmax: str = option(
        "full",
        "Train on the scores of all words, of rare words in classes, or of a sample; the latter two are faster.",
        choices=SOFTMAXES,
        shape=True,
        expert=True,
    )

    @property
    def grows(self) -> bool:
        """Whether tokens can be added: the weights of an adaptive softmax and of spellings depend on the vocabulary."""
        return self.softmax != "adaptive" and not self.spelling

    def model_options(self, tokens: Sequence[str]) -> dict[str, Any]:
        from rnncli.data.features import shared_spellings

        words = ["" if token in SPECIALS else token for token in tokens]
        spellings = shared_spellings(words, self.spelling) if self.spelling else None
        return {"softmax": self.softmax, "spellings": spellings, "frozen": self.freeze_embeddings}


BOOK_WORDS = {
    "embedding": 30,
    "hidden": "30",
    "activation": "relu",
    "schedule": "constant",
    "tied": False,
    "spelling": 0,
    "softmax": "full",
    "word_dropout": 0.0,
    "embedding_dropout": 0.0,
    "output_dropout": 0.0,
    "weight_drop": 0.0,
    "activation_penalty": 0.0,
    "change_penalty": 0.0,
    "label_smoothing": 0.0,
}
"""The book's two language models: D and M 30, relu, no regularization."""


Settings = TypeVar("Settings", bound=WordSettings)


def resolve_words(config: Settings) -> Settings:
    """Settings as `resolve_vectors` makes them; also raises UsageError for those that the softmax does not support."""
    wrong = {
        "--no-tied": config.softmax == "adaptive" and config.tied,
        "--label-smoothing 0": config.label_smoothing > 0,
    }
    missing = [flag for flag, is_on in wrong.items() if is_on]
    if missing and config.softmax != "full":
        raise UsageError(f"--softmax {config.softmax} does not support these settings: add {' '.join(missing)}")
    if config.embeddings and config.spelling:
        raise UsageError("--embeddings sets whole word vectors: leave --spelling out")
    return resolve_vectors(config, "embedding")
