"""How a task reads its texts, and what is done with a text that is read again for a trained model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rnncli.errors import UsageError
from rnncli.language.dynamic_evaluation import AdaptingOptions
from rnncli.language.evaluate import measure, with_bits
from rnncli.settings import option
from rnncli.task import Trained

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rnncli.data.codec import Ids, Known
    from rnncli.data.text_data import EvalSet, TextData
    from rnncli.training.experiment import Metrics


@dataclass(frozen=True, kw_only=True)
class TextOptions(AdaptingOptions):
    """What to evaluate on, and how."""

    corpus: tuple[str, ...] = option((), "Evaluate on all of this text, not on what was held out.")

    @property
    def other(self) -> bool:
        """Whether another text is named than what was held out."""
        return bool(self.corpus)

    def name_of(self, trained: Trained) -> str:
        """Name the other text; empty where none is named."""
        del trained
        return " + ".join(self.corpus)


class Read(Protocol):
    """How a task reads its text, in new numbers or in those that are known."""

    def __call__(self, config: Any, known: "Known", /) -> "TextData": ...


class ReadOther(Protocol):
    """How a task reads another text to measure on."""

    def __call__(self, trained: Trained, options: Any, /) -> "EvalSet": ...


def measured_name(held_out: str, trained: Trained, options: TextOptions) -> str:
    """Name what `evaluate` measures on: other texts, or what was held out."""
    held_out = " + ".join(trained.config.valid) or f"{trained.payload['corpus']}, {held_out}"
    return options.name_of(trained) if options.other else held_out


class TextAgain:
    """The text of a trained model, read again by its task's reader."""

    def __init__(self, read: Read, read_other: ReadOther) -> None:
        self.read, self.read_other = read, read_other

    def data(self, trained: Trained, instead: str, *, only_held_out: bool = False) -> "TextData":
        """Read what a model learned from; `only_held_out` may leave out what it learned.

        Raises UsageError, which says what to do instead, where the text has changed or cannot be read again.
        """
        from rnncli.data.codec import Known

        with trained.reading_again(instead):
            data = self.read(trained.config, Known(trained.codec, only_held_out=only_held_out))
        trained.check_unchanged(data.name, data.fingerprint, instead)
        return data

    def training_arrays(self, trained: Trained, instead: str) -> "Iterator[Ids]":
        """Give the tokens that a model learned from, array after array; raises as `data`."""
        return self.data(trained, instead).training_arrays()

    def measured(self, trained: Trained, options: Any) -> "EvalSet":
        """Return what `evaluate` measures on: another text, or what training held out.

        Raises UsageError where nothing was held out, and as `data`.
        """
        if options.other:
            return self.read_other(trained, options)
        data = self.data(trained, "give --corpus", only_held_out=True)
        if not data.holds_out:
            raise UsageError(f"nothing was held out when {trained.source} was trained: give a --corpus to evaluate on")
        return data.validation

    def measured_arrays(self, trained: Trained, options: Any) -> "Iterator[Ids]":
        """Give the tokens that `evaluate` measures on; raises as `measured`."""
        return self.measured(trained, options).arrays()

    def held_out_text(self, trained: Trained) -> "Iterator[str]":
        """Give the lines that training held out, or where it held out none, those it learned; raises as `data`."""
        data = self.data(trained, "give --text", only_held_out=True)
        return (data if data.holds_out else self.data(trained, "give --text")).held_out_text()

    def evaluate(self, trained: Trained, options: TextOptions) -> "Metrics":
        """Measure loss, perplexity and accuracy, bits a character, and the share of UNKNOWN tokens.

        The characters of words are counted with a blank or a line feed after each. Texts that are named as the model's
        voices are read in those, and each voice's perplexity is reported; others are read in nobody's.
        """
        measured, adaptation = self.measured(trained, options), options.adaptation
        metrics = measure(trained.model, measured, adaptation)
        summary = measured.summarize()
        by_voice = {
            f"perplexity_{label}": measure(trained.model, part, adaptation)["perplexity"]
            for label, part in measured.by_voice().items()
        }
        return {**with_bits(metrics, summary.tokens_per_character), **by_voice, **summary.facts}
