"""The Python API: train a task, load a trained model, use it. The command line calls the same functions."""

import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, get_type_hints

import torch
from torch import Tensor, nn

from rnncli.analysis.cards import card, lines, shown
from rnncli.analysis.curves import read_records
from rnncli.analysis.history import Choice, History, Record
from rnncli.cells.outside import kept_of, outside_cell
from rnncli.data.corpora import from_stdin
from rnncli.data.from_python import corpus_specs
from rnncli.data.holding_out import HoldOutSettings
from rnncli.data.text import PARTS_MARKS, READING, read_as
from rnncli.data.vectors import WordVectors
from rnncli.errors import RnnError, UsageError
from rnncli.kernels.chooser import faster_on_cpu
from rnncli.kernels.graphs import CudaRecorder, for_graph
from rnncli.kernels.precision import forward_pass
from rnncli.kinds import as_kind, checked, plain_value
from rnncli.language.generate import Written
from rnncli.language.score import Scored
from rnncli.options import (
    ActivationsOptions,
    ClassifyOptions,
    EvaluateOptions,
    GenerateOptions,
    ScoreOptions,
    TagOptions,
    TranslateOptions,
)
from rnncli.recording import Recording
from rnncli.restoring import rebuild, usable
from rnncli.results import Classified, Evaluation, Tagged, Translation
from rnncli.resuming import allowed_changes
from rnncli.settings import DEVICES, canonical, check_limits, plain, respelled
from rnncli.task import Action, Task, Trained
from rnncli.tasks import TASKS, named_task, task_of
from rnncli.training import distributed
from rnncli.training.checkpoint import Checkpoint
from rnncli.training.experiment import Experiment
from rnncli.training.loop import Listener, Trainer, below
from rnncli.training.machine import matmul_policy, pick_graphs, pick_precision
from rnncli.training.randomness import seed_everything
from rnncli.training.runs import (
    Run,
    RunElsewhere,
    check_new,
    new_run,
    read_for_resume,
    read_model,
    read_task,
    runs_to_use,
    tasks_of,
)
from rnncli.training.session import Session
from rnncli.training.settings import RecurrentSettings, TrainingSettings
from rnncli.version import __version__

if TYPE_CHECKING:
    from rnncli.exporting import Exported

Options = TypeVar("Options")


