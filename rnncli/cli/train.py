"""`rnn train TASK`: start a run or continue one, show its progress, and print its result."""

import shlex
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from rnncli.cells.outside import outside_cell
from rnncli.cli.completing import complete_run, completion
from rnncli.cli.options import Flags, command_class, command_of
from rnncli.cli.per_task import first_task, of_each_task
from rnncli.cli.screen import AsJson, metrics_rows, note, print_json, print_table, print_text, warn, warn_missing
from rnncli.cli.verb import Verb
from rnncli.errors import RnnError, UsageError
from rnncli.extras import need
from rnncli.home import begin
from rnncli.kernels.compiling import COMPILATION
from rnncli.presets import remarks_on, resolve, size_of
from rnncli.task import Task

if TYPE_CHECKING:
    from rnncli.api import Training
    from rnncli.training.loop import Event

TENSORBOARD = "tensorboard"
"""The folder of a run for its curves."""


def _verb(task: Task) -> Callable[..., None]:
    def train(
        flags: Flags,
        preset: str | None,
        config: Path | None,
        name: str | None,
        resume: bool,
        tensorboard: bool,
        quiet: bool,
        as_json: bool,
        sample_every: int | None = 0,
    ) -> None:
        from rnncli.api import Training
        from rnncli.training.distributed import begun, from_first, is_first, together

        if quiet:
            _announce_nothing()
        if resume and (preset or config):
            raise UsageError("--resume continues with the settings of the run: leave --preset and --config out")
        if tensorboard:
            need("tensorboard", what="--tensorboard", extra="tensorboard")
        with together(note):
            remarks, size = list[str](), None
            before = begun()  # by processes that torchrun restarted with the same command
            if resume or before:
                run = from_first(lambda: _run_to_resume(task.name, before or name))
                training = Training.resume(run, flags if resume else _code_in(flags))
            else:
                settings = resolve(task, flags, preset, config)
                training = Training.start(task.name, settings, name)
                remarks = remarks_on(task, settings, preset)
                if size := size_of(task, vars(settings), preset):
                    remarks += filter(None, [size.note])
            if is_first():
                about = size.describe(training.config) if size else ""
                shown = Shown(remarks, about, tensorboard, quiet, 0 if quiet else sample_every)
                follow(training, resumed=bool(resume or before), shown=shown)
                _show(training, tensorboard=tensorboard, as_json=as_json)
            else:
                _expected(training)  # all processes take part in its few steps
                training.train(lambda _: None, lambda _: None)

    train.__doc__ = task.summary
    return command_of(task.Config, train, **run_options(task))


def _announce_nothing() -> None:
    """Print neither the home nor that kernels are compiled."""
    COMPILATION.announce = lambda: None
    begin(lambda _: None)


def _code_in(flags: Flags) -> Flags:
    """The flag that names the code of a cell from outside, which a restarted process has to name again."""
    return {name: value for name, value in flags.items() if name == "cell" and outside_cell(value)}


def run_options(task: Task) -> dict[str, tuple[Any, Any]]:
    """The flags of a run in addition to its settings: annotations for Typer, and defaults."""

    def option(help: str, *flags: str, **more: Any) -> Any:
        return typer.Option(*flags, rich_help_panel="Run", help=help, **more)

    presets = ", ".join(task.presets) or "none"
    preset = option(f"A named set of settings: {presets}.", autocompletion=completion(task.presets))
    name = option("The run's name. (default: date, time and cell)", autocompletion=complete_run)
    resumes = option("Continue the run of --name, or the newest unfinished run.", "--resume")
    curves = option("Write curves for TensorBoard next to the checkpoints.", "--tensorboard")
    samples = option("A sample at every N-th validation. (default: five in all)", min=0)
    return {
        "preset": (Annotated[str | None, preset], None),
        "config": (Annotated[Path | None, option("Settings from a TOML file.")], None),
        "name": (Annotated[str | None, name], None),
        "resume": (Annotated[bool, resumes], False),
        "tensorboard": (Annotated[bool, curves], False),
        **({"sample_every": (Annotated[int | None, samples], None)} if "generate" in task.actions else {}),
        "quiet": (Annotated[bool, option("Print only the result, warnings and errors.", "--quiet")], False),
        "as_json": (AsJson, False),
    }


VERB = Verb(
    help="Train a model of a task.",
    example=f"rnn train {first_task()}",
    commands=lambda: of_each_task(
        lambda task: Verb(_verb(task), task.training_example, Class=command_class(task.Config))
    ),
)


def _run_to_resume(task: str, name: str | None) -> Any:
    from rnncli.training.runs import find_run, newest_unfinished

    if name is None:
        return newest_unfinished(task)
    run = find_run(name, task)
    if run.task != task:
        raise UsageError(f"{name} is a run of {run.task}: rnn train {run.task} --resume --name {run.name}")
    return run


class Shown(NamedTuple):
    """What to show of a training."""

    remarks: Sequence[str] = ()
    size: str = ""  # of a small text, and of its net
    tensorboard: bool = False
    quiet: bool = False
    sample_every: int | None = 0  # validations; None: about five samples


PLAIN = Shown()


