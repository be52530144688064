"""What a task is: its settings, how its experiment is built, and what can be done with a trained model of it."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rnncli.errors import UsageError
from rnncli.settings import respelled

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rnncli.data.codec import Codec
    from rnncli.panels import Panel
    from rnncli.training.experiment import Experiment
    from rnncli.training.settings import RecurrentSettings


@dataclass(frozen=True)
class Trained:
    """A model of a task, back from its checkpoint."""

    task: str
    config: Any
    model: "nn.Module"
    header: Mapping[str, Any]  # the checkpoint's: payload, progress, versions
    tensors: Mapping[str, Any]  # what the task kept beside the weights
    source: Path

    @property
    def device(self) -> str:
        """Where it computes: cpu, cuda or mps."""
        return next(self.model.parameters()).device.type

    @property
    def payload(self) -> Mapping[str, Any]:
        """What the task kept in the header."""
        payload: Mapping[str, Any] = self.header["payload"]
        return payload

    @cached_property
    def codec(self) -> "Codec":
        """How a language model's text becomes numbers; raises UsageError for a model that is none."""
        from rnncli.data.codec import Codec

        if "tokenizer" not in self.payload:
            raise UsageError(f"{self.source} is a model of {self.task}, which reads no text token by token")
        return Codec.of(self.payload, is_running=getattr(self.config, "running", False))

    def check_readable(self, instead: str = "give --corpus") -> None:
        """Raise UsageError, which says what to do instead, where it learned from standard input: it cannot again."""
        from rnncli.data.corpora import from_stdin

        if any(map(from_stdin, (*self.config.corpus, *getattr(self.config, "valid", ())))):
            raise UsageError(f"{self.source} learned from standard input, which cannot be read again: {instead}")

    @contextmanager
    def reading_again(self, instead: str = "give --corpus") -> Iterator[None]:
        """Within this context files are read as they were when it learned from them; raises as `check_readable`."""
        from rnncli.data.text import read_as

        self.check_readable(instead)
        with read_as(self.header.get("reading", 1)):
            yield

    def check_unchanged(self, name: str, fingerprint: str, instead: str = "give --corpus") -> None:
        """Raise UsageError, which says what to do instead, where a text is no longer what it learned from."""
        if fingerprint != self.payload["fingerprint"]:
            raise UsageError(f"{name} is no longer what {self.source} was trained on: {instead}")


@dataclass(frozen=True)
class Action:
    """Something to do with a trained model: the options it takes, and the function that does it."""

    Options: type
    do: Callable[[Trained, Any], Any]
    example: str
    corpus: Callable[[Trained, Any], str] = lambda trained, _: trained.payload["corpus"]  # what it is done to

    def run(self, trained: Trained, options: Any) -> Any:
        """Do it, by the threads and products that suit the net."""
        from rnncli.training.machine import matmul_policy

        with matmul_policy(trained.model):
            return self.do(trained, options)


class LastStep(NamedTuple):
    """What a stack reads, (T, 1, D), and the loss in nats of the answer that its top layer's last h (1, M) gives."""

    inputs: "Tensor"
    loss: "Callable[[Tensor], Tensor]"


Rows = Mapping[str, Mapping[str, Any]]
"""The name of a baseline -> its metrics; none for one that cannot be had here, as its name says."""


class TokenAccess(Protocol):
    """The text of a language model by number, in the numbers of its codec."""

    def training_arrays(self, trained: Trained, instead: str) -> Iterator[Any]:
        """Give the tokens that a model learned from, array after array; raises as `Trained.check_unchanged`."""

    def measured_arrays(self, trained: Trained, options: Any) -> Iterator[Any]:
        """Give the tokens that `evaluate` measures on with these options, array after array."""


@dataclass(frozen=True)
class Task:
    """A task by its name; its functions import torch only when they are called."""

    name: str
    summary: str
    Config: "type[RecurrentSettings]"
    build: Callable[[Any, str], "Experiment"]  # settings and device -> what the trainer needs
    build_model: Callable[[Any, Mapping[str, Any]], "nn.Module"]  # settings and payload -> an untrained model
    evaluate: Action
    settle: Callable[[Any], Any] = lambda settings: settings  # checks settings together, and makes paths absolute
    corpora: tuple[tuple[str, ...], ...] = ()  # to learn from by default: the first of these that is here, or the last
    uses: Mapping[str, Action] = field(default_factory=dict)  # what else can be done with its models, by verb
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)  # by preset: how its training goes, printed before it
    token_access: TokenAccess | None = None  # of a language model
    # what its models have on the page of a run, beside what their verbs give: by the title of a note where it fails
    panels: "Mapping[str, Callable[[Trained], Iterable[Panel]]]" = field(default_factory=dict)
    baselines: Callable[[Trained, Any], Rows] | None = None  # simple models, measured as `evaluate` with its options
    # what the payload of its checkpoints must hold, and the values allowed there where they are few
    keeps: Mapping[str, Collection[str] | None] = field(default_factory=dict)
    keeps_numbers: tuple[str, ...] = ()  # the same of its tensors beside the weights: whole numbers (N,)
    # the last step of a text, or of one of the task's own for None, after at most N steps; of nets that read forwards
    last_step: "Callable[[Trained, str | None, int], LastStep] | None" = None
    example: str = ""  # how to train it, where `rnn train NAME` says too little
    short: str = ""  # its name after `rnn generate`, where that is another one
    word_vectors: int = 0  # the greater, the sooner its models are asked for word vectors; 0: they have none
    inherited: Callable[[str], Mapping[str, Any]] | None = None  # the settings of a model to start from that shape it
    implied_preset: Callable[[Mapping[str, Any]], str | None] = lambda _: None  # what settings call for by themselves

    def settled(self, settings: Any) -> Any:
        """Settings as a run keeps them: spelled as now, with the default corpus, and as `settle` leaves them."""
        old = {each.name: getattr(settings, each.name) for each in fields(settings) if "whole" in each.metadata}
        settings = replace(settings, **respelled(self.Config, old))
        if self.corpora and settings.needs_corpus:
            from rnncli.data.corpora import first_here

            settings = replace(settings, corpus=first_here(self.corpora))
        return self.settle(settings)

    @property
    def training_example(self) -> str:
        """A command line that trains it."""
        return self.example or f"rnn train {self.name}"

    @property
    def called(self) -> str:
        """The name by which a user has its models write."""
        return self.short or self.name

    @property
    def actions(self) -> dict[str, Action]:
        """All that can be done with its models, by verb."""
        return {"evaluate": self.evaluate, **self.uses}
