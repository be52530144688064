"""The declaration of a task: its settings, how its experiment is built, and what its trained models can do."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rnncli.errors import UsageError
from rnncli.settings import flag_of, respelled
from rnncli.sizes import SizeClass

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rnncli.data.codec import Codec
    from rnncli.panels import Panel
    from rnncli.training.experiment import Experiment
    from rnncli.training.settings import RecurrentSettings


@dataclass(frozen=True)
class Trained:
    """A model of a task, loaded from its checkpoint."""

    task: str
    config: Any
    model: "nn.Module"
    header: Mapping[str, Any]  # the checkpoint's: payload, progress, versions
    tensors: Mapping[str, Any]  # the task's own, in addition to the weights
    source: Path

    @property
    def device(self) -> str:
        """The kind of device that holds the model: cpu, cuda or mps."""
        return next(self.model.parameters()).device.type

    @property
    def payload(self) -> Mapping[str, Any]:
        """The data that the task stored in the header."""
        payload: Mapping[str, Any] = self.header["payload"]
        return payload

    @cached_property
    def codec(self) -> "Codec":
        """The codec of a language model; raises UsageError for any other model."""
        from rnncli.data.codec import Codec

        if "tokenizer" not in self.payload:
            raise UsageError(f"{self.source} is a model of {self.task}, which reads no text token by token")
        return Codec.of(self.payload, is_running=getattr(self.config, "running", False))

    def check_readable(self, instead: str = "give --corpus") -> None:
        """Raise UsageError, which says what to do instead, if its text came from standard input or Python, or is gone.

        A corpus from Python that this process holds can be read again.
        """
        from rnncli.data.corpora import cannot_be_read_again

        for spec in (*self.config.corpus, *getattr(self.config, "valid", ())):
            if origin := cannot_be_read_again(spec):
                raise UsageError(f"{self.source} learned from {origin}, which cannot be read again: {instead}")
        for name, path in self.config.lost_texts.items():
            again = f"`rnn train {self.task} --resume --name RUN {flag_of(name)} PLACE`"
            raise UsageError(
                f"{self.source} learned from {path}, where nothing is any more: {instead}; "
                f"or, to record its new place, {again}"
            )

    @contextmanager
    def reading_again(self, instead: str = "give --corpus") -> Iterator[None]:
        """Within this context, files are read by the rules of its training; raises as `check_readable`."""
        from rnncli.data.text import read_as

        self.check_readable(instead)
        with read_as(self.header.get("reading", 1)):
            yield

    def check_unchanged(self, name: str, fingerprint: str, instead: str = "give --corpus") -> None:
        """Raise UsageError, which says what to do instead, if a training text has changed."""
        if fingerprint != self.payload["fingerprint"]:
            raise UsageError(f"{name} is no longer what {self.source} was trained on: {instead}")


@dataclass(frozen=True)
class Action:
    """A verb of a trained model: its options, and the function that implements it."""

    Options: type
    do: Callable[[Trained, Any], Any]
    example: str
    corpus: Callable[[Trained, Any], str] = lambda trained, _: trained.payload["corpus"]  # the name of its data

    def run(self, trained: Trained, options: Any) -> Any:
        """Run it, with the threads and matmuls that suit the net."""
        from rnncli.training.machine import matmul_policy

        with matmul_policy(trained.model):
            return self.do(trained, options)


class LastStep(NamedTuple):
    """The inputs of a stack, (T, 1, D), and the loss in nats as a function of its top layer's last h, (1, M)."""

    inputs: "Tensor"
    loss: "Callable[[Tensor], Tensor]"


Rows = Mapping[str, Mapping[str, Any]]
"""The name of a baseline -> its metrics; none for one that is unavailable, and its name then gives the reason."""


class TokenAccess(Protocol):
    """The texts of a language model as token ids of its codec."""

    def training_arrays(self, trained: Trained, instead: str) -> Iterator[Any]:
        """Yield the tokens that a model learned from, in arrays; raises as `Trained.check_unchanged`."""

    def measured_arrays(self, trained: Trained, options: Any) -> Iterator[Any]:
        """Yield the tokens that `evaluate` measures on with these options, in arrays."""


