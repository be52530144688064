"""Settings shared by all language models: sizes, regularization and loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from rnncli.data.holding_out import ONE_OF
from rnncli.data.suggested import corpus_names
from rnncli.errors import UsageError
from rnncli.settings import flag_of, option
from rnncli.training.settings import RecurrentSettings

if TYPE_CHECKING:
    from rnncli.models.language_model import Dropouts
    from rnncli.models.stack import StackShape
    from rnncli.training.experiment import Outcome


def valid_option() -> Any:
    """The setting that names a separate validation text."""
    return option((), "Text to validate on, by name or path; may be repeated.", text=True)


def corpus_option() -> Any:
    """The setting that names the training corpora."""
    return option((), "Name, file, folder or - (standard input); may be repeated.", text=True, suggest=corpus_names)


def resolve_texts(config: Any) -> Any:
    """Make the paths of texts absolute, as `config.absolute` does.

    A validation text replaces the held-out part; raises UsageError if the user sets both.
    """
    absolute = config.absolute
    config = replace(config, corpus=tuple(map(absolute, config.corpus)), valid=tuple(map(absolute, config.valid)))
    held_out = {each.name: each.default for each in fields(config) if each.name in ONE_OF}
    if not config.valid or not held_out:
        return config
    conflicting = next((name for name, default in held_out.items() if getattr(config, name) not in (0, default)), None)
    if conflicting:
        raise UsageError(f"--valid names the text to validate on: leave {flag_of(conflicting)} out")
    return replace(config, **dict.fromkeys(held_out, 0))


@dataclass(frozen=True, kw_only=True)
class LanguageSettings(RecurrentSettings):
    """Settings of a language model."""

    embedding: int = option(64, "Size of the token vectors (D).", least=1, shape=True)
    tied: bool = option(
        False, "Tie output weights to the token vectors (Press and Wolf 2017).", shape=True, expert=True
    )
    word_dropout: float = option(
        0.0, "Share of the input tokens that are blanked (Iyyer 2015).", least=0, most=0.99, expert=True
    )
    embedding_dropout: float = option(
        0.0,
        "Dropout on the token vectors, one mask per sequence (Gal 2016).",
        least=0,
        most=0.99,
        expert=True,
    )
    output_dropout: float = option(
        0.0, "Dropout on the top layer, one mask per sequence.", least=0, most=0.99, expert=True
    )
    weight_drop: float = option(
        0.0,
        "Dropout on the recurrent weights, one mask per sequence (Merity 2018).",
        least=0,
        most=0.99,
        expert=True,
    )
    activation_penalty: float = option(
        0.0, "Penalty on large outputs of the top layer: AR (Merity 2017).", least=0, expert=True
    )
    change_penalty: float = option(
        0.0, "Penalty on changes of these outputs from step to step: TAR (Merity 2017).", least=0, expert=True
    )
    label_smoothing: float = option(
        0.0, "Share of each target that is spread over all tokens.", least=0, most=0.99, expert=True
    )

    @property
    def shape(self) -> "StackShape":
        return replace(super().shape, weight_drop=self.weight_drop)

    @property
    def dropouts(self) -> "Dropouts":
        """The dropout rates of the model."""
        from rnncli.models.language_model import Dropouts

        return Dropouts(self.word_dropout, self.embedding_dropout, self.output_dropout)

    def model_options(self, _tokens: Sequence[str]) -> dict[str, Any]:
        """Return further arguments of the model, which may depend on the vocabulary's tokens."""
        return {}

    @property
    def loss(self) -> "Callable[..., Outcome]":
        """The loss of a batch, as an `Experiment` takes it."""
        from rnncli.training.losses import language_loss

        return partial(
            language_loss,
            smoothing=self.label_smoothing,
            activation=self.activation_penalty,
            change=self.change_penalty,
        )