class Model(Trained):
    """A trained model; its methods are the verbs of the command line, and take the options of its task.

    `can` lists the verbs of its task; any other raises UsageError. `model` is the net, a `torch.nn.Module`;
    `task`, `config`, `payload` (the vocabulary, …) and `source` (its file) describe it.
    """

    if TYPE_CHECKING:
        config: RecurrentSettings
        header: Mapping[str, object]
        tensors: Mapping[str, Tensor]

        @property
        def payload(self) -> Mapping[str, object]: ...

    @property
    def can(self) -> tuple[str, ...]:
        """The verbs that the model has."""
        vectors = ("vectors",) if hasattr(self.model, "word_vectors") else ()
        return (*TASKS[self.task].actions, *vectors)

    @cached_property
    def history(self) -> History:
        """The validations of its training, from the run's `metrics.jsonl` where there is one, else from its file."""
        header: Mapping[str, Any] = self.header
        progress = header["progress"]
        records: Sequence[Record] = progress["history"]
        with suppress(RnnError):
            newer = read_records(Run(self.source.parent))
            if [each["step"] for each in newer[: len(records)]] == [each["step"] for each in records]:
                records = newer
        choice = Choice(header["monitor"], progress["best_step"])
        return History(records, choice, run=self.source.parent.name, task=self.task)

    @property
    def facts(self) -> dict[str, object]:
        """The model in four lines: its net, its text, its best metric, and its verbs."""
        count = sum(parameter.numel() for parameter in self.model.parameters())
        best, history = self.history.best, self.history
        value = (
            "not validated"
            if best is None
            else f"{history.metric.replace('_', ' ')} {shown(history[history.metric][best])}"
        )
        sizes = self.config.hidden.replace(",", "-")
        return {
            "net": f"{self.config.label} {sizes}, {count:,} parameters, on {self.device}",
            "corpus": self.payload["corpus"],
            "best": f"{value} at step {history.best_step:,}",
            "can": ", ".join(self.can),
        }

    def __repr__(self) -> str:
        return lines(f"Model {self.task}/{self.source.parent.name}", self.facts)

    def _repr_html_(self) -> str:
        history = self.history
        return card(f"{self.task} · {history.run}", self.facts, history.plot() if history.records else None)

    def generate(self, **options: Unpack[GenerateOptions]) -> Written:
        """Write new text; the options depend on the task: see `rnn generate --help`.

        Raises UsageError for invalid options.
        """
        found: Written = self._do("generate", options)
        return found

    def score(self, texts: str | Iterable[str], **options: Unpack[ScoreOptions]) -> list[Scored]:
        """Score texts: how likely each is, its rank, and how surprising each of its tokens is, in the order given.

        The best text has the lowest perplexity, or, with `by="probability"`, the highest probability. `label` is the
        voice to score in, for a model of several voices. Raises UsageError for a text without words.
        """
        found: list[Scored] = self._do("score", options, texts=texts)
        return found

    def classify(self, texts: str | Iterable[str], **options: Unpack[ClassifyOptions]) -> list[Classified]:
        """The label of each text, its probability, and the words that moved it; raises RnnError for an empty text."""
        found: list[Classified] = self._do("classify", options, texts=texts)
        return found

    def tag(self, texts: str | Iterable[str], **options: Unpack[TagOptions]) -> list[list[Tagged]]:
        """A label for every word of each text; raises RnnError for a text without words.

        `split_words` selects how a text is split: as in the `training` file, only at `blanks`, or as `nltk` does.
        """
        found: list[list[Tagged]] = self._do("tag", options, texts=texts)
        return found

    def translate(self, texts: str | Iterable[str], **options: Unpack[TranslateOptions]) -> list[list[Translation]]:
        """The `nbest` best translations of each text; raises UsageError for an `nbest` greater than `beam`."""
        found: list[list[Translation]] = self._do("translate", options, texts=texts)
        return found

    def activations(self, text: str | None = None, **options: Unpack[ActivationsOptions]) -> Recording:
        """The state of every unit after every token of a text, or of the held-out text.

        `rnncli.analysis.activations.rank` finds the feature that each unit follows. Raises UsageError for a text of
        fewer than two tokens, RnnError if the held-out text cannot be read.
        """
        found: Recording = self._do("activations", options, text=text)
        return found

    def evaluate(self, **options: Unpack[EvaluateOptions]) -> Evaluation:
        """Measure the model on the held-out data, or on a `corpus`; for the options see `rnn evaluate TASK --help`.

        Raises RnnError for a text that cannot be read, UsageError if nothing was held out.
        """
        metrics = Evaluation(self._do("evaluate", options))
        self.check_loss(metrics)
        return metrics

    @checked
    def export(
        self,
        *,
        onnx: str | Path | None = None,
        weights: str | Path | None = None,
        torch: str | Path | None = None,
        arpa: str | Path | None = None,
        label: str | None = None,
        order: int | None = None,
        corpus: str | Path | Sequence[str | Path] = (),
    ) -> "list[Exported]":
        """Write the model, or n-grams of its text, to files for programs without rnn: docs/export.md.

        `label` is the voice for `onnx` and `torch`; `order` is the length of the n-grams for `arpa`, 5 by default, and
        `corpus` another text for them. Raises as `rnncli.exporting.export`, which writes nothing then.
        """
        from rnncli.exporting import ExportOptions, export

        files = {"onnx": onnx, "weights": weights, "torch": torch, "arpa": arpa}
        texts = tuple(map(str, [corpus] if isinstance(corpus, str | Path) else corpus))
        paths = {form: None if file is None else Path(file) for form, file in files.items()}
        return export(self, paths, ExportOptions(label, order, texts))

    def check_loss(self, metrics: Mapping[str, Any]) -> None:
        """Raise RnnError if the loss is not a number; another metric may be one, such as a share of no new words."""
        if math.isnan(metrics.get("loss", 0.0)):
            raise RnnError(f"{self.source} has no loss here: its output is not a number")

    @checked
    def vectors(self, layer: str | None = None) -> WordVectors:
        """The word vectors of a layer: `input` or `output`; by default those of the better layer.

        Raises UsageError for a model without word vectors.
        """
        from rnncli.analysis.vectors import default_layer, of_model

        return of_model(self, layer or default_layer(self))

    def action(self, verb: str) -> Action:
        """The action of its task for a verb; raises UsageError, which lists its verbs, if the task lacks the verb."""
        actions = TASKS[self.task].actions
        if verb not in actions:
            raise UsageError(
                f"{self.source} is a model of {self.task}, which has no {verb}: it has {', '.join(self.can)}"
            )
        return actions[verb]

    @checked
    def do(self, verb: str, **options: object) -> object:
        """Run the action for a verb, also for a verb without a method here; raises as `action` and `make_options`."""
        return self._do(verb, options)

    def _do(self, verb: str, options: Mapping[str, object], **more: object) -> Any:
        action = self.action(verb)
        return action.run(self, make_options(action.Options, {**more, **options}))