class Quick(NamedTuple):
    """A training on embedded data that takes less than a minute."""

    seconds: int  # approximately, on two cores
    corpus: tuple[str, ...] = ()  # of its settings; empty for a task without a corpus

    def command(self, task: str) -> str:
        """The command line of this training."""
        return " ".join([f"rnn train {task}", *(f"--corpus {name}" for name in self.corpus)])

    def has(self, words: Iterable[str]) -> bool:
        """Whether all words occur in its corpus."""
        from rnncli.data.corpora import load_corpus

        words = {word.lower() for word in words}
        if not words:
            return True
        known = {word for name in self.corpus for word in load_corpus(name).text.lower().split()}
        return words <= known


@dataclass(frozen=True)
class Task:
    """A task by its name; its functions import torch only when they are called."""

    name: str
    summary: str
    Config: "type[RecurrentSettings]"
    build: Callable[[Any, str], "Experiment"]  # settings and device -> what the trainer needs
    build_model: Callable[[Any, Mapping[str, Any]], "nn.Module"]  # settings and payload -> an untrained model
    evaluate: Action
    by_size: Sequence[SizeClass] = ()  # defaults for small texts, the smallest first
    resolve_defaults: Callable[[Any], Any] = lambda settings: settings  # also checks them, and makes paths absolute
    corpora: tuple[tuple[str, ...], ...] = ()  # defaults of --corpus: the first list that is available, else the last
    uses: Mapping[str, Action] = field(default_factory=dict)  # further verbs of its models, by name
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)  # by preset: what to expect, printed before training
    token_access: TokenAccess | None = None  # of a language model
    # further panels of a run's page, next to those of its verbs, by the title of the note that replaces a failed one
    panels: "Mapping[str, Callable[[Trained], Iterable[Panel]]]" = field(default_factory=dict)
    baselines: Callable[[Trained, Any], Rows] | None = None  # simple models, measured as `evaluate` with its options
    # required parts of its checkpoints' payload, each with the allowed values, or None for any
    keeps: Mapping[str, Collection[str] | None] = field(default_factory=dict)
    keeps_numbers: tuple[str, ...] = ()  # required tensors of whole numbers (N,), in addition to the weights
    # the last of at most N steps of a text, or for None of one that the task chooses; only of nets that read forwards
    last_step: "Callable[[Trained, str | None, int], LastStep] | None" = None
    example: str = ""  # how to train it, if `rnn train NAME` is not a good example
    short: str = ""  # its name after `rnn generate`, if it differs
    quick: Quick | None = None  # the training that verbs offer on a terminal where there is no model yet
    word_vectors: bool = False  # whether its models have vectors of words
    inherited: Callable[[str], Mapping[str, Any]] | None = None  # the shape settings of a model to start from
    implied_preset: Callable[[Mapping[str, Any]], str | None] = lambda _: None  # the preset that settings call for

    def resolved(self, settings: Any) -> Any:
        """Settings as a run stores them: with current names and the default corpus, after `resolve_defaults`."""
        old = {each.name: getattr(settings, each.name) for each in fields(settings) if "whole" in each.metadata}
        settings = replace(settings, **respelled(self.Config, old))
        if settings.unfreeze_every and not getattr(settings, "init_from", None):
            raise UsageError(
                "--unfreeze-every (also of --preset ulmfit) freezes layers that nothing has trained: add --init-from, "
                "or --unfreeze-every 0"
            )
        if self.corpora and settings.needs_corpus:
            settings = replace(settings, corpus=self.default_corpus)
        return self.resolve_defaults(settings)

    @property
    def default_corpus(self) -> tuple[str, ...]:
        """The corpora that it learns from by default; only of a task with `corpora`."""
        from rnncli.data.corpora import first_here

        return first_here(self.corpora)

    @property
    def training_example(self) -> str:
        """An example of a command line that trains it."""
        return self.example or f"rnn train {self.name}"

    @property
    def called(self) -> str:
        """Its name after `rnn generate`."""
        return self.short or self.name

    @property
    def actions(self) -> dict[str, Action]:
        """All verbs of its models, by name."""
        return {"evaluate": self.evaluate, **self.uses}
