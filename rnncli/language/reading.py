"""How a language task reads its texts: for training, and again for a trained model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rnncli.errors import UsageError
from rnncli.language.dynamic_evaluation import DynamicEvaluationOptions
from rnncli.language.evaluate import measure, with_bits
from rnncli.settings import option
from rnncli.task import Trained

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rnncli.data.codec import Ids, Known
    from rnncli.data.text_data import EvalSet, TextData
    from rnncli.training.experiment import Metrics


@dataclass(frozen=True, kw_only=True)
class TextOptions(DynamicEvaluationOptions):
    """The text to evaluate on, and how."""

    corpus: tuple[str, ...] = option((), "Evaluate on all of this text instead of the held-out text.")

    @property
    def other(self) -> bool:
        """Whether the options name another text than the held-out one."""
        return bool(self.corpus)

    def name_of(self, trained: Trained) -> str:
        """The name of the other text; empty if none is named."""
        del trained
        return " + ".join(self.corpus)


class TrainingReader(Protocol):
    """How a task reads its training text, with new token ids or those of a known codec."""

    def __call__(self, config: Any, known: "Known", /) -> "TextData": ...


class EvaluationReader(Protocol):
    """How a task reads another text to evaluate on."""

    def __call__(self, trained: Trained, options: Any, /) -> "EvalSet": ...


def evaluation_name(held_out: str, trained: Trained, options: TextOptions) -> str:
    """The name of the text that `evaluate` measures on: another text, or the held-out one."""
    held_out = " + ".join(trained.config.valid) or f"{trained.payload['corpus']}, {held_out}"
    return options.name_of(trained) if options.other else held_out


class RereadText:
    """The texts of a trained model, which its task's readers read again."""

    def __init__(self, read: TrainingReader, read_other: EvaluationReader) -> None:
        self.read, self.read_other = read, read_other

    def data(self, trained: Trained, instead: str, *, only_held_out: bool = False) -> "TextData":
        """Read a model's training and validation text; `only_held_out` may leave out the training text.

        Raises UsageError, which says what to do instead, if the text has changed or cannot be read again.
        """
        from rnncli.data.codec import Known

        with trained.reading_again(instead):
            data = self.read(trained.config, Known(trained.codec, only_held_out=only_held_out))
        trained.check_unchanged(data.name, data.fingerprint, instead)
        return data

    def training_arrays(self, trained: Trained, instead: str) -> "Iterator[Ids]":
        """Yield the tokens that a model learned from, in arrays; raises as `data`."""
        return self.data(trained, instead).training_arrays()

    def eval_set(self, trained: Trained, options: Any) -> "EvalSet":
        """Return the text that `evaluate` measures on: another one, or the held-out one.

        Raises UsageError if nothing was held out, and as `data`.
        """
        if options.other:
            return self.read_other(trained, options)
        data = self.data(trained, "give --corpus", only_held_out=True)
        if not data.holds_out:
            raise UsageError(f"nothing was held out when {trained.source} was trained: give a --corpus to evaluate on")
        return data.validation

    def measured_arrays(self, trained: Trained, options: Any) -> "Iterator[Ids]":
        """Yield the tokens that `evaluate` measures on, in arrays; raises as `eval_set`."""
        return self.eval_set(trained, options).arrays()

    def held_out_text(self, trained: Trained) -> "Iterator[str]":
        """Yield the held-out lines, or the training lines if none were held out; raises as `data`."""
        data = self.data(trained, "give --text", only_held_out=True)
        return (data if data.holds_out else self.data(trained, "give --text")).held_out_text()

    def evaluate(self, trained: Trained, options: TextOptions) -> "Metrics":
        """Measure loss, perplexity, accuracy, bits per character, and the share of UNKNOWN tokens.

        Each word counts with the blank or line feed after it as characters. A text with the name of one of the model's
        voices is read in that voice, whose perplexity is reported as well; any other text is read without a voice.
        """
        eval_set, adaptation = self.eval_set(trained, options), options.adaptation
        metrics = measure(trained.model, eval_set, adaptation)
        summary = eval_set.summarize()
        by_voice = {
            f"perplexity_{label}": measure(trained.model, part, adaptation)["perplexity"]
            for label, part in eval_set.by_voice().items()
        }
        return {**with_bits(metrics, summary.tokens_per_character), **by_voice, **summary.facts}