def make_options(Options: type[Options], given: Mapping[str, Any]) -> Options:
    """The options of an action as its dataclass, checked against their limits; one text or path becomes a list of one.

    A `corpus` may be anything that `corpus_specs` takes; None stands for the default. Raises UsageError for a value of
    another type or beyond its limits, and for an unknown option.
    """
    given = respelled(Options, given)
    names = [field.name for field in fields(Options)]  # type: ignore[arg-type]  # always a dataclass
    unknown = [name for name in given if name not in names]
    if unknown:
        raise UsageError(f"there is no option {unknown[0]!r}: the options are {', '.join(names)}")
    kinds = get_type_hints(Options)
    values = {
        name: corpus_specs(value) if name == "corpus" else as_kind(plain_value(value), kinds[name], f"option {name}")
        for name, value in given.items()
        if value is not None
    }
    options = Options(**values)
    check_limits(options)
    return options


@checked
def load(
    source: str | Path | Run | None = None,
    task: str | None = None,
    *,
    suits: Callable[[Task], bool] | None = None,
    device: str | torch.device = "auto",
    cell: str | type[nn.Module] | None = None,
) -> Model:
    """Load a trained model by its file, the folder of its run, its run, or the name of its run.

    Without a `source`, load the newest model of `task`, or of all tasks that `suits`. If runs of several tasks have the
    name, the run of the task that suits is loaded.

    The model computes on `device`: `auto` (CUDA if available, except for tiny nets), `cpu`, `cuda` or `mps`, as text
    or a `torch.device`. `cell` names the code of a cell from outside: its class, or `PATH.py:Class`. No model file runs
    code by itself.

    A damaged checkpoint next to a valid one gives an RnnWarning, a UserWarning. Raises RnnError if no checkpoint is
    valid, and UsageError for an unknown run or task, a run of another task, an unavailable device, and a cell from
    outside that is not named again.
    """
    name = None if source is None else str(source.folder.absolute() if isinstance(source, Run) else source)
    if task is not None:
        named_task(task)  # refuses an unknown one
    elif suits is not None:
        task = _task_for(name, suits)
    elif name is None:
        raise UsageError("name a model, or a task to take its newest model")
    device = str(device)
    pick_device(device)  # refuses an unavailable device before anything is read
    model = restore(*read_model(name, task), device, cell)
    _check_finite(model)
    return model


def task_of_model(source: str, suits: Callable[[Task], bool]) -> str:
    """The name of a model's task; among the tasks that suit, if only one of them has a run of that name.

    Raises UsageError if there is no such model, and as `load`.
    """
    return _task_for(source, suits) or str(read_task(source))


def _task_for(source: str | None, suits: Callable[[Task], bool]) -> str | None:
    """Choose the task of a model among those that suit.

    Without a `source` it is the task of the newest run, or else the first one. With one, it is the only suitable task
    that has a run of that name; None if there is no such task, or several.
    """
    names = [task.name for task in filter(suits, TASKS.values())]
    if source is None:
        return next((run.task for run in runs_to_use() if run.task in names), names[0])
    owners = [name for name in tasks_of(source) if name in names]
    return owners[0] if len(owners) == 1 else None


def _check_finite(model: Model) -> None:
    """Raise RnnError for a model with a weight that is not a finite number: its output would not be one either."""
    bad = [name for name, weights in model.model.named_parameters() if not torch.isfinite(weights).all()]
    if bad:
        others = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise RnnError(
            f"{model.source} holds weights that are not numbers (nan or infinite, in {bad[0]}{others}): "
            "take another checkpoint, or train it again with a smaller --lr"
        )


def restore(found: Checkpoint, source: Path, device: str = "cpu", cell: str | type[nn.Module] | None = None) -> Model:
    """Build the model of a checkpoint with its weights on a device; raises as `rebuild` and `pick_device`."""
    task = task_of(found.header, source)
    config, model = rebuild(task, found, source, cell)
    model.to(pick_device(device, max(config.sizes)))
    model.eval()
    return Model(task.name, config, model, found.header, below("task", found.tensors), source)


def pick_device(requested: str, units: int | None = None, sequences: int = 1) -> str:
    """The device to compute on: the requested one, or, for `auto`, CUDA if available.

    With `auto`, layers of few `units` that read few `sequences` at once stay on the CPU, which is faster for them.
    Raises UsageError for an unknown or unavailable device.
    """
    if requested not in DEVICES:
        raise UsageError(f"--device must be one of {', '.join(DEVICES)}, not {requested!r}")
    several = distributed.world() > 1
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    tiny = units is not None and faster_on_cpu(units, sequences)
    device = ("cuda" if available["cuda"] and not tiny else "cpu") if requested == "auto" else requested
    if not available[device]:
        raise UsageError(f"--device {requested}: torch finds no such device here; use --device cpu or auto")
    if several and device == "mps":
        raise UsageError("--device mps works only with one process; use --device cpu")
    if device == "cuda" and several:
        _take_own_device(torch.cuda.device_count())
    return device