def follow(training: "Training", *, resumed: bool, shown: Shown = PLAIN) -> None:
    """Print what is trained, train it with a progress bar, samples and TensorBoard curves, and draw the curve."""
    from rnncli.analysis.plots import draw_curve
    from rnncli.cli.progress import Bar

    trainer, run = training.trainer, training.run
    _introduce(training, shown, resumed=resumed)
    with ExitStack() as listeners:
        bar = listeners.enter_context(Bar(trainer, shown=not shown.quiet))
        hear: list[Callable[[Event], None]] = [bar.listen]
        if shown.tensorboard:
            from rnncli.cli.tensorboard import Scalars

            hear.append(listeners.enter_context(Scalars(trainer, run.folder / TENSORBOARD)).listen)
        if shown.sample_every != 0:
            from rnncli.cli.samples import Samples

            hear.append(Samples(training, shown.sample_every, bar.write).listen)
        training.train(partial(_tell, hear), bar.warn)
    try:
        title, progress = f"{run.task} · {run.name}", trainer.progress
        picture = draw_curve(progress.history, run.folder / "curve.png", title=title, best=progress.best_step)
        warn_missing(picture)
    except RnnError as error:
        warn(f"no picture of the curve: {error}")


def _introduce(training: "Training", shown: Shown, *, resumed: bool) -> None:
    """Print the text, the net and the expected duration."""
    say = (lambda _: None) if shown.quiet else note
    say(f"{training.task.name} on {training.experiment.about}")
    steps, duration = _expected(training)
    if shown.size:
        say(f"{shown.size} ({duration})" if duration else shown.size)
    say(_what_is_trained(training))
    for remark in filter(None, (*shown.remarks, training.begun)):
        say(remark)
    _warn_of_slow_cells(training)
    say(f"run {training.run.name}, {'resumed' if resumed else 'started'}: {', '.join(filter(None, (steps, duration)))}")


def _show(training: "Training", *, tensorboard: bool, as_json: bool) -> None:
    """Print the result of a training."""
    from rnncli.training.runs import BEST, LAST

    trainer, run = training.trainer, training.run
    result: dict[str, Any] = {
        "task": run.task,
        "corpus": training.experiment.payload.get("corpus"),
        "checkpoint": str(run.folder / (BEST if trainer.progress.best is not None else LAST)),
        "seconds": round(trainer.progress.seconds, 3),
        "steps": trainer.progress.step,
        "restarts": trainer.progress.restarts,
        "skipped": trainer.progress.skipped,
        "finished": trainer.progress.finished,
        "metrics": best_record(training),
    }
    if as_json:
        print_json(result)
        return
    rows = [*metrics_rows(result["metrics"]), ("steps", result["steps"]), ("seconds", result["seconds"])]
    if trainer.progress.restarts:
        rows.append(("restarts", trainer.progress.restarts))
    if trainer.progress.skipped:
        rows.append(("steps skipped", trainer.progress.skipped))
    print_table(("best model", "validation"), rows, title=f"{run.task}: {trainer.progress.finished}")
    print_text(f"model  {result['checkpoint']}\ncurve  {run.folder / 'curve.png'}")
    if tensorboard:
        print_text(f"curves tensorboard --logdir {shlex.quote(str(run.folder / TENSORBOARD))}")


def _tell(hear: "list[Callable[[Event], None]]", event: "Event") -> None:
    for listen in hear:
        listen(event)


def best_record(training: "Training") -> dict[str, float]:
    """The validation metrics of the best model."""
    from rnncli.training.loop import measured

    progress = training.trainer.progress
    at_best = (record for record in reversed(progress.history) if record["step"] == progress.best_step)
    return measured(next(at_best, progress.history[-1]))  # the last one, if no validation gave a number


def _what_is_trained(training: "Training") -> str:
    from rnncli.training.distributed import world

    count = sum(parameter.numel() for parameter in training.trainer.trainable)
    if training.backend:
        stack: Any = training.experiment.model.stack
        sizes = "-".join(map(str, stack.shape.hidden))
        block = "" if stack.shape.block == "none" else f" in {stack.shape.block} blocks"
        net, backend = f"{stack.cells[0].kind} {sizes}{block}", f", {training.backend} backend"
    else:
        net, backend = f"feed-forward, hidden {training.config.hidden}", ""
    several = f", {world()} processes" if world() > 1 else ""
    precision = training.trainer.settings.precision
    graphs = ", CUDA graphs" if not training.no_graphs else ""
    if training.device == "cuda" and training.no_graphs:
        graphs = f", no CUDA graphs ({training.no_graphs})"
    return f"{net}: {count:,} parameters, on {training.device}{backend}, {precision}{several}{graphs}"


def _warn_of_slow_cells(training: "Training") -> None:
    import torch

    from rnncli.kernels import fused, triton

    if training.config.backend != "auto":
        return
    trouble = fused.trouble() if training.device == "cpu" else ""
    if training.device == "cuda":
        trouble = triton.trouble("cuda", torch.float32)
    if trouble:
        warn(f"{trouble}; cells are slower without it")
    elif training.backend == "reference" and training.device == "cpu":
        stack: Any = training.experiment.model.stack
        form = fused.fused_form(stack.cells[0])
        if isinstance(form, str):
            warn(f"the cell runs step by step, slowly: {form}")


def _expected(training: "Training") -> tuple[str, str]:
    """The expected steps and duration of the training, measured on a few steps that change nothing."""
    from rnncli.training.estimate import seconds_a_step
    from rnncli.training.loop import NotFinite

    trainer = training.trainer
    time_left = max(0.0, training.config.max_time - trainer.progress.seconds)
    if not training.config.epochs:
        return "", _duration(time_left)
    left = trainer.planned_steps - trainer.progress.step
    try:
        seconds = left * seconds_a_step(trainer)
    except NotFinite:
        return f"{left:,} steps", ""  # the training itself reports the step
    if training.config.max_time and time_left < seconds:
        return "", f"at most {_duration(time_left)}, about {round(left * time_left / seconds):,} of {left:,} steps"
    if trainer.may_end_early:
        return f"at most {left:,} steps", f"at most {_duration(seconds)}"
    return f"{left:,} steps", f"about {_duration(seconds)}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