def _take_own_device(count: int) -> None:
    """Give each process of this machine its own CUDA device; raises UsageError for too few devices."""
    place, here = (int(os.environ[name]) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    if here > count:
        raise UsageError(f"{here} processes on a machine with {count} CUDA devices: start {count}, or use --device cpu")
    torch.cuda.set_device(place)


def _check_corpus(config: Any) -> None:
    """Raise UsageError if several processes would read standard input."""
    if distributed.world() > 1 and any(map(from_stdin, getattr(config, "corpus", ()))):
        raise UsageError("--corpus -: standard input serves only one process; name a file")


def _check_end(config: TrainingSettings) -> None:
    """Raise UsageError if only a time limit ends the training of several processes, since their clocks differ."""
    if distributed.world() > 1 and not config.epochs:
        raise UsageError("--epochs 0: only the training of one process can end by a time limit; give several --epochs")


class Training:
    """A prepared training of a task; `train` runs it.

    `Training.start` begins a new run; `Training.resume` continues one. Both seed every generator of the process, and
    lock the run until `train` returns or the process ends. Inside `rnncli.training.distributed.together`, several
    processes train as one.
    """

    def __init__(
        self, task: Task, config: RecurrentSettings, resumed: Path | None = None, changes: Collection[str] = ()
    ) -> None:
        self.task, self.config = task, config
        _check_corpus(config)
        _check_end(config)
        self.device = pick_device(config.device, max(config.sizes), config.batch_size)
        seed_everything(config.seed)
        built = config
        if resumed and getattr(config, "init_from", None):  # that model may be gone; the run has its own vocabulary
            built = replace(config, init_from=str(resumed))  # type: ignore[call-arg]  # for a task that has it
        self.experiment: Experiment = task.build(built, self.device)
        config.draw_first_weights(self.experiment.model)

        def given(name: str) -> bool:
            return resumed is None or name in changes  # a resumed run may be on another machine now

        precision = pick_precision(config, self.device, self.experiment.model, given=given("precision"))
        self.trainer = Trainer(self.experiment, replace(config, precision=precision))
        self.no_graphs = pick_graphs(config, self.device, self.experiment, given=given("graphs"))
        if not self.no_graphs:
            self.trainer.record_steps(CudaRecorder(self.trainer.trainable[0].device))
        self.begun = ""  # the origin of a new run's first weights, in words
        self.reading = READING  # the rules that its files are read by
        self._held = ExitStack()

    @classmethod
    def start(cls, task: str, config: RecurrentSettings, name: str | None = None) -> "Training":
        """Begin a new run, named `name` or by date, time and cell, and save its first state.

        Raises UsageError, before any corpus is read, for a `name` that exists or cannot name a folder.
        """
        if name is not None and distributed.is_first():
            check_new(task, name)
        training = cls(TASKS[task], TASKS[task].resolved(config))
        training.begun = distributed.from_first(training.experiment.begin)
        distributed.same_weights(training.experiment.model)
        training.trainer.begin_average()
        training._hold(distributed.from_first(lambda: new_run(task, training.config.label, name)))
        training.session.save()
        distributed.remember(training.run.name)
        return training

    @classmethod
    def resume(cls, run: Run, changes: dict[str, Any]) -> "Training":
        """Continue a run from its newest valid checkpoint; a damaged one gives an RnnWarning.

        `changes` are settings with new values; a `cell` from outside among them, a name or a class, names its code
        again. Raises UsageError for a setting that cannot change within a run, and if the training text has changed;
        RnnError while another process trains the run.
        """
        run = _writable(run)
        cell = changes.get("cell")
        if isinstance(cell, type) or (cell and outside_cell(cell)):
            changes = {name: value for name, value in changes.items() if name != "cell"}
        else:
            cell = None
        with ExitStack() as held:
            held.enter_context(run.locked())
            found, file = distributed.from_first(lambda: read_for_resume(run))
            task = task_of(found.header, file)
            before, _ = rebuild(task, found, file, cell)
            if task.name != run.task:
                raise UsageError(f"{file} is a model of {task.name}, not of {run.task}")
            changes = respelled(type(before), canonical(task.Config, changes))
            if isinstance(before, HoldOutSettings):
                changes = before.without_same(changes)
            changes = allowed_changes(before, changes, run.name)
            moved = replace(before, **changes).texts != before.texts
            check_limits(replace(before, **changes))
            training = _as_it_was(run.name, found.header, lambda: cls(task, replace(before, **changes), file, changes))
            training._held = held.pop_all()
        training._sit_down(run)
        with usable(file, "a state of training"):
            training.trainer.restore(found.header, found.tensors)
        training.session.resume(moved=moved)
        distributed.remember(run.name)
        return training

    @property
    def backend(self) -> str:
        """The backend that unrolls the cells in a training step; empty for a feed-forward net."""
        stack: Any = getattr(self.experiment.model, "stack", None)
        recorded = nullcontext() if self.no_graphs else for_graph()
        with recorded, matmul_policy(self.experiment.model, self.trainer.settings.precision), forward_pass(self.device):
            return stack.backend_in_use if stack else ""

    @property
    def net(self) -> str:
        """The net in words: its cells, parameters, device, backend, and precision."""
        count = sum(parameter.numel() for parameter in self.trainer.trainable)
        if self.backend:
            stack: Any = self.experiment.model.stack
            sizes = "-".join(map(str, stack.shape.hidden))
            block = "" if stack.shape.block == "none" else f" in {stack.shape.block} blocks"
            kind, backend = f"{stack.cells[0].kind} {sizes}{block}", f", {self.backend} backend"
        else:
            kind, backend = f"feed-forward, hidden {self.config.hidden}", ""
        several = f", {distributed.world()} processes" if distributed.world() > 1 else ""
        precision = self.trainer.settings.precision
        graphs = ", CUDA graphs" if not self.no_graphs else ""
        if self.device == "cuda" and self.no_graphs:
            graphs = f", no CUDA graphs ({self.no_graphs})"
        return f"{kind}: {count:,} parameters, on {self.device}{backend}, {precision}{several}{graphs}"

    @property
    def slow_because(self) -> str:
        """Why the cells run slowly where a faster backend exists; empty if they do not, or if the user chose it."""
        from rnncli.kernels import fused, triton

        if self.config.backend != "auto":
            return ""
        on_cpu = self.device == "cpu"
        trouble = fused.trouble() if on_cpu else ""
        if self.device == "cuda":
            trouble = triton.trouble("cuda", torch.float32)
        if trouble:
            return f"{trouble}; cells are slower without it"
        if self.backend == "reference" and on_cpu:
            stack: Any = self.experiment.model.stack
            form = fused.fused_form(stack.cells[0])
            if isinstance(form, str):
                return f"the cell runs step by step, slowly: {form}"
        return ""

    def train(self, listen: Listener, warn: Callable[[str], None]) -> None:
        """Train until the run is finished; events, warnings and errors as in `Session.train`."""
        with self._held, read_as(self.reading):
            self.session.train(listen, warn)

    def _hold(self, run: Run) -> None:
        run = _writable(run)
        self._held.enter_context(run.locked())
        self._sit_down(run)

    def _sit_down(self, run: Run) -> None:
        self.run = run
        payload = dict(self.experiment.payload)
        if payload != distributed.from_first(lambda: payload):
            raise RnnError("this process reads another text than the first one: give all the same text")
        identity = {
            "task": self.task.name,
            "rnn": __version__,
            "reading": self.reading,
            "config": plain(self.config),
            "monitor": self.experiment.monitor,
            "payload": payload,
            **kept_of(self.experiment.model),
        }
        self.session = Session(self.trainer, run, identity)


def _as_it_was(name: str, header: Mapping[str, Any], build: Callable[[], Training]) -> Training:
    """Build a training again from the text that its checkpoint's header describes.

    Files are read by today's rules, or where these read something else, by those of the run's first version. Raises
    UsageError if the text has changed.
    """
    before, refused = header["payload"], None
    for reading in sorted({READING, min(READING, header.get("reading", 1))}, reverse=True):
        try:
            with read_as(reading):
                training = build()
        except RnnError as error:
            refused = error if reading == READING else refused
            continue
        payload = {**training.experiment.payload, "corpus": before.get("corpus")}  # a file may have another name now
        # an old version may lack a part, or have one that nothing reads any more
        same = all(before.get(key, value) == value for key, value in payload.items())
        if same and before.get(PARTS_MARKS) == payload.get(PARTS_MARKS):
            training.reading = reading
            return training
    raise refused or UsageError(f"the training text of run {name} has changed: start a new run")


def _writable(run: Run) -> Run:
    """The run, which only the first of several processes writes."""
    return run if distributed.is_first() else RunElsewhere(run.folder)
